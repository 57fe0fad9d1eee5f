//! The program that serves the files of [`FilesBackend`](super::FilesBackend) over NBD: nbdkit, as a child of the controller.

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::config::VolumesConfig;

const PROGRAM: &str = "nbdkit";
/// What it says is for the log.
const LONGEST_LINE_BYTES: u64 = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that has served so long has started well.
const WELL: Duration = Duration::from_secs(60);
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why volumes cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum NbdServerError {
    /// It is not installed, or cannot be started.
    #[error(
        "cannot start `{PROGRAM}`, which serves the volumes of the section [volumes]; install it (Debian: apt-get install \
         nbdkit), or take the section out of the configuration"
    )]
    Program(#[source] io::Error),
    /// It has no plugin for files.
    #[error(
        "`{PROGRAM}` cannot serve files: {0}; install its plugin `file` (Debian: apt-get install nbdkit), or take the \
         section [volumes] out of the configuration"
    )]
    Plugin(String),
}

/// nbdkit, which serves all files of a folder, each under its name.
#[derive(Debug, Clone)]
pub struct NbdServer {
    listen: SocketAddr,
    exports: PathBuf,
}

/// One that runs.
struct Running {
    pid: Pid,
    /// Held while it is taken off the list of processes: after that its number may be somebody else's.
    gone: Arc<Mutex<bool>>,
    ended: oneshot::Receiver<Ended>,
}

/// How it ended.
struct Ended {
    status: io::Result<ExitStatus>,
    /// The last that it said.
    said: String,
}

impl NbdServer {
    /// Looks whether it is installed. It serves once it [runs](Self::run).
    pub async fn find(config: &VolumesConfig) -> Result<Self, NbdServerError> {
        let mut asked = tokio::process::Command::new(PROGRAM);
        let answer = asked
            .args(["file", "--version"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(NbdServerError::Program)?;
        if !answer.status.success() {
            let said = String::from_utf8_lossy(&answer.stderr);
            let said = said.lines().next_back().unwrap_or_default();
            return Err(NbdServerError::Plugin(said.chars().take(200).collect()));
        }
        Ok(Self {
            listen: config.listen,
            exports: super::files::exports_in(&config.folder),
        })
    }

    /// Serves until the controller ends. When it dies it is started again.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            match self.start().await {
                Ok(mut running) => {
                    tracing::info!(listen = %self.listen, pid = running.pid.as_raw(), "volumes are served over NBD");
                    let ended = tokio::select! {
                        biased;
                        ended = &mut running.ended => ended,
                        () = shutdown.cancelled() => return running.end().await,
                    };
                    self.tell(ended.ok().as_ref());
                }
                Err(error) => tracing::error!(
                    error = &error as &(dyn std::error::Error + 'static),
                    remedy = "Check that it is installed: apt-get install nbdkit.",
                    "nbdkit cannot be started: no volume of this controller can be reached"
                ),
            }
            if started.elapsed() >= WELL {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn tell(&self, ended: Option<&Ended>) {
        let (how, said) = match ended {
            Some(Ended {
                status: Ok(status),
                said,
            }) => (status.to_string(), said.as_str()),
            Some(Ended {
                status: Err(error),
                said,
            }) => (error.to_string(), said.as_str()),
            None => ("its thread has died".to_owned(), ""),
        };
        tracing::error!(
            listen = %self.listen,
            how,
            said,
            remedy = "Check that the address of volumes.listen is this host's and nobody else's. It is started again.",
            "nbdkit has ended: no volume of this controller can be reached"
        );
    }

    /// nbdkit goes when the thread goes that has started it, so it has one of its own.
    async fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--foreground", "--exit-with-parent", "--newstyle"])
            .args(["--ipaddr", &self.listen.ip().to_string()])
            .args(["--port", &self.listen.port().to_string()])
            .arg("file")
            .arg(format!("dir={}", self.exports.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (tell_started, started) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let gone = Arc::new(Mutex::new(false));
        let gone_there = Arc::clone(&gone);
        thread::Builder::new().name(PROGRAM.to_owned()).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    tell_started.send(Err(error)).ok();
                    return;
                }
            };
            tell_started.send(Ok(child.id())).ok();
            let said = child.stderr.take().map(last_words).unwrap_or_default();
            let status = wait(&mut child, &gone_there);
            // Whoever has started it may have gone with the controller.
            tell_ended.send(Ended { status, said }).ok();
        })?;
        let pid = started.await.map_err(io::Error::other)??;
        Ok(Running {
            pid: Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?),
            gone,
            ended,
        })
    }
}

/// What it says, into the log; the last line.
fn last_words(stderr: ChildStderr) -> String {
    let mut lines = BufReader::new(stderr);
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        match lines
            .by_ref()
            .take(LONGEST_LINE_BYTES)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return last,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                if !line.trim().is_empty() {
                    last = line.trim().to_owned();
                    tracing::warn!(said = last, "nbdkit");
                }
            }
        }
    }
}

fn wait(child: &mut Child, gone: &Mutex<bool>) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    waitid(
        Id::Pid(Pid::from_raw(pid)),
        WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
    )?;
    let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
    *gone = true;
    child.wait()
}

impl Running {
    fn signal(&self, signal: Signal) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone && let Err(error) = kill(self.pid, signal) {
            tracing::warn!(%error, pid = self.pid.as_raw(), "nbdkit cannot be ended");
        }
    }

    async fn end(mut self) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(PATIENCE, &mut self.ended).await.is_err() {
            self.signal(Signal::SIGKILL);
            (&mut self.ended).await.ok();
        }
    }
}

impl Drop for Running {
    /// For who is not waited for any more. Without effect on one that has ended.
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
    }
}
