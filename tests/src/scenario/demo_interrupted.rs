//! A demo that somebody stops half-way, kindly and unkindly: no process, no folder, no network is left.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::interrupt;
use crate::lab::{self, Parts};
use crate::process::{self, Service};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut demo = start(parts, &folder.path().join("kind.log"))?;
    let pid = demo.pid();
    ensure!(
        !children(parts, pid)?.is_empty(),
        "the demo has no servers to leave behind"
    );
    demo.signal(Signal::SIGINT)?;
    let status = demo.wait(Duration::from_secs(30))?;
    ensure!(
        status.code() == Some(130),
        "an interrupted demo ended with {status}"
    );
    ensure!(
        children(parts, pid)?.is_empty(),
        "processes were left: {:?}",
        children(parts, pid)?
    );
    ensure!(
        folders(parts, pid)?.is_empty(),
        "folders were left: {:?}",
        folders(parts, pid)?
    );
    tell("Ctrl-C: no process and no folder is left");

    let mut demo = start(parts, &folder.path().join("unkind.log"))?;
    let pid = demo.pid();
    demo.kill()?;
    interrupt::until("the end of the demo's children", Duration::from_secs(10), || {
        Ok(children(parts, pid)?.is_empty().then_some(()))
    })?;
    tell("SIGKILL: no process is left");
    lab::sweep(&parts.target)?;
    ensure!(
        folders(parts, pid)?.is_empty(),
        "the next run did not clear: {:?}",
        folders(parts, pid)?
    );
    tell(&format!("{name}: the next run clears the folder"));
    Ok(())
}

/// Starts a demo and waits until its server is on.
fn start(parts: &Parts, log: &Path) -> Result<Service> {
    let mut command = process::this_program();
    command
        .args(["demo", "--firmware", "bios", "--accel", parts.accel.name()])
        .arg("--binaries")
        .arg(&parts.binaries)
        .arg("--ramdisk")
        .arg(&parts.ramdisk)
        .arg("--debian")
        .arg(&parts.image)
        .arg("--target")
        .arg(&parts.target)
        .stdin(Stdio::null());
    let mut demo = Service::start("demo", &mut command, log)?;
    interrupt::until(
        "a demo that has switched its server on",
        Duration::from_secs(120),
        || {
            demo.expect_running()?;
            Ok(process::file_tail(log, 50).contains("power on").then_some(()))
        },
    )?;
    Ok(demo)
}

/// Processes that mention the temporary folder of the demo with this process id.
fn children(parts: &Parts, pid: u32) -> Result<Vec<String>> {
    let mark = format!("{}/lab-runs/{pid}.", parts.target.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let path = entry.context("cannot list processes")?.path().join("cmdline");
        let line = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\0', " ");
        if line.contains(&mark) {
            found.push(line);
        }
    }
    Ok(found)
}

fn folders(parts: &Parts, pid: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parts.target.join("lab-runs")).context("cannot list runs")? {
        let name = entry
            .context("cannot list runs")?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(&format!("{pid}.")) {
            found.push(name);
        }
    }
    Ok(found)
}
