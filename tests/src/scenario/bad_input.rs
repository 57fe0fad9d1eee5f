//! What people get wrong: one clear message that names the thing and says what to do, and a non-zero exit code.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::controller::{ControllerOptions, configuration};
use crate::lab::{Lab, LabOptions, Parts};
use crate::network::Addresses;
use crate::process::{self, Answer};
use crate::story::tell;

const PATIENCE: Duration = Duration::from_secs(120);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let lab = Lab::start(name, parts, &LabOptions::default())?;
    configuration_faults(&lab, parts)?;
    image_faults(&lab)?;
    connection_faults(&lab, parts)
}

fn configuration_faults(lab: &Lab, parts: &Parts) -> Result<()> {
    let folder = lab.folder().join("second");
    fs::create_dir_all(&folder).context("cannot create a folder")?;
    let good = configuration(
        &folder.join("data"),
        &parts.ramdisk,
        Addresses::Foreign,
        &ControllerOptions::default(),
    );
    let serve = |what: &str, text: &str| -> Result<Answer> {
        let file = folder.join(format!("{what}.toml"));
        fs::write(&file, text).context("cannot write a configuration")?;
        let mut command = Command::new(parts.binaries.join("imprint-controller"));
        process::ask(command.arg("serve").arg("--config").arg(file), PATIENCE)
    };
    let init = |data: &Path| -> Result<Answer> {
        let mut command = Command::new(parts.binaries.join("imprint-controller"));
        process::ask(command.arg("init").arg("--data-dir").arg(data), PATIENCE)
    };

    let answer = serve("unknown-key", &good.replace("[boot]\nlisten", "[boot]\nlissten"))?;
    expect_clear("unknown configuration key", &answer, &["lissten"])?;
    let two = good
        .replace("\"proxy\"", "\"sometimes\"")
        .replace(":8443\"\np", ":x\"\np");
    let answer = serve("two-faults", &two)?;
    expect_clear("two faults at once", &answer, &["dhcp.mode"])?;
    expect_clear("two faults at once", &answer, &["listen"])?;
    expect_clear(
        "a data folder that cannot be made",
        &init(Path::new("/proc/imprint"))?,
        &["/proc/imprint"],
    )?;
    expect_clear("a controller without init", &serve("no-init", &good)?, &["init"])?;
    let answer = init(&folder.join("data"))?;
    ensure!(answer.success, "init in an empty folder: {}", answer.err);
    expect_clear("a port that is in use", &serve("port", &good)?, &["in use"])
}

fn image_faults(lab: &Lab) -> Result<()> {
    let import = |file: &str, bytes: &[u8]| -> Result<Answer> {
        let path = lab.folder().join(file);
        fs::write(&path, bytes).context("cannot write a file")?;
        lab.cli
            .ask(&["image", "import", &path.display().to_string(), "--name", file])
    };
    let xz_without_end = [&[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4][..], &[0x17; 4000]].concat();
    expect_clear(
        "a damaged xz file",
        &import("damaged.raw.xz", &xz_without_end)?,
        &["xz"],
    )?;
    let qcow2 = [&b"QFI\xfb\0\0\0\x63"[..], &[0xff; 600]].concat();
    expect_clear(
        "a qcow2 file of an unknown version",
        &import("damaged.qcow2", &qcow2)?,
        &["qcow2"],
    )?;
    expect_clear(
        "an empty file",
        &import("empty.raw", b"")?,
        &["empty", "size", "bytes"],
    )?;
    let gone = lab
        .cli
        .ask(&["image", "import", "/nowhere/at/all.raw", "--name", "gone"])?;
    expect_clear("an image file that is not there", &gone, &["/nowhere/at/all.raw"])?;
    let images = lab.cli.get("images")?;
    ensure!(
        images["items"].as_array().is_some_and(Vec::is_empty),
        "a bad import has left an image: {images}"
    );
    Ok(())
}

fn connection_faults(lab: &Lab, parts: &Parts) -> Result<()> {
    let unreachable = "https://10.77.0.1:9";
    let mut command = lab.cli.command();
    let answer = process::ask(
        command.env("IMPRINT_URL", unreachable).args(["node", "list"]),
        PATIENCE,
    )?;
    expect_clear("a controller that cannot be reached", &answer, &["10.77.0.1:9"])?;
    let mut command = lab.cli.command();
    let answer = process::ask(
        command.env("IMPRINT_TOKEN", "imp_wrong").args(["node", "list"]),
        PATIENCE,
    )?;
    expect_clear("a wrong token", &answer, &["token"])?;
    let answer = lab.cli.ask(&["deploy", "nobody", "--image", "nothing"])?;
    expect_clear("a node that does not exist", &answer, &["nobody", "nothing"])?;

    let target = lab.folder().join("target.raw");
    fs::write(&target, vec![0; 1 << 20]).context("cannot write a file")?;
    let mut write = Command::new(parts.binaries.join("imprint-agent"));
    write
        .arg("write")
        .args(["--manifest", "http://10.77.0.1:9/manifests/00", "--patience", "3"])
        .arg("--target")
        .arg(&target);
    expect_clear(
        "a store that cannot be reached",
        &process::ask(&mut write, PATIENCE)?,
        &["10.77.0.1:9"],
    )
}

/// One message, not a stack of them; it names what is wrong; the exit code says failure.
fn expect_clear(what: &str, answer: &Answer, names: &[&str]) -> Result<()> {
    let said = answer.err.trim();
    ensure!(
        !answer.success && answer.code.is_some(),
        "{what}: no failure ({:?}): {said}",
        answer.code
    );
    ensure!(!said.contains("panicked"), "{what}: {said}");
    ensure!(said.lines().count() <= 12, "{what}: too many words:\n{said}");
    ensure!(
        names.iter().any(|name| said.contains(name)),
        "{what}: none of {names:?} is named: {said:?}"
    );
    ensure!(said.len() > 40, "{what}: no remedy: {said:?}");
    tell(&format!("{what}: {}", said.replace('\n', " | ")));
    Ok(())
}
