//! QEMU's control socket: one JSON command a line, answers among events.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::interrupt;

/// An open control connection.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Number of the last command. An answer that came too late for its command is none of a later one.
    last: u64,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self> {
        let stream = interrupt::until("QEMU's control socket", timeout, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .context("cannot set a time limit")?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
            last: 0,
        };
        qmp.read()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and answers what it returns.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.last += 1;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": self.last }).to_string();
        line.push('\n');
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .context("QEMU does not take commands")?;
        loop {
            let mut answer = self.read()?;
            if answer["id"] != self.last {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).context("QEMU does not answer")?;
        if read == 0 {
            bail!("QEMU has closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU's answer is not JSON")
    }
}
