//! The ssh server of a rescue: Dropbear, with a host key of this boot, in a control group of its own.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sha2::{Digest as _, Sha256};

use super::{Place, log};
use crate::{
    finish::tool::{self, ToolError},
    identity::private_file,
};

const PORT: u16 = 22;
/// Wrong passwords of one connection.
const TRIES: &str = "3";
/// A connection whose other end is gone is noticed after about three times this.
const ALIVE_SECONDS: &str = "60";
const KEY_LIMIT: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Lines of the log that are read at once.
const MOST_READ: u64 = 1 << 20;

/// The server cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file or folder.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The key that was made is none.
    #[error("the host key that was made cannot be read")]
    Key,
    /// It does not listen.
    #[error("the ssh server does not listen at port {PORT}: {said}")]
    Deaf {
        /// The end of what it wrote.
        said: String,
    },
}

/// The host key of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519 AAAA…`.
    pub line: String,
    /// `SHA256:…`, as ssh shows it.
    pub fingerprint: String,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    place: Place,
    process: i32,
    /// None when an earlier agent of this boot has started it.
    child: Option<Child>,
    /// How far its log was read.
    read: u64,
}

impl Place {
    fn group(&self) -> PathBuf {
        self.root.join("sys/fs/cgroup/imprint-rescue")
    }

    fn deadline(&self) -> PathBuf {
        self.folder.join("deadline")
    }

    fn process(&self) -> PathBuf {
        self.folder.join("process")
    }

    /// Makes the folder of the books.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(&self) -> Result<(), ServerError> {
        private_file::make_folder(&self.folder).map_err(at(&self.folder))
    }

    /// Keeps when the rescue ends: so many seconds from now. It outlives the agent, within this boot.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn ends_in(&self, seconds: u32) -> Result<(), ServerError> {
        let path = self.deadline();
        let now = self.uptime_seconds().unwrap_or(0);
        let end = now.saturating_add(u64::from(seconds));
        private_file::write(&path, end.to_string().as_bytes()).map_err(at(&path))
    }

    /// Lets these public keys in, and no others.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn authorize(&self, keys: &[String]) -> Result<(), ServerError> {
        let folder = self.root.join("root/.ssh");
        let path = folder.join("authorized_keys");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(at(&folder))?;
        let lines: String = keys
            .iter()
            .filter(|key| !key.contains(['\n', '\r', '\0']))
            .map(|key| format!("{key}\n"))
            .collect();
        private_file::write(&path, lines.as_bytes()).map_err(at(&path))
    }

    /// Nobody is let in by a key any more.
    pub fn unauthorize(&self) {
        if let Err(error) = private_file::remove(&self.root.join("root/.ssh/authorized_keys")) {
            tracing::warn!(%error, "the keys of a rescue stay where they are");
        }
    }

    /// The host key; it is made when there is none.
    ///
    /// # Errors
    /// When it can't be made or read.
    pub fn host_key(&self) -> Result<HostKey, ServerError> {
        let path = self.folder.join("host_key");
        let program = self.root.join("usr/bin/dropbearkey");
        let file = path.to_string_lossy().into_owned();
        if !path.exists() {
            let arguments = ["-t", "ed25519", "-f", &file];
            tool::run(&program, "dropbearkey", &arguments, KEY_LIMIT)?;
        }
        let told = tool::run(&program, "dropbearkey", &["-y", "-f", &file], KEY_LIMIT)?;
        read_key(&String::from_utf8_lossy(&told)).ok_or(ServerError::Key)
    }
}

/// Until the rescue ends by itself; none when nobody knows.
#[must_use]
pub fn seconds_left(place: &Place) -> Option<u64> {
    let end: u64 = fs::read_to_string(place.deadline()).ok()?.trim().parse().ok()?;
    Some(end.saturating_sub(place.uptime_seconds()?))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ServerError {
    let path = path.to_path_buf();
    |source| ServerError::File { path, source }
}

/// The public key in what dropbearkey says, with the fingerprint that ssh computes.
fn read_key(told: &str) -> Option<HostKey> {
    let line = told.lines().find(|line| line.starts_with("ssh-ed25519 "))?;
    let text = line.split(' ').nth(1)?;
    let bytes = STANDARD.decode(text).ok()?;
    Some(HostKey {
        line: format!("ssh-ed25519 {text}"),
        fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes))),
    })
}

