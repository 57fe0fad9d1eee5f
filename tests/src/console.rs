//! Somebody at a server's serial console: logs in, types a line, waits for what comes of it. It works without the server's
//! network.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt;

const LOOK_AGAIN: Duration = Duration::from_millis(200);
const PROMPT: Duration = Duration::from_secs(10);

/// An open console.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    /// What is read all the time: a server whose console nobody reads stands still after a few hundred letters.
    heard: Receiver<Vec<u8>>,
    /// What was said and has not been looked at.
    said: String,
    lines: u32,
}

impl Console {
    /// Plugs into the console of a server that is on.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the server's console is not there")?;
        let mut reader = stream.try_clone().context("cannot share the console")?;
        let (tell, heard) = mpsc::channel();
        // Ends with the connection.
        let listener = move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if tell.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("console".to_owned());
        thread.spawn(listener).context("cannot start a thread")?;
        Ok(Self {
            stream,
            heard,
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
            match self.heard.recv_timeout(LOOK_AGAIN) {
                Ok(bytes) => self.said.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the server's console is gone"),
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The listener has the connection too.
        if let Err(error) = self.stream.shutdown(Shutdown::Both) {
            eprintln!("console: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Whoever speaks is never held up, and what was said is found by the command it belongs to.
    #[test]
    fn what_is_said_is_read_all_the_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("console");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody sits down");
            for _ in 0..2_000 {
                stream.write_all(b"x").expect("somebody listens");
            }
            let mut typed = [0; 512];
            let length = stream.read(&mut typed).expect("a line");
            assert!(typed[..length].starts_with(b"{ uptime; }"));
            stream.write_all(b"up\r\n@@1 0@\r\n").expect("somebody listens");
            stream.read(&mut typed).expect("the end")
        });
        let mut console = Console::open(&socket).expect("a console");
        // The server has said all of it before anybody asks.
        let filled = console.wait_for(&"x".repeat(2_000), PROMPT).expect("a server");
        assert_eq!(filled.as_deref(), Some(""));
        let said = console.run("uptime", PROMPT).expect("an answer");
        assert_eq!(said, "up");
        drop(console);
        assert_eq!(server.join().expect("a server that ends"), 0);
    }
}
