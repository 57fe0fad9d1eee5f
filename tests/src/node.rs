//! A virtual server: QEMU with real firmware that boots over the network like a server in a rack. It is switched on
//! and off, its cable is pulled and its serial port is read; nothing else is done to it.

mod arguments;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::accel::Accel;
use crate::bmc::{Bmc, BmcSpec};
use crate::console::Console;
use crate::disk::{self, Disk, DiskSpec};
use crate::interrupt::Explain as _;
use crate::ipmi::{IpmiBmc, Switched};
use crate::process::Service;
use crate::qmp::Qmp;
use crate::redfish::qemu::Qemu;
use crate::redfish::{self, Identity, LabBmc, Machine as _, Power, Served};
use crate::sdi::{self, Card, CardPlace, SdiSpec};
use crate::sushy::{self, Managed, Sushy};
use crate::{interrupt, network, process};

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const OVMF_SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// Microsoft's keys are in it, and Secure Boot is on.
const OVMF_SECURE_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
/// Where a virtual CD is put in.
const CD_DRIVE: &str = "cd0";
const QUICK: Duration = Duration::from_secs(10);

/// What the server starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// SeaBIOS and iPXE's boot ROM.
    Bios,
    /// OVMF and its own network boot.
    Uefi,
    /// The same with Secure Boot on and Microsoft's keys.
    SecureUefi,
}

impl Firmware {
    /// As the installed system says it.
    pub fn boot_mode(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi | Self::SecureUefi => "uefi",
        }
    }

    /// Lines of the controller's section about booting that a server with this firmware needs.
    pub fn boot_section(self) -> &'static str {
        match self {
            Self::Bios | Self::Uefi => "",
            Self::SecureUefi => "uefi_loader = \"shim\"\n",
        }
    }

    /// Code and variables of OVMF.
    pub fn ovmf(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bios => None,
            Self::Uefi => Some((OVMF_CODE, OVMF_VARS)),
            Self::SecureUefi => Some((OVMF_SECURE_CODE, OVMF_SECURE_VARS)),
        }
    }

    /// The machine of QEMU.
    fn machine(self) -> &'static str {
        match self {
            // Without graphics SeaBIOS and iPXE talk on the serial port.
            Self::Bios => "q35,graphics=off",
            Self::Uefi => "q35",
            // The variables can be written in system management mode only, or Secure Boot would be none.
            Self::SecureUefi => "q35,smm=on",
        }
    }
}

/// A server to be built.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its firmware.
    pub firmware: Firmware,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
    /// Its memory.
    pub memory_mib: u32,
    /// Its processors.
    pub processors: u32,
    /// Whether QEMU ends instead of restarting the machine, so that the disk can be looked at as the agent left it.
    pub stop_at_reboot: bool,
    /// Its UEFI boots over the network by HTTP, and not by PXE.
    pub http_boot: bool,
    /// What manages it.
    pub bmc: BmcSpec,
    /// Its SDI card.
    pub sdi: Option<SdiSpec>,
    /// Its network cards; it boots from the first.
    pub nics: u8,
    /// The largest packet that the switch carries for it.
    pub switch_mtu: u32,
}

impl NodeSpec {
    /// A server with one disk, 1 GiB of memory and 2 processors.
    pub fn new(firmware: Firmware, disk: DiskSpec) -> Self {
        Self::diskless(firmware).and_disk(disk)
    }

    /// The same without a disk.
    pub fn diskless(firmware: Firmware) -> Self {
        Self {
            firmware,
            disks: Vec::new(),
            memory_mib: 1024,
            processors: 2,
            stop_at_reboot: false,
            http_boot: false,
            bmc: BmcSpec::None,
            sdi: None,
            nics: 1,
            switch_mtu: network::MTU,
        }
    }

    /// The same with a further disk.
    pub fn and_disk(mut self, disk: DiskSpec) -> Self {
        self.disks.push(disk);
        self
    }

    /// The same with a management controller.
    pub fn with_bmc(mut self, bmc: BmcSpec) -> Self {
        self.bmc = bmc;
        self
    }

    /// The same with an SDI card of so many functions.
    pub fn with_card(mut self, functions: u8) -> Self {
        self.sdi = Some(SdiSpec { functions });
        self
    }

    /// The same, but QEMU ends at the first restart.
    pub fn stop_at_reboot(mut self) -> Self {
        self.stop_at_reboot = true;
        self
    }
}

