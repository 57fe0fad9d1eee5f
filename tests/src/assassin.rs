//! Runs inside a ramdisk, put there by a test: waits for a write and kills the agent in the middle of it, once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt;

/// The agent keeps this while it writes.
const JOURNAL: &str = "/run/imprint/journal";
/// Long enough for some chunks to be on the disk, short enough for many to be missing.
const LET_IT_WRITE: Duration = Duration::from_secs(5);
/// The kernel's name of the agent's process.
const AGENT: &str = "imprint-agent";

/// Waits for the journal, then some seconds, and kills the agent.
pub fn kill_agent() -> Result<()> {
    interrupt::until("a write", Duration::from_secs(1800), || {
        Ok(Path::new(JOURNAL).exists().then_some(()))
    })?;
    interrupt::pause(LET_IT_WRITE)?;
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let entry = entry.context("cannot list processes")?;
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if let (AGENT, Some(pid)) = (name.trim(), pid) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot kill the agent")?;
            // The kernel's log goes to the serial port, which the test keeps.
            return fs::write("/dev/kmsg", "lab: the agent has been killed\n").context("cannot tell");
        }
    }
    bail!("there is no {AGENT}")
}
