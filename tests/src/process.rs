//! Other programs: services that run in the background and tools that answer. All of them die with the lab.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{interrupt, sys};

/// A program in the background, in a process group of its own, its output in a file.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    log: PathBuf,
    exited: Option<ExitStatus>,
}

impl Service {
    /// Starts the program; its output is added to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        Self::with_output(name, command.stdout(out).stderr(err), log)
    }

    /// The same for a program whose output goes elsewhere; `log` has what it complains about.
    pub fn writing(name: &str, command: &mut Command, to: impl Into<Stdio>, log: &Path) -> Result<Self> {
        let err = File::options().create(true).append(true).open(log);
        let err = err.with_context(|| format!("cannot open {}", log.display()))?;
        Self::with_output(name, command.stdout(to).stderr(err), log)
    }

    fn with_output(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        sys::tie_to_parent(command);
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            exited: None,
        })
    }

    /// Process id, also after its end.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            let ended = self.child.try_wait();
            self.exited = ended.with_context(|| format!("cannot ask for the state of {}", self.name))?;
        }
        Ok(self.exited)
    }

    /// An error, with the end of its log, when it is not running any more.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.log_tail(15)),
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        interrupt::until(&what, timeout, || self.ended())
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.exited = Some(
            self.child
                .wait()
                .with_context(|| format!("cannot collect {}", self.name))?,
        );
        Ok(())
    }

    /// Asks it to end, and kills it when it does not.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::SIGTERM)?;
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.ended()?.is_some() {
                return Ok(());
            }
            interrupt::grace(Duration::from_millis(20));
        }
        eprintln!(
            "{} did not end within {} s of SIGTERM and was killed",
            self.name,
            patience.as_secs()
        );
        self.kill()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("process id out of range")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// The last lines it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        file_tail(&self.log, lines)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Duration::from_secs(5)) {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// What a finished program said.
#[derive(Debug)]
pub struct Answer {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a program to its end, whatever its exit code is.
pub fn ask(command: &mut Command, timeout: Duration) -> Result<Answer> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut out = tempfile::tempfile().context("cannot make a temporary file")?;
    let mut err = tempfile::tempfile().context("cannot make a temporary file")?;
    sys::tie_to_parent(command);
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("cannot share a temporary file")?)
        .stderr(err.try_clone().context("cannot share a temporary file")?);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let status = match wait_child(&name, &mut child, timeout) {
        Ok(status) => status,
        Err(error) => {
            child.kill().with_context(|| format!("cannot kill {name}"))?;
            child.wait().with_context(|| format!("cannot collect {name}"))?;
            return Err(error);
        }
    };
    Ok(Answer {
        success: status.success(),
        code: status.code(),
        out: text(&mut out)?,
        err: text(&mut err)?,
    })
}

/// Runs a program that must succeed; answers its standard output.
pub fn run(command: &mut Command, timeout: Duration) -> Result<String> {
    let answer = ask(command, timeout)?;
    if !answer.success {
        let said = if answer.err.trim().is_empty() {
            &answer.out
        } else {
            &answer.err
        };
        bail!("{} failed: {}", describe(command), said.trim());
    }
    Ok(answer.out)
}

/// This program again. By this name it is found even when a build has replaced its file in the meantime.
pub fn this_program() -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    command.arg0("imprint-lab");
    command
}

/// The file of the running program.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// Runs a quick program while cleaning up: to its end, also when the operator has stopped the run.
pub fn tidy(command: &mut Command) -> Result<()> {
    sys::tie_to_parent(command);
    let done = command.stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !done.status.success() {
        bail!(
            "{} failed: {}",
            describe(command),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}

/// Runs a program that talks to the operator itself.
pub fn attached(command: &mut Command, timeout: Duration) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    sys::tie_to_parent(command);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let waited = wait_child(&name, &mut child, timeout);
    if waited.is_err() {
        child.kill().with_context(|| format!("cannot kill {name}"))?;
        child.wait().with_context(|| format!("cannot collect {name}"))?;
    }
    waited
}

/// Waits for a child's end.
fn wait_child(name: &str, child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("cannot wait for {name}"))?
        {
            return Ok(status);
        }
        if start.elapsed() > timeout {
            bail!("{name} did not end within {} s", timeout.as_secs());
        }
        interrupt::pause(Duration::from_millis(20))?;
    }
}
/// A port that nobody has at this moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback")?;
    Ok(listener.local_addr().context("no address of a listener")?.port())
}

/// The last lines of a file; what is not text is replaced.
pub fn file_tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .context("cannot rewind a temporary file")?;
    file.read_to_end(&mut bytes)
        .context("cannot read a temporary file")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
