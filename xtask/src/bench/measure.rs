//! Runs one program and watches it: time, processors, memory, disk, network.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use super::processes::{self, Memory, Times};
use super::server::Server;
use super::target::Target;

/// How often the disk is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Imprint's agent clears a MiB at either end before anything else.
const CLEARED_BYTES: u64 = 2 << 20;
/// Processes are looked at less often: it costs more.
const TICKS_PER_LOOK: u32 = 5;

/// What surrounds a run.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The disk that is written to.
    pub target: Option<&'a Target>,
    /// The server that is read from.
    pub server: Option<&'a Server>,
    /// Where logs go.
    pub work: &'a Path,
    /// When to give up.
    pub limit: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With success.
    Success,
    /// With an error: its own last words.
    Failed(String),
    /// Not at all.
    TimedOut,
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Seconds from start to end.
    pub wall: f64,
    /// Processor time of the program and its children.
    pub cpu: Times,
    /// Processor time of the server.
    pub server_cpu: Times,
    /// User time of everybody else, in processors.
    pub foreign: f64,
    /// Peak memory, summed over the program's processes.
    pub memory_kib: u64,
    /// Most dirty pages, beyond those before.
    pub dirty_kib: u64,
    /// Bytes that the server sent.
    pub wire_bytes: u64,
    /// Bytes that the disk was told to write, zeroing included.
    pub device_bytes: u64,
    /// Milliseconds until the first write.
    pub first_write_ms: Option<f64>,
    /// Milliseconds until more was written than what clearing both ends of a disk takes.
    pub data_ms: Option<f64>,
    /// How it ended.
    pub end: End,
    /// The last line of JSON on its standard output.
    pub said: Option<Value>,
}

/// Runs a program to its end.
pub fn run(mut command: Command, around: &Surroundings<'_>) -> Result<Measured> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = around.work.join("stdout");
    let err = around.work.join("stderr");
    let create =
        |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
    command
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?);
    // What was written before is not this program's.
    nix::unistd::sync();
    let before = Snapshot::take(around);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let pid = child.id();
    let (ended, wait) = mpsc::channel();
    let waiter = thread::Builder::new()
        .name("waiter".to_owned())
        .spawn(move || {
            let pid = Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
            let result = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            // Whoever listened has given up by itself.
            ended.send((Instant::now(), result)).ok();
        })
        .context("cannot start a thread")?;
    let mut watch = Watch::new(before.dirty_kib);
    let mut timed_out = false;
    let at = loop {
        match wait.recv_timeout(TICK) {
            Ok((at, result)) => {
                result.with_context(|| format!("cannot wait for {name}"))?;
                break at;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the waiting thread has ended")),
        }
        watch.look(pid, around, began, &before);
        if !timed_out && began.elapsed() > around.limit {
            timed_out = true;
            kill_tree(pid);
        }
    };
    // It has ended but is not reaped, so its times can still be read.
    let cpu = processes::times(pid);
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    waiter
        .join()
        .map_err(|_| anyhow!("the waiting thread has panicked"))?;
    watch.look_at_disk(around, at - began, &before);
    let after = Snapshot::take(around);
    let wall = (at - began).as_secs_f64();
    let own = cpu.user + (after.server.user - before.server.user) + (after.own.user - before.own.user);
    Ok(Measured {
        wall,
        cpu,
        server_cpu: after.server.since(before.server),
        foreign: ((after.machine_user - before.machine_user - own) / wall).max(0.0),
        memory_kib: watch.memory.kib(),
        dirty_kib: watch.dirty_kib.saturating_sub(before.dirty_kib),
        wire_bytes: around
            .server
            .map_or(Ok(0), |server| server.sent_since(before.log_bytes))?,
        device_bytes: after.device_bytes - before.device_bytes,
        first_write_ms: watch.first_write.map(|after| after.as_secs_f64() * 1000.0),
        data_ms: watch.data.map(|after| after.as_secs_f64() * 1000.0),
        end: end(status, timed_out, &err),
        said: said(&out),
    })
}

fn end(status: ExitStatus, timed_out: bool, log: &Path) -> End {
    if timed_out {
        return End::TimedOut;
    }
    if status.success() {
        return End::Success;
    }
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let said = |line: &&str| !line.trim().is_empty();
    let error = |line: &&str| line.to_lowercase().starts_with("error") || line.contains(" error: ");
    let words = text.lines().find(error).or_else(|| text.lines().rev().find(said));
    let how = match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit {}", status.code().unwrap_or_default()),
    };
    End::Failed(format!("{how}: {}", words.unwrap_or("no message").trim()))
}

/// Programs of ours say most in their last line.
fn said(out: &Path) -> Option<Value> {
    let text = fs::read_to_string(out).ok()?;
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
}

/// Ends a program with all its children; only processes that this one has started.
fn kill_tree(root: u32) {
    for pid in processes::tree(root) {
        let pid = Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
        // It may have ended by itself.
        kill(pid, Signal::SIGKILL).ok();
    }
}

/// Counters before and after.
struct Snapshot {
    own: Times,
    server: Times,
    machine_user: f64,
    dirty_kib: u64,
    device_bytes: u64,
    log_bytes: u64,
}

impl Snapshot {
    fn take(around: &Surroundings<'_>) -> Self {
        Self {
            own: own_times(),
            server: around.server.map(Server::times).unwrap_or_default(),
            machine_user: processes::machine_user(),
            dirty_kib: processes::dirty_kib(),
            device_bytes: around.target.map(Target::written).unwrap_or_default(),
            log_bytes: around.server.map(Server::log_bytes).unwrap_or_default(),
        }
    }
}

/// Of this process alone, without the children that it has waited for.
fn own_times() -> Times {
    let all = processes::times(std::process::id());
    let children = fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|text| processes::children_times(&text))
        .unwrap_or_default();
    all.since(children)
}

/// What is only seen while the program runs.
struct Watch {
    ticks: u32,
    memory: Memory,
    dirty_kib: u64,
    first_write: Option<Duration>,
    data: Option<Duration>,
}

impl Watch {
    fn new(dirty_kib: u64) -> Self {
        Self {
            ticks: 0,
            memory: Memory::default(),
            dirty_kib,
            first_write: None,
            data: None,
        }
    }

    fn look(&mut self, pid: u32, around: &Surroundings<'_>, began: Instant, before: &Snapshot) {
        self.look_at_disk(around, began.elapsed(), before);
        if self.ticks.is_multiple_of(TICKS_PER_LOOK) {
            self.memory.look(pid);
            self.dirty_kib = self.dirty_kib.max(processes::dirty_kib());
        }
        self.ticks += 1;
    }

    fn look_at_disk(&mut self, around: &Surroundings<'_>, after: Duration, before: &Snapshot) {
        let Some(target) = around.target.filter(|_| self.data.is_none()) else {
            return;
        };
        let written = target.written() - before.device_bytes;
        if written > 0 {
            self.first_write.get_or_insert(after);
        }
        if written > CLEARED_BYTES {
            self.data = Some(after);
        }
    }
}