/// How a BMC is asked that speaks Redfish.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// https://HOST:PORT.
    pub address: &'a str,
    /// SHA-256 over its certificate, hex.
    pub fingerprint: &'a str,
    /// Who is let in.
    pub user: &'static str,
    /// With what.
    pub password: &'static str,
}

/// A server in the rack, on or off.
#[derive(Debug)]
pub struct Node {
    /// "node-1", …
    pub name: String,
    /// Its first network card's address; the CLI finds it by this.
    pub mac: String,
    /// The addresses of all its network cards.
    pub macs: Vec<String>,
    /// Its disks.
    pub disks: Vec<Disk>,
    spec: NodeSpec,
    accel: Accel,
    taps: Vec<String>,
    uuid: String,
    folder: PathBuf,
    boots: u32,
    bmc: Option<Bmc>,
    redfish: Option<LabBmc>,
    sushy: Option<Sushy>,
    ipmi: Option<IpmiBmc>,
    machine: Option<(Service, Qmp)>,
    /// Ends after the machine, which could not end in peace without it.
    card: Option<Card>,
    powered: Instant,
}

impl Node {
    /// Builds the server with empty disks; it is off. `target`: the build's folder, for programs of others.
    pub fn build(
        number: usize,
        spec: NodeSpec,
        taps: Vec<String>,
        accel: Accel,
        folder: &Path,
        target: &Path,
    ) -> Result<Self> {
        let name = format!("node-{number}");
        let mut disks = Vec::new();
        for (index, disk) in spec.disks.iter().enumerate() {
            let name = format!("LAB-{number}-{index}");
            disks.push(Disk::create(folder, &name, disk.serial.unwrap_or(&name), *disk)?);
        }
        if let Some((_, variables)) = spec.firmware.ovmf() {
            fs::copy(variables, folder.join(format!("{name}.vars"))).context(variables)?;
        }
        let bmc = match spec.bmc {
            BmcSpec::WithLan { mac, address } => Some(Bmc::start(&name, folder, mac, address)?),
            BmcSpec::None | BmcSpec::WithoutLan | BmcSpec::Redfish | BmcSpec::Sushy | BmcSpec::Ipmi => None,
        };
        let card = match spec.sdi {
            Some(sdi) => {
                // The card restarts a server once, before it lets it go.
                ensure!(
                    !spec.stop_at_reboot,
                    "a server with an SDI card cannot end at its restart"
                );
                Some(Card::start(&CardPlace {
                    program: Path::new(process::THIS_PROGRAM),
                    folder,
                    server: &name,
                    spec: sdi,
                    listen: CardPlace::address_of(number)?,
                    storage: sdi::STORAGE,
                })?)
            }
            None => None,
        };
        let uuid = format!("5254aaaa-7700-4000-8000-{number:012}");
        let redfish = match spec.bmc {
            BmcSpec::Redfish => {
                let identity = Identity {
                    uuid: uuid.clone(),
                    serial: format!("SN-{name}"),
                    ..Identity::default()
                };
                let socket = redfish::socket(folder, &name);
                let disk = (!disks.is_empty()).then(|| disk::device_id(0));
                Some(LabBmc::start(number, Qemu::at(socket, "nic0", disk), identity)?)
            }
            _ => None,
        };
        let sushy = match spec.bmc {
            BmcSpec::Sushy => {
                let place = sushy::place(target).context(
                    "sushy-tools are missing; `cargo xtask python-tools` makes them, as `cargo xtask lab run` does",
                )?;
                let disk = (!disks.is_empty()).then(|| disk::device_id(0));
                let server = Qemu::at(redfish::socket(folder, &name), "nic0", disk).with_cd(CD_DRIVE);
                let managed = Managed {
                    name: &name,
                    uuid: &uuid,
                    server: Some(server),
                };
                Some(Sushy::start(&place, folder, managed)?)
            }
            _ => None,
        };
        let ipmi = match spec.bmc {
            BmcSpec::Ipmi => {
                let server = Switched {
                    socket: redfish::socket(folder, &name),
                    disk: (!disks.is_empty()).then(|| disk::device_id(0)),
                };
                Some(IpmiBmc::start(&name, folder, &server)?)
            }
            _ => None,
        };
        let macs: Vec<String> = (0..taps.len())
            .map(|nic| format!("52:54:00:77:{nic:02x}:{:02x}", 0x0f + number))
            .collect();
        Ok(Self {
            bmc,
            mac: macs.first().context("a server without a network card")?.clone(),
            macs,
            uuid,
            redfish,
            sushy,
            ipmi,
            folder: folder.to_owned(),
            name,
            disks,
            spec,
            accel,
            taps,
            boots: 0,
            machine: None,
            card,
            powered: Instant::now(),
        })
    }

