//! Runs inside a ramdisk, put there by a test: waits for a step of a deployment and disturbs the agent in the middle of it, once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use imprint_agent::tasks::record::{Record, RecordFile};
use imprint_proto::agent::v1::Step;
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
/// Where it keeps how far it is.
const STATE: &str = "/run/imprint";
/// From the end of the write on; growing the file system takes some seconds on a slow disk.
const INTO_PARTITIONS: Duration = Duration::from_millis(1500);
/// Long enough for a test to see it and to take the power away.
const BRIEFLY_HELD: Duration = Duration::from_secs(15);
/// A seed is written within a second.
const GLANCE: Duration = Duration::from_millis(10);
/// No deployment of a test takes longer.
const LIFE: Duration = Duration::from_secs(1800);
/// Ends with the number of the lab's server.
const UUID: &str = "/sys/class/dmi/id/product_uuid";
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
    /// SIGKILL while partition table and file system are settled.
    KillInPartitions,
    /// SIGSTOP while the seed is written, and SIGCONT a moment later.
    HoldInSeed,
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Crash => "crash",
            Self::Hold => "hold",
            Self::KillInPartitions => "kill-in-partitions",
            Self::HoldInSeed => "hold-in-seed",
        }
    }
}

/// Writes an addition to the ramdisk that does the deed, in whatever server.
pub fn write_overlay(path: &Path, deed: Deed) -> Result<()> {
    overlay(path, &[unit(deed, None)])
}

/// The same for deeds in servers of these numbers.
pub fn write_overlay_for(path: &Path, deeds: &[(Deed, usize)]) -> Result<()> {
    let units: Vec<String> = deeds
        .iter()
        .map(|(deed, server)| unit(*deed, Some(*server)))
        .collect();
    overlay(path, &units)
}

fn unit(deed: Deed, server: Option<usize>) -> String {
    let server = server.map_or_else(String::new, |server| format!(" --server {server}"));
    format!(
        "[Unit]\nDescription=Disturb the agent in the middle of its work\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/lab-assassin internal-disturb-agent {}{server}\n",
        deed.name()
    )
}

fn overlay(path: &Path, services: &[String]) -> Result<()> {
    let own = fs::read(process::THIS_PROGRAM).context("cannot read this program's own file")?;
    let units = "/etc/systemd/system";
    let mut archive = Overlay::default()
        .program("/usr/bin/lab-assassin", &own)
        .directory(&format!("{units}/multi-user.target.wants"));
    for (index, service) in services.iter().enumerate() {
        let name = format!("lab-assassin-{index}.service");
        archive = archive.file(&format!("{units}/{name}"), service).link(
            &format!("{units}/multi-user.target.wants/{name}"),
            &format!("../{name}"),
        );
    }
    fs::write(path, archive.finish()).context("cannot write the overlay")
}

/// Waits for the moment, and does the deed; with a number only in the server that has it.
pub fn disturb_agent(deed: Deed, server: Option<usize>) -> Result<()> {
    if let Some(number) = server {
        let uuid = fs::read_to_string(UUID).context("cannot read which server this is")?;
        if !uuid.trim().ends_with(&format!("-{number:012}")) {
            return Ok(());
        }
    }
    match deed {
        Deed::Kill => send(writing_agent()?, Signal::SIGKILL, "killed"),
        Deed::Crash => send(writing_agent()?, Signal::SIGABRT, "crashed"),
        Deed::Hold => hold(writing_agent()?, "", HELD),
        Deed::KillInPartitions => {
            wait_record("partitions", settles)?;
            interrupt::pause(INTO_PARTITIONS)?;
            let agent = stopped_while(settles)?;
            send(agent, Signal::SIGKILL, "killed in partitions")
        }
        Deed::HoldInSeed => {
            wait_record("a seed", seeds)?;
            hold(stopped_while(seeds)?, " in seed", BRIEFLY_HELD)
        }
    }
}

/// The agent, some seconds after it has begun to write.
fn writing_agent() -> Result<Pid> {
    interrupt::until("a write", LIFE, || Ok(Path::new(JOURNAL).exists().then_some(())))?;
    interrupt::pause(LET_IT_WRITE)?;
    find_agent()
}

fn hold(agent: Pid, place: &str, time: Duration) -> Result<()> {
    send(agent, Signal::SIGSTOP, &format!("stopped{place}"))?;
    interrupt::pause(time)?;
    send(agent, Signal::SIGCONT, "continued")
}

/// The image is written, and what comes next is not done.
fn settles(record: &Record) -> bool {
    record.is_finished(Step::Write) && !record.is_finished(Step::Partitions) && !record.ended
}

/// The seed is on its way to the disk.
fn seeds(record: &Record) -> bool {
    record.seeded && !record.is_finished(Step::Seed) && !record.ended
}

/// Stops the agent, and looks whether it was in time: what is looked at stays so.
fn stopped_while(is_so: impl Fn(&Record) -> bool) -> Result<Pid> {
    let agent = find_agent()?;
    kill(agent, Signal::SIGSTOP).context("cannot stop the agent")?;
    if record()?.is_some_and(|record| is_so(&record)) {
        return Ok(agent);
    }
    send(agent, Signal::SIGCONT, "left alone: it was too late")?;
    bail!("the agent was met too late")
}

/// What the agent would know of its task after a restart.
fn record() -> Result<Option<Record>> {
    let file = RecordFile::of(Path::new(STATE));
    file.load().context("cannot read the agent's record")
}

/// Waits until that says so.
fn wait_record(what: &str, is_so: impl Fn(&Record) -> bool) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < LIFE {
        if record()?.is_some_and(|record| is_so(&record)) {
            return Ok(());
        }
        interrupt::pause(GLANCE)?;
    }
    bail!("waited {} s for {what}", LIFE.as_secs())
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
