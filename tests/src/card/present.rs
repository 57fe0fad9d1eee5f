//! The thread that makes the virtual server see what is wanted: it owns the QMP connection and the relays.
//!
//! Whatever it is told is compared with what the server has: disks by the names of their devices, so that a card that was
//! restarted takes over what it finds. A server that is off sees its disks when it is switched on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;

use super::CardOptions;
use super::faults::{Faults, Looks};
use super::relay::Relay;
use super::wanted::{Disk, Kind, Wanted};
use crate::interrupt;
use crate::qmp::Qmp;

/// How often it looks whether the server was switched on or off.
const LOOK: Duration = Duration::from_millis(500);
/// How long a server that was started paused is held when a disk can't be shown.
const HOLD: Duration = Duration::from_secs(30);
/// QEMU closes the back of a disk a while after the disk is gone.
const CLOSING: Duration = Duration::from_secs(10);
/// Place of function 0's disk in the boot order: behind all that the server has of its own.
const FIRST_BOOT_INDEX: u32 = 100;

/// Gives orders to the thread.
#[derive(Debug)]
pub struct Presenter(Sender<Order>);

#[derive(Debug)]
struct Order {
    wanted: Wanted,
    done: oneshot::Sender<Result<(), Status>>,
}

impl Presenter {
    /// Starts the thread for a server behind a QMP socket. It ends when this is dropped.
    pub fn start(
        options: &CardOptions,
        qmp: PathBuf,
        wanted: Wanted,
        faults: Faults,
        runtime: Handle,
    ) -> Result<Self> {
        let relays = options.relays.clone().context("--qmp needs --relays")?;
        let mut server = Server {
            socket: qmp,
            folder: relays,
            unplug: Duration::from_secs(options.unplug_seconds),
            patience_seconds: options.patience_seconds,
            faults,
            runtime,
            wanted: Wanted::new(),
            relays: BTreeMap::new(),
            qmp: None,
            complaint: String::new(),
        };
        server.expect(wanted)?;
        let (orders, incoming) = channel();
        let thread = thread::Builder::new().name("presenter".to_owned());
        thread
            .spawn(move || server.serve(&incoming))
            .context("cannot start the thread of the server's disks")?;
        Ok(Self(orders))
    }