    /// Switches the server on.
    pub fn power_on(&mut self) -> Result<()> {
        self.power_off()?;
        if let Some(bmc) = &mut self.bmc {
            bmc.expect_running()?;
        }
        if let Some(bmc) = &mut self.ipmi {
            bmc.expect_running()?;
        }
        if let Some(card) = &mut self.card {
            card.expect_running()?;
        }
        self.boots += 1;
        let socket = self.folder.join(format!("{}-{}.qmp", self.name, self.boots));
        let mut command = Command::new("qemu-system-x86_64");
        command.args(self.arguments(&socket)).stdin(Stdio::null());
        let mut qemu = Service::start(
            &self.name,
            &mut command,
            &self.folder.join(format!("{}.qemu.log", self.name)),
        )?;
        self.powered = Instant::now();
        let qmp = match Qmp::connect(&socket, Duration::from_secs(20)) {
            Ok(qmp) => qmp,
            Err(error) => {
                qemu.expect_running()?;
                return Err(error);
            }
        };
        self.machine = Some((qemu, qmp));
        Ok(())
    }

    /// Plugs a server in that its BMC switches: the BMC lives, and the server is off until it switches it on.
    pub fn plug_into_mains(&mut self) -> Result<()> {
        self.expect_managed()?;
        self.power_on()
    }

    /// Its BMC that speaks IPMI alone.
    pub fn ipmi(&self) -> Result<&IpmiBmc> {
        let bmc = self.ipmi.as_ref();
        bmc.with_context(|| format!("{} has no BMC of IPMI", self.name))
    }

    fn expect_managed(&self) -> Result<()> {
        match &self.ipmi {
            Some(_) => Ok(()),
            None => self.access().map(drop),
        }
    }

    /// Its Redfish BMC.
    pub fn redfish(&self) -> Result<&Served> {
        let bmc = self.redfish.as_ref();
        Ok(&bmc
            .with_context(|| format!("{} has no Redfish BMC", self.name))?
            .served)
    }

