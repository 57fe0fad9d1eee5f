//! Who competes: what each one runs, on its own best form of the image.

use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result};

use super::forms::Form;
use super::lab::Lab;
use super::server::Server;

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Imprint's agent.
    Ours,
    /// A foreign tool.
    Peer,
    /// A part that nobody can do without.
    Floor,
}

impl Group {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Floor => "floor",
        }
    }

    /// The group of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ours, Self::Peer, Self::Floor]
            .into_iter()
            .find(|group| group.name() == name)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub group: Group,
    /// What it does, in words.
    pub about: &'static str,
    /// The form of the image that it needs.
    pub form: Option<Form>,
    /// The foreign program that it needs.
    pub program: Option<&'static str>,
    /// Whether it takes part when nobody is named.
    pub usual: bool,
    /// Whether it puts the image on the disk.
    pub writes: bool,
    /// Whether it begins with a used disk.
    pub used_disk: bool,
    /// What to run.
    pub command: fn(&Lab) -> Result<Command>,
}

/// All of them, in the table's order.
pub fn all() -> Vec<Contender> {
    let ours = |name, about, form, command| Contender {
        name,
        group: Group::Ours,
        about,
        form: Some(form),
        program: None,
        usual: true,
        writes: true,
        used_disk: true,
        command,
    };
    let peer = |name, program, about, form, command| Contender {
        group: Group::Peer,
        program: Some(program),
        ..ours(name, about, form, command)
    };
    let floor = |name, about, form, command| Contender {
        group: Group::Floor,
        writes: false,
        used_disk: false,
        ..ours(name, about, form, command)
    };
    let to_disk = |contender| Contender {
        used_disk: true,
        ..contender
    };
    let unusual = |contender| Contender {
        usual: false,
        ..contender
    };
    vec![
        ours(
            "artifact",
            "imprint-agent write, artifact over HTTP",
            Form::Artifact,
            artifact,
        ),
        ours(
            "artifact-tls",
            "the same over HTTPS",
            Form::Artifact,
            artifact_tls,
        ),
        ours(
            "artifact-read-back",
            "over HTTP, and all read again",
            Form::Artifact,
            artifact_read_back,
        ),
        ours(
            "zst",
            "imprint-agent write, foreign .zst of one frame, SHA-256",
            Form::Zst,
            |lab| foreign(lab, Form::Zst),
        ),
        ours(
            "zst-frames",
            "the same, .zst of many frames (pzstd)",
            Form::Frames,
            |lab| foreign(lab, Form::Frames),
        ),
        ours("xz", "the same, .xz of many blocks", Form::Xz, |lab| {
            foreign(lab, Form::Xz)
        }),
        unusual(ours("gz", "the same, .gz", Form::Gz, |lab| {
            foreign(lab, Form::Gz)
        })),
        peer(
            "dd",
            "zstd",
            "curl | zstd -dc | dd oflag=direct",
            Form::Zst,
            |lab| pipe(lab, "oflag=direct conv=fsync"),
        ),
        peer(
            "dd-sparse",
            "zstd",
            "curl | zstd -dc | dd conv=sparse oflag=direct",
            Form::Zst,
            |lab| pipe(lab, "oflag=direct conv=sparse,fsync"),
        ),
        peer(
            "qemu-img",
            "qemu-img",
            "qemu-img convert of a qcow2 (zstd) over HTTP",
            Form::Qcow2,
            qemu_img,
        ),
        peer(
            "bmaptool",
            "bmaptool",
            "bmaptool copy of a .zst over HTTP",
            Form::Zst,
            bmaptool,
        ),
        peer(
            "coreos-installer",
            "coreos-installer",
            "coreos-installer install of a .zst over HTTP",
            Form::Zst,
            coreos_installer,
        ),
        peer(
            "ironic",
            "ironic",
            "ironic-python-agent, qcow2 (zstd) by way of memory, SHA-512",
            Form::Qcow2,
            ironic,
        ),
        unusual(peer(
            "dd-buffered",
            "zstd",
            "curl | zstd -dc | dd",
            Form::Zst,
            |lab| pipe(lab, "conv=fsync"),
        )),
        unusual(peer(
            "bmaptool-gz",
            "bmaptool",
            "bmaptool copy of a .gz over HTTP",
            Form::Gz,
            bmaptool_gz,
        )),
        unusual(peer(
            "coreos-installer-xz",
            "coreos-installer",
            "coreos-installer install of an .xz over HTTP",
            Form::Xz,
            coreos_installer_xz,
        )),
        to_disk(floor(
            "floor-disk",
            "the image's data written, 1 MiB blocks, 4 at a time",
            Form::Artifact,
            floor_disk,
        )),
        to_disk(floor(
            "floor-exact",
            "the same, and all holes between them zeroed",
            Form::Artifact,
            floor_exact,
        )),
        floor(
            "floor-net",
            "the artifact's packs fetched to nowhere (curl)",
            Form::Artifact,
            floor_net,
        ),
        floor(
            "floor-cpu",
            "all frames decompressed and hashed on all cores",
            Form::Artifact,
            floor_cpu,
        ),
        floor(
            "zstd-dc",
            "zstd -dc of the single frame to nowhere",
            Form::Zst,
            zstd_dc,
        ),
    ]
}

fn artifact(lab: &Lab) -> Result<Command> {
    Ok(lab.agent_from(&lab.server))
}

