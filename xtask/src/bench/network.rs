//! A network namespace whose loopback is as slow as is asked for. It goes away with the process that holds it.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::tool;

/// A loopback of its own.
#[derive(Debug)]
pub struct Network {
    holder: Child,
}

impl Network {
    /// A namespace in which all traffic together passes at `bytes_per_second`.
    pub fn limited(bytes_per_second: u64) -> Result<Self> {
        let mut command = with_parent("unshare");
        command.args(["--net", "--", "sleep", "infinity"]);
        let network = Self {
            holder: command
                .stdin(Stdio::null())
                .spawn()
                .context("cannot start unshare")?,
        };
        network.await_namespace()?;
        tool::run(network.inside("ip").args(["link", "set", "lo", "up"]))?;
        let rate = format!("{}bit", bytes_per_second * 8);
        let mut shape = network.inside("tc");
        shape.args(["qdisc", "add", "dev", "lo", "root", "tbf", "rate", &rate]);
        shape.args(["burst", "1mb", "latency", "50ms"]);
        tool::run(&mut shape).context("cannot slow the network down")?;
        Ok(network)
    }

    /// `unshare` needs a moment to make the namespace.
    fn await_namespace(&self) -> Result<()> {
        let own = std::fs::read_link("/proc/self/ns/net").context("this system has no network namespaces")?;
        let path = format!("/proc/{}/ns/net", self.holder.id());
        for _ in 0..200 {
            if std::fs::read_link(&path).is_ok_and(|other| other != own) {
                return Ok(());
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        anyhow::bail!("unshare --net made no network namespace")
    }

    /// A program that runs inside.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg("--")
            .arg(program);
        command
    }

    /// The same program with the same arguments, inside.
    pub fn wrap(&self, command: &Command) -> Command {
        let mut inside = self.inside(&command.get_program().to_string_lossy());
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        inside
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// A program that ends when this one does, however that happens.
pub fn with_parent(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", program]);
    command
}
