//! KVM or emulation? /dev/kvm may open and yet run no guest (nested machines do that), so the answer comes from a
//! kernel that has really printed its first line.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::interrupt;
use crate::process::Service;

/// How long a kernel gets to print its first line; with KVM that takes well under a second.
const FIRST_LINE: Duration = Duration::from_secs(5);

/// What runs the virtual processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    /// The processor itself.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accel {
    /// QEMU's `-accel` argument.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The command-line value that stands for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Boots a kernel under KVM and sees whether it gets anywhere. `folder` gets the log.
pub fn probe(kernel: &Path, folder: &Path) -> Result<Accel> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Accel::Tcg);
    }
    let serial = folder.join("kvm-probe.serial");
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
            "q35",
        ])
        .args(["-accel", "kvm", "-m", "256", "-append", "console=ttyS0 panic=-1"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-serial")
        .arg(format!("file:{}", serial.display()))
        .stdin(Stdio::null());
    let mut machine = Service::start("KVM probe", &mut command, &folder.join("kvm-probe.log"))?;
    let printed = interrupt::until("a first line under KVM", FIRST_LINE, || {
        let text = fs::read(&serial).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains("Linux version") {
            return Ok(Some(true));
        }
        Ok(machine.ended()?.map(|_| false))
    });
    interrupt::check()?;
    if machine.ended()?.is_none() {
        machine.kill()?;
    }
    Ok(if printed.unwrap_or(false) {
        Accel::Kvm
    } else {
        Accel::Tcg
    })
}
