//! The forms in which the image is served. Each is made when somebody needs it, and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tools::Tools;
use super::workload::Workload;
use crate::screen::step;
use crate::tool;

/// zstd level of all zstd forms, the artifact among them, so that their sizes compare.
pub const LEVEL: &str = "3";

/// A form of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Imprint's artifact.
    Artifact,
    /// One zstd frame.
    Zst,
    /// Many zstd frames, by pzstd.
    Frames,
    /// gzip.
    Gz,
    /// Multi-block xz.
    Xz,
    /// qcow2 with zstd clusters.
    Qcow2,
    /// Block map of the raw image, for bmaptool.
    Bmap,
}

/// All forms that exist.
#[derive(Debug)]
pub struct Forms {
    folder: PathBuf,
    artifact: Value,
}

impl Form {
    /// The file in the served folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Artifact => "store/facts.json",
            Self::Zst => "image.raw.zst",
            Self::Frames => "frames.raw.zst",
            Self::Gz => "image.raw.gz",
            Self::Xz => "image.raw.xz",
            Self::Qcow2 => "image.qcow2",
            Self::Bmap => "image.bmap",
        }
    }

    fn make(self, tools: &Tools, raw: &Path, out: &Path, folder: &Path) -> Result<()> {
        let text = |name: &str, arguments: &[&str]| {
            let mut command = Command::new(name);
            command.args(arguments);
            command
        };
        let level = format!("-{LEVEL}");
        let mut command = match self {
            Self::Artifact => {
                let mut publish = tools.yardstick("publish");
                publish
                    .arg(raw)
                    .arg(folder.join("store"))
                    .args(["--level", LEVEL]);
                let facts = tool::output(&mut publish)?;
                return fs::write(out, facts).context("cannot keep the artifact's facts");
            }
            // -T0 gives one frame all the same: what people publish.
            Self::Zst => text("zstd", &["-q", "-T0", &level, "-f", "-o"]),
            Self::Frames => text("pzstd", &["-q", &level, "-f", "-o"]),
            Self::Qcow2 => {
                let options = "compression_type=zstd";
                let mut convert = text(
                    "qemu-img",
                    &["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options],
                );
                convert.args(["-m", "16", "-W"]).arg(raw).arg(out);
                return tool::run(&mut convert);
            }
            Self::Bmap => {
                let mut create = text("bmaptool", &["create", "-o"]);
                create.arg(out).arg(raw);
                return tool::run(&mut create);
            }
            Self::Gz => return to_stdout(text("pigz", &["-6", "-c"]).arg(raw), out),
            // Level 3: level 6 takes half an hour for gigabytes on two cores, and decompresses no differently.
            Self::Xz => return to_stdout(text("xz", &["-T0", "-3", "-c"]).arg(raw), out),
        };
        tool::run(command.arg(out).arg(raw))
    }
}

/// Runs a compressor whose output is the file.
fn to_stdout(command: &mut Command, out: &Path) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let file = fs::File::create(out).with_context(|| format!("cannot create {}", out.display()))?;
    let status = command
        .stdout(file)
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    anyhow::ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

impl Forms {
    /// Makes what is missing of `wanted`, and the artifact in any case: it tells what the image consists of.
    pub fn prepare(tools: &Tools, workload: &Workload, wanted: &[Form]) -> Result<Self> {
        let folder = &workload.folder;
        for form in [Form::Artifact].iter().chain(wanted) {
            let out = folder.join(form.file());
            if out.exists() {
                continue;
            }
            step(&format!("Image {}: {}", workload.image.name(), form.file()));
            if let Some(parent) = out.parent() {
                fs::create_dir_all(parent).context("cannot create a folder for the image")?;
            }
            // A name is never half a file.
            let aside = out.with_extension("unfinished");
            form.make(tools, &workload.raw, &aside, folder)
                .with_context(|| format!("cannot make {}", form.file()))?;
            fs::rename(&aside, &out).with_context(|| format!("cannot place {}", out.display()))?;
        }
        let facts = folder.join(Form::Artifact.file());
        let text = fs::read_to_string(&facts).with_context(|| format!("cannot read {}", facts.display()))?;
        Ok(Self {
            folder: folder.clone(),
            artifact: serde_json::from_str(&text)
                .context("the artifact's facts are damaged; remove the cache")?,
        })
    }

    /// Where a form is.
    pub fn path(&self, form: Form) -> PathBuf {
        self.folder.join(form.file())
    }

    /// Its size; nothing for one that was not made.
    pub fn bytes(&self, form: Form) -> Option<u64> {
        if form == Form::Artifact {
            return Some(self.fetch_bytes());
        }
        Some(fs::metadata(self.path(form)).ok()?.len())
    }

    /// A digest of a form, kept beside it. `algorithm` is `sha256` or `sha512`.
    pub fn digest(&self, form: Form, algorithm: &str) -> Result<String> {
        let kept = self.folder.join(format!("{}.{algorithm}", form.file()));
        if let Ok(text) = fs::read_to_string(&kept) {
            return Ok(text);
        }
        let text = tool::output(Command::new(format!("{algorithm}sum")).arg(self.path(form)))?;
        let digest = text
            .split_whitespace()
            .next()
            .context("no digest came")?
            .to_owned();
        fs::write(&kept, &digest).context("cannot keep the digest")?;
        Ok(digest)
    }

    fn fact(&self, name: &str) -> &Value {
        &self.artifact[name]
    }

    fn number(&self, name: &str) -> u64 {
        self.fact(name).as_u64().unwrap_or_default()
    }

    /// The artifact's manifest on this machine.
    pub fn manifest(&self) -> PathBuf {
        self.folder.join(self.manifest_path())
    }

    /// The same below the served folder.
    pub fn manifest_path(&self) -> String {
        let digest = self.fact("image_digest").as_str().unwrap_or_default();
        format!("store/manifests/{digest}")
    }

    /// The key that signed it.
    pub fn public_key(&self) -> &str {
        self.fact("public_key").as_str().unwrap_or_default()
    }

    /// Its packs, below the served folder.
    pub fn packs(&self) -> Vec<String> {
        let packs = self.fact("packs").as_array().cloned().unwrap_or_default();
        packs
            .iter()
            .filter_map(Value::as_str)
            .map(|digest| format!("store/packs/{digest}"))
            .collect()
    }

    /// The served folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes in chunks that are not all zero.
    pub fn data_bytes(&self) -> u64 {
        self.number("data_bytes")
    }

    /// Bytes of frames.
    pub fn fetch_bytes(&self) -> u64 {
        self.number("fetch_bytes")
    }
}