fn artifact_tls(lab: &Lab) -> Result<Command> {
    let mut agent = lab.agent(&lab.server.tls_url(&lab.forms.manifest_path()));
    agent.arg("--ca").arg(lab.server.ca());
    Ok(agent)
}

fn artifact_read_back(lab: &Lab) -> Result<Command> {
    let mut agent = artifact(lab)?;
    agent.arg("--read-back");
    Ok(agent)
}

fn foreign(lab: &Lab, form: Form) -> Result<Command> {
    let mut agent = lab.agent_write();
    agent.args(["--image", &lab.server.url(form.file())]);
    agent.args(["--sha256", &lab.forms.digest(form, "sha256")?]);
    Ok(agent)
}

/// A pipeline as people type it; every part's failure counts.
fn pipe(lab: &Lab, how: &str) -> Result<Command> {
    let url = lab.server.url(Form::Zst.file());
    let device = lab.target.device().display();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!(
        "set -o pipefail; curl --silent --show-error --fail {url} | zstd -dc | \
         dd of={device} bs=1M iflag=fullblock {how} status=none"
    ));
    Ok(shell)
}

fn qemu_img(lab: &Lab) -> Result<Command> {
    let mut command = peer(lab, "qemu-img")?;
    command.args([
        "convert", "-n", "-W", "-m", "16", "-t", "none", "-f", "qcow2", "-O", "raw",
    ]);
    command.arg(lab.server.url(Form::Qcow2.file()));
    command.arg(lab.target.device());
    Ok(command)
}

fn bmaptool(lab: &Lab) -> Result<Command> {
    bmaptool_of(lab, Form::Zst)
}

fn bmaptool_gz(lab: &Lab) -> Result<Command> {
    bmaptool_of(lab, Form::Gz)
}

fn bmaptool_of(lab: &Lab, form: Form) -> Result<Command> {
    let map = lab.forms.path(Form::Bmap);
    if !map.exists() {
        super::forms::Forms::prepare(&lab.tools, &lab.workload, &[Form::Bmap])?;
    }
    let mut command = peer(lab, "bmaptool")?;
    command.args(["copy", "--bmap"]).arg(map);
    command.arg(lab.server.url(form.file()));
    command.arg(lab.target.device());
    Ok(command)
}

fn coreos_installer(lab: &Lab) -> Result<Command> {
    coreos_installer_of(lab, Form::Zst)
}

fn coreos_installer_xz(lab: &Lab) -> Result<Command> {
    coreos_installer_of(lab, Form::Xz)
}

fn coreos_installer_of(lab: &Lab, form: Form) -> Result<Command> {
    let mut command = peer(lab, "coreos-installer")?;
    command.args([
        "install",
        "--insecure",
        "--image-url",
        &lab.server.url(form.file()),
    ]);
    command.arg(lab.target.device());
    Ok(command)
}

/// Its temporary folder is memory, as in its ramdisk.
fn ironic(lab: &Lab) -> Result<Command> {
    let python = lab.tools.peer("ironic").map_err(anyhow::Error::msg)?;
    let place = python.parent().and_then(std::path::Path::parent);
    let mut command = Command::new(python);
    command.arg(place.context("Python lies in no folder")?.join("driver.py"));
    command.arg(lab.server.url(Form::Qcow2.file()));
    command.arg(lab.target.device());
    command.arg(lab.forms.digest(Form::Qcow2, "sha512")?);
    Ok(command)
}

fn peer(lab: &Lab, name: &str) -> Result<Command> {
    Ok(Command::new(lab.tools.peer(name).map_err(anyhow::Error::msg)?))
}

/// Writes the image's data, and nothing else.
pub fn floor_disk(lab: &Lab) -> Result<Command> {
    let mut command = lab.tools.yardstick("write-same");
    command.arg(lab.forms.manifest()).arg(lab.target.device());
    Ok(command)
}

fn floor_exact(lab: &Lab) -> Result<Command> {
    let mut command = floor_disk(lab)?;
    command.arg("--zero-holes");
    Ok(command)
}

fn floor_net(lab: &Lab) -> Result<Command> {
    fetch(lab, &lab.server)
}

/// Fetches the artifact's packs from a server to nowhere.
pub fn fetch(lab: &Lab, server: &Server) -> Result<Command> {
    let list = lab.work.join("packs.curl");
    let lines: Vec<String> = lab
        .forms
        .packs()
        .iter()
        .map(|pack| format!("url = \"{}\"\noutput = \"/dev/null\"\n", server.url(pack)))
        .collect();
    std::fs::write(&list, lines.concat()).context("cannot write curl's list")?;
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--parallel",
        "--parallel-max",
        "2",
        "--config",
    ]);
    curl.arg(list);
    Ok(curl)
}

fn floor_cpu(lab: &Lab) -> Result<Command> {
    let mut command = lab.tools.yardstick("decode");
    command.arg(lab.forms.manifest());
    Ok(command)
}

fn zstd_dc(lab: &Lab) -> Result<Command> {
    let file = lab.forms.path(Form::Zst);
    // Checked here: zstd's own message would only be in a log.
    File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec zstd -dc \"$0\" > /dev/null"]).arg(file);
    Ok(shell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_no_group() {
        let all = all();
        for (at, contender) in all.iter().enumerate() {
            assert!(Group::named(contender.name).is_none());
            assert!(all[at + 1..].iter().all(|other| other.name != contender.name));
        }
    }
}
