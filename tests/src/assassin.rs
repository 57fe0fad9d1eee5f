//! Runs inside a ramdisk, put there by a test: waits for a write and disturbs the agent in the middle of it, once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::overlay::Overlay;
use crate::{interrupt, process};

/// The agent keeps this while it writes.
const JOURNAL: &str = "/run/imprint/journal";
/// Long enough for some chunks to be on the disk, short enough for many to be missing.
const LET_IT_WRITE: Duration = Duration::from_secs(5);
/// Longer than the controller's patience in the test, shorter than that of systemd's watchdog.
const HELD: Duration = Duration::from_secs(36);
/// The kernel's name of the agent's process.
const AGENT: &str = "imprint-agent";

/// What is done to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Deed {
    /// SIGKILL: it has no last word.
    Kill,
    /// SIGABRT, as after a fault of its own.
    Crash,
    /// SIGSTOP, and SIGCONT after a while.
    Hold,
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Crash => "crash",
            Self::Hold => "hold",
        }
    }
}

/// Writes an addition to the ramdisk that does the deed.
pub fn write_overlay(path: &Path, deed: Deed) -> Result<()> {
    let own = fs::read(process::THIS_PROGRAM).context("cannot read this program's own file")?;
    let units = "/etc/systemd/system";
    let service = format!(
        "[Unit]\nDescription=Disturb the agent in the middle of a write\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/lab-assassin internal-disturb-agent {}\n",
        deed.name()
    );
    let archive = Overlay::default()
        .program("/usr/bin/lab-assassin", &own)
        .file(&format!("{units}/lab-assassin.service"), &service)
        .directory(&format!("{units}/multi-user.target.wants"))
        .link(
            &format!("{units}/multi-user.target.wants/lab-assassin.service"),
            "../lab-assassin.service",
        )
        .finish();
    fs::write(path, archive).context("cannot write the overlay")
}

/// Waits for the journal, then some seconds, and does the deed.
pub fn disturb_agent(deed: Deed) -> Result<()> {
    interrupt::until("a write", Duration::from_secs(1800), || {
        Ok(Path::new(JOURNAL).exists().then_some(()))
    })?;
    interrupt::pause(LET_IT_WRITE)?;
    let agent = find_agent()?;
    match deed {
        Deed::Kill => send(agent, Signal::SIGKILL, "killed"),
        Deed::Crash => send(agent, Signal::SIGABRT, "crashed"),
        Deed::Hold => {
            send(agent, Signal::SIGSTOP, "stopped")?;
            interrupt::pause(HELD)?;
            send(agent, Signal::SIGCONT, "continued")
        }
    }
}

fn send(agent: Pid, signal: Signal, done: &str) -> Result<()> {
    kill(agent, signal).with_context(|| format!("cannot send {signal} to the agent"))?;
    // What the kernel takes for critical goes to the serial port, which the test reads.
    fs::write("/dev/kmsg", format!("<2>lab: the agent has been {done}\n")).context("cannot tell")
}

fn find_agent() -> Result<Pid> {
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let entry = entry.context("cannot list processes")?;
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if let (AGENT, Some(pid)) = (name.trim(), pid) {
            return Ok(Pid::from_raw(pid));
        }
    }
    bail!("there is no {AGENT}")
}
