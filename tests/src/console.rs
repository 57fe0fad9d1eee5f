//! Somebody at a server's serial console: logs in, types a line, waits for what comes of it. It works without the server's
//! network.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt;

const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PROMPT: Duration = Duration::from_secs(10);

/// An open console.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    /// What was said and has not been looked at.
    said: String,
    lines: u32,
}

impl Console {
    /// Plugs into the console of a server that is on.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the server's console is not there")?;
        stream
            .set_read_timeout(Some(LOOK_AGAIN))
            .context("cannot set a time limit")?;
        Ok(Self {
            stream,
            said: String::new(),
            lines: 0,
        })
    }

    /// Logs in, as soon as the system asks who is there, and goes on in a shell that does not echo.
    pub fn log_in(&mut self, user: &str, password: &str, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            // Who was not there when the question was asked is asked again.
            self.send("")?;
            if self.wait_for("login: ", PROMPT)?.is_some() {
                break;
            }
            ensure!(
                begun.elapsed() < patience,
                "nobody asks on the console who is there"
            );
        }
        self.send(user)?;
        self.expect("assword: ", PROMPT * 3)?;
        self.send(password)?;
        self.expect("# ", PROMPT * 3)?;
        self.send("exec sh")?;
        self.expect("# ", PROMPT)?;
        // Kernel messages would come between an answer's letters.
        self.send("stty -echo; PS1=; dmesg -n 1; echo in'side'")?;
        self.expect("inside", PROMPT)?;
        Ok(())
    }

    /// Types a command and answers what it prints.
    pub fn run(&mut self, command: &str, patience: Duration) -> Result<String> {
        self.lines += 1;
        let mark = format!("@@{} ", self.lines);
        self.said.clear();
        self.send(&format!("{{ {command}; }} </dev/null 2>&1; echo \"{mark}$?@\""))?;
        let printed = self.expect(&mark, patience).with_context(|| command.to_owned())?;
        let code = self.expect("@", PROMPT)?;
        let printed = printed.replace('\r', "").trim().to_owned();
        ensure!(
            code == "0",
            "`{command}` ended with {code} on the console: {printed}"
        );
        Ok(printed)
    }

    /// Types a line and does not wait for anything.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .context("the console does not take what is typed")
    }

    fn expect(&mut self, text: &str, patience: Duration) -> Result<String> {
        match self.wait_for(text, patience)? {
            Some(before) => Ok(before),
            None => bail!("no {text:?} on the console, but: {}", self.said),
        }
    }

    /// What was said before a text; none when that does not come.
    fn wait_for(&mut self, text: &str, patience: Duration) -> Result<Option<String>> {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.said.find(text) {
                let rest = self.said.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.said, rest);
                before.truncate(at);
                return Ok(Some(before));
            }
            interrupt::check()?;
            if begun.elapsed() > patience {
                return Ok(None);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the server's console is gone"),
                Ok(read) => self.said.push_str(&String::from_utf8_lossy(&buffer[..read])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("the server's console cannot be read"),
            }
        }
    }
}