    /// How its BMC is asked that speaks Redfish, whoever wrote it.
    pub fn access(&self) -> Result<Access<'_>> {
        if let Some(sushy) = &self.sushy {
            return Ok(Access {
                address: &sushy.address,
                fingerprint: &sushy.fingerprint,
                user: sushy::USER,
                password: sushy::PASSWORD,
            });
        }
        let served = self.redfish()?;
        Ok(Access {
            address: &served.address,
            fingerprint: &served.fingerprint,
            user: redfish::USER,
            password: redfish::PASSWORD,
        })
    }

    /// Whether a server is on that its BMC switches.
    pub fn has_power(&self) -> Result<bool> {
        Ok(self.look()?.power()? == Power::On)
    }

    /// Takes the power of such a server away, which nobody has asked the BMC for.
    pub fn loses_power(&self) -> Result<()> {
        self.look()?.stop()
    }

    /// Whether a CD is in the drive of a server with sushy-tools.
    pub fn has_cd(&self) -> Result<bool> {
        self.look()?.with_cd(CD_DRIVE).has_cd()
    }

    /// The server behind its BMC's back.
    fn look(&self) -> Result<Qemu> {
        self.expect_managed()?;
        // A socket of its own: the BMC keeps the other one.
        let look = redfish::socket(&self.folder, &self.name).with_extension("look");
        Ok(Qemu::at(look, "nic0", None))
    }

    /// Switches the server off, as if somebody held the button.
    pub fn power_off(&mut self) -> Result<()> {
        let Some((mut qemu, _)) = self.machine.take() else {
            return Ok(());
        };
        if qemu.ended()?.is_none() {
            qemu.kill()
        } else {
            Ok(())
        }
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        let (_, qmp) = self.machine.as_mut().context("the server is off")?;
        qmp.execute("system_reset", &json!({})).map(drop)
    }

    /// Pulls the network cable, or puts it back.
    pub fn cable(&mut self, connected: bool) -> Result<()> {
        let (_, qmp) = self.machine.as_mut().context("the server is off")?;
        qmp.execute("set_link", &json!({ "name": "nic0", "up": connected }))
            .map(drop)
    }

    /// Takes the switch behind the cable out of service, or back into it: the server's card sees its link all the time.
    pub fn switch_port(&self, works: bool) -> Result<()> {
        let state = if works { "up" } else { "down" };
        let mut ip = Command::new("ip");
        process::run(ip.args(["link", "set", &self.taps[0], state]), QUICK).map(drop)
    }

    /// Plugs a further empty disk into the SCSI adapter of the first one, while the server runs.
    pub fn plug_in(&mut self, serial: &str, spec: DiskSpec) -> Result<()> {
        let index = self.disks.len();
        let name = format!("{}-plugged-{index}", self.name);
        let disk = Disk::create(&self.folder, &name, serial, spec)?;
        let (_, qmp) = self.machine.as_mut().context("the server is off")?;
        let backend = format!("d{index}");
        let file = json!({ "driver": "file", "filename": disk.path });
        qmp.execute(
            "blockdev-add",
            &json!({ "node-name": backend, "driver": "raw", "file": file }),
        )?;
        let device = json!({
            "driver": "scsi-hd", "id": disk::device_id(index), "drive": backend, "bus": "scsi0.0", "serial": serial,
        });
        qmp.execute("device_add", &device)?;
        self.disks.push(disk);
        Ok(())
    }

    /// Pulls a SCSI disk out, while the server runs.
    pub fn pull_out(&mut self, index: usize) -> Result<()> {
        let (_, qmp) = self.machine.as_mut().context("the server is off")?;
        qmp.execute("device_del", &json!({ "id": disk::device_id(index) }))
            .map(drop)
    }

    /// Its SDI card.
    pub fn card(&mut self) -> Result<&mut Card> {
        let name = &self.name;
        self.card
            .as_mut()
            .with_context(|| format!("{name} has no SDI card"))
    }

    /// Bytes that have gone over the wire to this server since the lab began, counted by the network and not by the
    /// product.
    pub fn wire_bytes(&self) -> Result<u64> {
        let mut ip = Command::new("ip");
        let said = process::run(
            ip.args(["-json", "-statistics", "link", "show", &self.taps[0]]),
            QUICK,
        )?;
        let links: Value = serde_json::from_str(&said).context("ip printed no JSON")?;
        links[0]["stats64"]["tx"]["bytes"]
            .as_u64()
            .context("ip counts no bytes")
    }

    /// Seconds since it was switched on.
    pub fn uptime(&self) -> Duration {
        self.powered.elapsed()
    }

    /// Whether it is on.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(match &mut self.machine {
            Some((qemu, _)) => qemu.ended()?.is_none(),
            None => false,
        })
    }

    /// An error when QEMU has ended although nobody switched the server off.
    pub fn expect_on(&mut self) -> Result<()> {
        match &mut self.machine {
            Some((qemu, _)) => qemu.expect_running(),
            None => bail!("{} is off", self.name),
        }
    }

    /// An error when a kernel has given up: nothing will ever come of this server. Under emulation on a machine with far too
    /// much to do it happens that its timer seems not to work.
    pub fn expect_no_panic(&self) -> Result<()> {
        let serial = self.serial();
        match serial
            .lines()
            .find(|line| line.contains("Kernel panic - not syncing"))
        {
            Some(line) => bail!("the kernel of {} has given up: {}", self.name, line.trim()),
            None => Ok(()),
        }
    }

    /// Waits until the server stops at its restart (`stop_at_reboot`).
    pub fn wait_end(&mut self, timeout: Duration) -> Result<()> {
        let (qemu, _) = self.machine.as_mut().context("the server is off")?;
        let status = qemu.wait(timeout)?;
        if !status.success() {
            bail!("{}: QEMU ended with {status}:\n{}", self.name, qemu.log_tail(10));
        }
        self.machine = None;
        Ok(())
    }

    /// Waits until the serial port has said something.
    pub fn wait_serial(&mut self, text: &str, timeout: Duration) -> Result<()> {
        let what = format!("\"{text}\" on the serial port of {}", self.name);
        let found = interrupt::until(&what, timeout, || {
            if self.serial().contains(text) {
                return Ok(Some(()));
            }
            self.expect_on()?;
            Ok(None)
        });
        found.explain(|| format!("serial port:\n{}", self.serial_tail(25)))
    }

    /// All that the serial port has said since the last power-on.
    pub fn serial(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.serial_path()).unwrap_or_default()).into_owned()
    }

    /// The last lines of the serial port.
    pub fn serial_tail(&self, lines: usize) -> String {
        process::file_tail(&self.serial_path(), lines).replace('\u{1b}', "^")
    }

    /// Somebody sits down at its serial port.
    pub fn console(&self) -> Result<Console> {
        Console::open(&self.console_path())
    }

    fn console_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.console", self.name, self.boots))
    }

    /// The file that the serial port writes since the last power-on.
    pub fn serial_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.serial", self.name, self.boots))
    }
}
