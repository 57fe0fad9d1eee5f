//! A virtual server that a BMC switches by QMP. QEMU runs as long as the server is plugged in; a server that is off is paused
//! and reset. Its boot order is disk, then network; an override goes before both, until the firmware has read it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::machine::{Machine, Power};
use crate::qmp::Qmp;

const CONNECT: Duration = Duration::from_secs(10);
/// What QEMU is started with, so that the server is off at first, and off when its system has shut down.
pub const ARGUMENTS: [&str; 2] = ["-S", "-no-shutdown"];
/// Names of Redfish for what can be booted once.
pub const TARGETS: [&str; 3] = ["None", "Pxe", "Hdd"];

/// A virtual server, by a QMP socket of its own.
#[derive(Debug)]
pub struct Qemu {
    socket: PathBuf,
    nic: &'static str,
    disk: Option<String>,
    qmp: Option<Qmp>,
}

impl Qemu {
    /// The server at this socket, there or still to come. `nic` and `disk`: devices that it boots from.
    pub fn at(socket: PathBuf, nic: &'static str, disk: Option<String>) -> Self {
        Self {
            socket,
            nic,
            disk,
            qmp: None,
        }
    }

    fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut qmp = match self.qmp.take() {
            Some(qmp) => qmp,
            None => Qmp::connect(&self.socket, CONNECT)?,
        };
        let done = qmp.execute(command, arguments)?;
        // Kept only as long as it answers: the server may be unplugged.
        self.qmp = Some(qmp);
        Ok(done)
    }

    fn order(&mut self, device: &str, place: i32) -> Result<()> {
        let path = format!("/machine/peripheral/{device}");
        // A place that is taken is refused, also by who has it.
        for value in [-1, place] {
            let arguments = json!({ "path": path, "property": "bootindex", "value": value });
            self.run("qom-set", &arguments)?;
        }
        Ok(())
    }
}

impl Machine for Qemu {
    fn power(&mut self) -> Result<Power> {
        let status = self.run("query-status", &json!({}))?;
        match status["status"].as_str().context("QEMU tells no status")? {
            "prelaunch" | "paused" | "shutdown" => Ok(Power::Off),
            _ => Ok(Power::On),
        }
    }

    fn power_on(&mut self, boot: Option<&str>) -> Result<()> {
        if self.power()? == Power::On {
            return Ok(());
        }
        let (nic, disk) = (self.nic, self.disk.clone());
        // No two devices may have the same place at any time.
        self.order(nic, 2)?;
        if let Some(disk) = &disk {
            self.order(disk, 1)?;
        }
        let first = match (boot, &disk) {
            (Some("Pxe"), _) => Some((nic.to_owned(), 2)),
            (Some("Hdd"), Some(disk)) => Some((disk.clone(), 1)),
            (None | Some("None" | "Hdd"), _) => None,
            (Some(other), _) => bail!("the server cannot boot {other}"),
        };
        if let Some((device, _)) = &first {
            self.order(device, 0)?;
        }
        // The firmware gets the order that holds at this moment.
        self.run("system_reset", &json!({}))?;
        if let Some((device, place)) = &first {
            self.order(device, *place)?;
        }
        self.run("cont", &json!({})).map(drop)
    }

    fn power_off(&mut self) -> Result<()> {
        self.run("stop", &json!({}))?;
        self.run("system_reset", &json!({})).map(drop)
    }

    fn shut_down(&mut self) -> Result<()> {
        self.run("system_powerdown", &json!({})).map(drop)
    }
}