impl Server {
    /// The server that an earlier agent of this boot has started, if it still runs.
    #[must_use]
    pub fn running(place: &Place) -> Option<Self> {
        let process: i32 = fs::read_to_string(place.process()).ok()?.trim().parse().ok()?;
        let own = members(place).contains(&process) && lives(process);
        own.then(|| Self {
            place: place.clone(),
            process,
            child: None,
            // What was said before was told by that agent.
            read: fs::metadata(place.log()).map_or(0, |log| log.len()),
        })
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(place: &Place) -> Result<Self, ServerError> {
        let group = place.group();
        fs::create_dir_all(&group).map_err(at(&group))?;
        let path = place.log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        let read = log.metadata().map_or(0, |log| log.len());
        let program = place.root.join("usr/sbin/dropbear");
        let port = PORT.to_string();
        let mut command = Command::new(&program);
        // In the foreground, without forwarding of ports; what it has to say goes into the log.
        command
            .args([
                "-F",
                "-E",
                "-j",
                "-k",
                "-T",
                TRIES,
                "-K",
                ALIVE_SECONDS,
                "-p",
                &port,
                "-r",
            ])
            .arg(place.folder.join("host_key"))
            .arg("-P")
            .arg(place.folder.join("dropbear.pid"))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().map_err(at(&program))?;
        let process = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let mut server = Self {
            place: place.clone(),
            process,
            child: Some(child),
            read,
        };
        // Before anybody can have connected: sessions are born into the group.
        let members = group.join("cgroup.procs");
        let kept = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&members)
            .and_then(|mut file| io::Write::write_all(&mut file, format!("{process}\n").as_bytes()))
            .map_err(at(&members))
            .and_then(|()| {
                let path = place.process();
                private_file::write(&path, process.to_string().as_bytes()).map_err(at(&path))
            });
        if let Err(error) = kept {
            server.kill();
            return Err(error);
        }
        let listens = async {
            while server.is_alive() && !is_listening(&place.root) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            server.is_alive()
        };
        if tokio::time::timeout(START_LIMIT, listens).await != Ok(true) {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let said = said
                .lines()
                .last()
                .unwrap_or("it says nothing")
                .chars()
                .take(200)
                .collect();
            end(place).await;
            return Err(ServerError::Deaf { said });
        }
        Ok(server)
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => lives(self.process),
        }
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill().and_then(|()| child.wait().map(drop))
        {
            tracing::error!(%error, "an ssh server could not be ended");
        }
    }

    /// What it has said since the last time.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn news(&mut self) -> io::Result<Vec<log::Said>> {
        let mut file = fs::File::open(self.place.log())?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(MOST_READ).read_to_end(&mut bytes)?;
        // A line that is not whole yet is read the next time.
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.truncate(whole);
        self.read += u64::try_from(whole).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter_map(log::read).map(|(_, said)| said).collect())
    }
}

/// Ends the server, its sessions, and all that was started in them; false when something of it stays.
pub async fn end(place: &Place) -> bool {
    let group = place.group();
    let gone = async {
        loop {
            let alive: Vec<i32> = members(place)
                .into_iter()
                .filter(|process| lives(*process))
                .collect();
            if alive.is_empty() {
                return;
            }
            for process in alive {
                match kill(Pid::from_raw(process), Signal::SIGKILL) {
                    Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                    Err(error) => tracing::error!(process, %error, "a process of a rescue cannot be ended"),
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let gone = tokio::time::timeout(END_LIMIT, gone).await.is_ok();
    for path in [place.process(), place.deadline()] {
        if let Err(error) = private_file::remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a file of a rescue stays");
        }
    }
    if let Err(error) = fs::remove_dir(&group) {
        tracing::debug!(%error, "the control group of a rescue stays");
    }
    gone
}

fn members(place: &Place) -> Vec<i32> {
    let text = fs::read_to_string(place.group().join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|process| *process > 1)
        .collect()
}

/// A process that runs; one that has ended and was not waited for does not.
fn lives(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.starts_with(['Z', 'X']))
    })
}

/// Whether something listens at the port, by the kernel's own table.
fn is_listening(root: &Path) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{PORT:04X}");
    ["proc/net/tcp", "proc/net/tcp6"].iter().any(|table| {
        let text = fs::read_to_string(root.join(table)).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (own, state) = (words.next(), words.nth(1));
            own.is_some_and(|own| own.ends_with(&port)) && state == Some(LISTEN)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_one_that_ssh_shows() {
        let told = "Public key portion is:\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl root@imprint\n\
            Fingerprint: sha1!! 00:11\n";
        let key = read_key(told).unwrap();
        assert!(key.line.ends_with("9GKJl"), "{}", key.line);
        // As `ssh-keygen -l` has it: the key of github.com.
        assert_eq!(
            key.fingerprint,
            "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
        );
        assert_eq!(read_key("nothing"), None);
        assert_eq!(read_key("ssh-ed25519 %%"), None);
    }

    #[test]
    fn a_port_that_is_listened_at_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let table = |line: &str| {
            fs::create_dir_all(folder.path().join("proc/net")).unwrap();
            let head = "  sl  local_address rem_address   st tx_queue\n";
            fs::write(folder.path().join("proc/net/tcp6"), format!("{head}{line}\n")).unwrap();
            is_listening(folder.path())
        };
        assert!(!is_listening(folder.path()));
        assert!(table(
            "   0: 00000000000000000000000000000000:0016 00000000:0000 0A 0"
        ));
        assert!(!table(
            "   0: 00000000000000000000000000000000:0016 00000000:0000 01 0"
        ));
        assert!(!table(
            "   0: 00000000000000000000000000000000:1F90 00000000:0016 0A 0"
        ));
    }
}
