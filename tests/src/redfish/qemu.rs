//! A virtual server that a BMC switches by QMP. QEMU runs as long as the server is plugged in; a server that is off is paused
//! and reset. Its boot order is disk, then network; an override goes before both, until the firmware has read it or until it is
//! taken back.

use std::path::{Path, PathBuf};
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
    cd: Option<&'static str>,
    disk: Option<String>,
    qmp: Option<Qmp>,
}

impl Qemu {
    /// The server at this socket, there or still to come. `nic` and `disk`: devices that it boots from.
    pub fn at(socket: PathBuf, nic: &'static str, disk: Option<String>) -> Self {
        Self {
            socket,
            nic,
            cd: None,
            disk,
            qmp: None,
        }
    }

    /// The same with a drive for CDs.
    #[must_use]
    pub fn with_cd(self, device: &'static str) -> Self {
        Self {
            cd: Some(device),
            ..self
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

    fn place(&mut self, device: &str, place: i32) -> Result<()> {
        let path = format!("/machine/peripheral/{device}");
        let arguments = json!({ "path": path, "property": "bootindex", "value": place });
        self.run("qom-set", &arguments).map(drop)
    }

    /// What it boots from: `first`, as Redfish calls it, then disk, then network. The firmware reads it when the server starts.
    pub fn arrange(&mut self, first: Option<&str>) -> Result<()> {
        let (nic, cd, disk) = (self.nic, self.cd, self.disk.clone());
        let order: Vec<&str> = match first {
            Some("Pxe") => vec![nic],
            Some("Cd") => vec![cd.context("the server has no drive for CDs")?],
            None | Some("" | "None" | "Hdd") => Vec::new(),
            Some(other) => bail!("the server cannot boot {other}"),
        };
        // A place that is taken is refused, also by who has it.
        let devices: Vec<&str> = disk.as_deref().into_iter().chain([nic]).chain(cd).collect();
        for device in &devices {
            self.place(device, -1)?;
        }
        let usual = disk.as_deref().into_iter().chain([nic]);
        let rest = usual.filter(|device| !order.contains(device));
        for (device, place) in order.iter().copied().chain(rest).zip(0..) {
            self.place(device, place)?;
        }
        Ok(())
    }

    /// Starts it in the order that holds at this moment.
    pub fn start(&mut self) -> Result<()> {
        self.run("system_reset", &json!({}))?;
        self.run("cont", &json!({})).map(drop)
    }

    /// Takes its power away.
    pub fn stop(&mut self) -> Result<()> {
        self.run("stop", &json!({}))?;
        self.run("system_reset", &json!({})).map(drop)
    }

    /// Whether a CD is in its drive.
    pub fn has_cd(&mut self) -> Result<bool> {
        let drive = self.cd.context("the server has no drive for CDs")?;
        let blocks = self.run("query-block", &json!({}))?;
        let blocks = blocks.as_array().context("QEMU tells of no drives")?;
        let named = |block: &&Value| block["qdev"].as_str().is_some_and(|path| path.contains(drive));
        let found = blocks.iter().find(named);
        Ok(found.with_context(|| format!("no drive {drive}: {blocks:?}"))?["inserted"].is_object())
    }

    /// Puts a CD into its drive, or takes it out.
    pub fn change_cd(&mut self, image: Option<&Path>) -> Result<()> {
        let drive = self.cd.context("the server has no drive for CDs")?;
        match image {
            Some(image) => {
                let arguments =
                    json!({ "id": drive, "filename": image, "format": "raw", "read-only-mode": "read-only" });
                self.run("blockdev-change-medium", &arguments)?;
            }
            None => {
                self.run("eject", &json!({ "id": drive, "force": true }))?;
            }
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
        self.arrange(boot)?;
        // The firmware gets the order that holds at this moment.
        self.run("system_reset", &json!({}))?;
        self.arrange(None)?;
        self.run("cont", &json!({})).map(drop)
    }

    fn power_off(&mut self) -> Result<()> {
        self.stop()
    }

    fn shut_down(&mut self) -> Result<()> {
        self.run("system_powerdown", &json!({})).map(drop)
    }
}