    /// Makes the server see this; when it is off, that is for later.
    pub async fn show(&self, wanted: Wanted) -> Result<(), Status> {
        let (done, answer) = oneshot::channel();
        let gone = || Status::unavailable("the card is ending");
        self.0.send(Order { wanted, done }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The virtual server.
struct Server {
    socket: PathBuf,
    folder: PathBuf,
    unplug: Duration,
    patience_seconds: u32,
    faults: Faults,
    runtime: Handle,
    wanted: Wanted,
    relays: BTreeMap<u8, (Disk, Relay)>,
    qmp: Option<Connection>,
    complaint: String,
}

/// A server that is on.
struct Connection {
    qmp: Qmp,
    /// What it has, by function; what was there before this card is unknown.
    plugged: BTreeMap<u8, Option<Disk>>,
    /// Since when it is held, if it was started paused.
    held: Option<Instant>,
}

impl Server {
    fn serve(&mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(Order { wanted, done }) => {
                    // A caller that has gone needs no answer.
                    done.send(self.obey(wanted)).unwrap_or_default();
                }
                Err(RecvTimeoutError::Timeout) => {
                    let looked = self.look();
                    self.complain(looked);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Says once what goes on and on.
    fn complain(&mut self, outcome: Result<()>) {
        let complaint = outcome
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        if !complaint.is_empty() && complaint != self.complaint {
            eprintln!("{complaint}");
        }
        self.complaint = complaint;
    }

    fn obey(&mut self, wanted: Wanted) -> Result<(), Status> {
        let refuse = |error: anyhow::Error| Status::failed_precondition(format!("{error:#}"));
        // An error of the look means that the server was just switched off or does not answer.
        let looked = self.look();
        self.complain(looked);
        if let Some(connection) = &mut self.qmp {
            for (function, disk) in &connection.plugged.clone() {
                let stays = wanted.get(function) == disk.as_ref().or_else(|| self.wanted.get(function));
                if !stays && let Err(error) = connection.pull(*function, self.unplug) {
                    return Err(Status::aborted(format!("{error:#}")));
                }
            }
        }
        self.expect(wanted).map_err(refuse)?;
        self.plug_missing().map_err(refuse)
    }

    /// Makes ready for what is wanted: a relay for each disk.
    fn expect(&mut self, wanted: Wanted) -> Result<()> {
        self.relays
            .retain(|function, (disk, _)| wanted.get(function) == Some(disk));
        for (function, disk) in &wanted {
            if !self.relays.contains_key(function) {
                let socket = self.folder.join(format!("sdi{function}"));
                let addresses = disk.volume.addresses.clone();
                let relay = Relay::start(&self.runtime, &socket, addresses, self.faults.lost());
                let relay = relay.with_context(|| format!("cannot listen at {}", socket.display()))?;
                self.relays.insert(*function, (disk.clone(), relay));
            }
        }
        self.wanted = wanted;
        Ok(())
    }

    /// Looks whether the server is on, and shows it what it has not seen.
    fn look(&mut self) -> Result<()> {
        if let Some(connection) = &mut self.qmp
            && connection.qmp.execute("query-status", &json!({})).is_err()
        {
            self.qmp = None;
        }
        if self.qmp.is_none() {
            // Nobody listens: the server is off.
            let Ok(qmp) = Qmp::connect(&self.socket, Duration::ZERO) else {
                return Ok(());
            };
            self.qmp = Some(Connection::take_over(qmp)?);
        }
        let plugged = self.plug_missing();
        if let Some(connection) = &mut self.qmp
            && let Some(since) = connection.held
            && (plugged.is_ok() || since.elapsed() > HOLD)
        {
            // Firmware finds what was there at a reset.
            connection.qmp.execute("system_reset", &json!({}))?;
            connection.qmp.execute("cont", &json!({}))?;
            connection.held = None;
        }
        plugged
    }

    fn plug_missing(&mut self) -> Result<()> {
        let Some(connection) = &mut self.qmp else {
            return Ok(());
        };
        let surplus: Vec<u8> = connection.plugged.keys().copied().collect();
        for function in surplus {
            if !self.wanted.contains_key(&function) {
                connection.pull(function, self.unplug)?;
            }
        }
        for (function, disk) in &self.wanted {
            if connection.plugged.contains_key(function) {
                continue;
            }
            let looks = self.faults.switches().looks;
            if looks != Looks::Never {
                let socket = self.folder.join(format!("sdi{function}"));
                let backend = json!({
                    "driver": "nbd", "node-name": nbd(*function), "export": disk.volume.export,
                    "server": { "type": "unix", "path": socket }, "reconnect-delay": self.patience_seconds,
                });
                connection
                    .plug(*function, disk, &backend, looks)
                    .with_context(|| format!("cannot show {} as function {function}", disk.name))?;
            }
            connection.plugged.insert(*function, Some(disk.clone()));
        }
        Ok(())
    }
}

impl Connection {
    /// With what the server has already.
    fn take_over(mut qmp: Qmp) -> Result<Self> {
        let status = qmp.execute("query-status", &json!({}))?;
        let mut connection = Self {
            qmp,
            plugged: BTreeMap::new(),
            held: (status["status"] == "prelaunch").then(Instant::now),
        };
        let there = connection.peripherals()?;
        for function in 0..=u8::MAX {
            if there.contains(&device(function)) {
                connection.plugged.insert(function, None);
            }
        }
        Ok(connection)
    }

    /// Names of devices.
    fn peripherals(&mut self) -> Result<Vec<String>> {
        let listed = self
            .qmp
            .execute("qom-list", &json!({ "path": "/machine/peripheral" }))?;
        let entries = listed.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| entry["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn plug(&mut self, function: u8, disk: &Disk, backend: &Value, looks: Looks) -> Result<()> {
        self.qmp.execute("blockdev-add", backend)?;
        let plugged = self.plug_device(function, disk, looks);
        if plugged.is_err() {
            self.close(function)?;
        }
        plugged
    }

    fn plug_device(&mut self, function: u8, disk: &Disk, looks: Looks) -> Result<()> {
        let mut drive = nbd(function);
        if looks == Looks::WrongSize {
            let half = self.size_bytes(&drive)? / 2 / 512 * 512;
            drive = raw(function);
            self.qmp.execute(
                "blockdev-add",
                &json!({ "driver": "raw", "node-name": drive, "file": nbd(function), "size": half }),
            )?;
        }
        let mut asked = match disk.kind {
            Kind::VirtioBlk => json!({
                "driver": "virtio-blk-pci", "werror": "report", "rerror": "report",
            }),
            Kind::Nvme => json!({ "driver": "nvme" }),
        };
        asked["id"] = device(function).into();
        asked["bus"] = format!("sdi{function}").into();
        // Firmware drops boot entries for disks that QEMU's boot order does not name.
        asked["bootindex"] = (FIRST_BOOT_INDEX + u32::from(function)).into();
        asked["drive"] = drive.into();
        let serial = match looks {
            Looks::WrongSerial => Some("NOT-THE-ONE"),
            _ => disk.serial.as_deref(),
        };
        if let Some(serial) = serial {
            asked["serial"] = serial.into();
        }
        self.qmp.execute("device_add", &asked).map(drop)
    }

    fn size_bytes(&mut self, node: &str) -> Result<u64> {
        let nodes = self
            .qmp
            .execute("query-named-block-nodes", &json!({ "flat": true }))?;
        let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
        let found = nodes.iter().find(|known| known["node-name"] == node);
        let size = found.and_then(|node| node["image"]["virtual-size"].as_u64());
        size.context("QEMU does not know the size of the volume")
    }

    /// Takes a disk away, with the server's consent.
    fn pull(&mut self, function: u8, patience: Duration) -> Result<()> {
        let name = device(function);
        if self.peripherals()?.contains(&name) {
            self.qmp.execute("device_del", &json!({ "id": name }))?;
            let start = Instant::now();
            while self.peripherals()?.contains(&name) {
                if start.elapsed() > patience {
                    bail!(
                        "the server holds the disk of function {function} for more than {} s: its system does not let go",
                        patience.as_secs()
                    );
                }
                interrupt::pause(Duration::from_millis(50))?;
            }
        }
        self.close(function)?;
        self.plugged.remove(&function);
        Ok(())
    }

    /// Closes what was behind a disk.
    fn close(&mut self, function: u8) -> Result<()> {
        for node in [raw(function), nbd(function)] {
            let start = Instant::now();
            while self.has_node(&node)? {
                let closed = self.qmp.execute("blockdev-del", &json!({ "node-name": node }));
                match closed {
                    Err(error) if start.elapsed() > CLOSING => return Err(error),
                    Err(_) => interrupt::pause(Duration::from_millis(50))?,
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    fn has_node(&mut self, name: &str) -> Result<bool> {
        let nodes = self
            .qmp
            .execute("query-named-block-nodes", &json!({ "flat": true }))?;
        let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(nodes.iter().any(|node| node["node-name"] == name))
    }
}

fn device(function: u8) -> String {
    format!("sdi{function}-disk")
}

fn nbd(function: u8) -> String {
    format!("sdi{function}-volume")
}

fn raw(function: u8) -> String {
    format!("sdi{function}-part")
}
