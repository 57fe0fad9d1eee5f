//! What an agent read about a machine, bounded and in a form that is kept and shown as JSON.

use imprint_proto::agent::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MAX_DISKS: usize = 1024;
const MAX_NICS: usize = 64;
const MAX_LIST: usize = 64;
const MAX_TEXT: usize = 256;

/// A machine's hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Inventory {
    /// SMBIOS facts.
    pub system: System,
    /// Firmware facts.
    pub firmware: Firmware,
    /// Processor facts.
    pub cpu: Cpu,
    /// What the ramdisk's kernel can use.
    pub memory_bytes: u64,
    /// Whole disks.
    pub disks: Vec<Disk>,
    /// Physical NICs.
    pub nics: Vec<Nic>,
    /// Version of the agent that read this.
    pub agent_version: String,
    /// The ramdisk's kernel.
    pub kernel_release: String,
}

/// SMBIOS facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct System {
    /// Maker of the machine.
    pub vendor: String,
    /// Product name.
    pub product: String,
    /// Serial number as the firmware gives it.
    pub serial: String,
    /// UUID as the firmware gives it.
    pub uuid: String,
    /// Maker of the board.
    pub board_vendor: String,
    /// Name of the board.
    pub board_product: String,
}

/// Firmware facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Firmware {
    /// `bios`, `uefi` or empty.
    pub mode: String,
    /// Maker.
    pub vendor: String,
    /// Version.
    pub version: String,
    /// Unset when the firmware does not say.
    pub secure_boot: Option<bool>,
}

/// Processor facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Cpu {
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Model name.
    pub model: String,
    /// Sockets.
    pub sockets: u32,
    /// Cores.
    pub cores: u32,
    /// Threads.
    pub threads: u32,
}

/// A whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Disk {
    /// The kernel's name at that time; never a name to choose a disk by.
    pub kernel_name: String,
    /// Link below `/dev/disk/by-path`.
    pub by_path: String,
    /// Serial number.
    pub serial: String,
    /// World wide name.
    pub wwn: String,
    /// NVMe NGUID or EUI-64.
    pub nguid: String,
    /// Model.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Firmware revision.
    pub firmware_revision: String,
    /// `nvme`, `sata`, `sas`, `scsi`, `virtio`, `usb`, `raid`, `iscsi`, `mmc` or empty.
    pub transport: String,
    /// Whether it turns.
    pub rotational: bool,
    /// Size.
    pub size_bytes: u64,
    /// Logical sector size.
    pub logical_sector_bytes: u32,
    /// Physical sector size.
    pub physical_sector_bytes: u32,
    /// PCI address of the controller it hangs on.
    pub pci_address: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Can be taken out.
    pub removable: bool,
    /// Who holds it; empty for a free disk.
    pub holders: Vec<String>,
    /// Partitions in short.
    pub content_summary: String,
}

/// A physical NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Nic {
    /// The kernel's name in the ramdisk.
    pub kernel_name: String,
    /// Permanent MAC address.
    pub mac: String,
    /// Driver.
    pub driver: String,
    /// PCI vendor and device.
    pub pci_id: String,
    /// PCI address.
    pub pci_address: String,
    /// Whether the link is up.
    pub link_up: bool,
    /// Unset when it is not known.
    pub speed_mbps: Option<u32>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// The machine booted from it.
    pub boot_interface: bool,
}

impl Disk {
    /// "nvme0n1 (SAMSUNG MZ7, serial S3X, 480 GB)", for messages.
    #[must_use]
    pub fn title(&self) -> String {
        let mut facts = Vec::new();
        if !self.model.is_empty() {
            facts.push(self.model.clone());
        }
        if !self.serial.is_empty() {
            facts.push(format!("serial {}", self.serial));
        }
        facts.push(shown_size(self.size_bytes));
        format!("{} ({})", self.kernel_name, facts.join(", "))
    }
}

impl Inventory {
    /// "Dell Inc. PowerEdge R650"; empty when the firmware gives nothing.
    #[must_use]
    pub fn hardware(&self) -> String {
        let parts = [&self.system.vendor, &self.system.product];
        let parts: Vec<&str> = parts
            .into_iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(" ")
    }
}

/// Bytes for people, with three digits.
#[must_use]
pub fn shown_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1000),
    ];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let tenths = u128::from(bytes) * 10 / u128::from(factor);
            return if tenths >= 1000 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}

fn text(text: String) -> String {
    if text.chars().any(char::is_control) || text.len() > MAX_TEXT {
        return text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    }
    text
}

fn list(list: Vec<String>) -> Vec<String> {
    list.into_iter().take(MAX_LIST).map(text).collect()
}

impl From<wire::Disk> for Disk {
    fn from(disk: wire::Disk) -> Self {
        let transport = match disk.transport() {
            wire::Transport::Unspecified => "",
            wire::Transport::Nvme => "nvme",
            wire::Transport::Sata => "sata",
            wire::Transport::Sas => "sas",
            wire::Transport::Scsi => "scsi",
            wire::Transport::Virtio => "virtio",
            wire::Transport::Usb => "usb",
            wire::Transport::Raid => "raid",
            wire::Transport::Iscsi => "iscsi",
            wire::Transport::Mmc => "mmc",
        };
        Self {
            kernel_name: text(disk.kernel_name),
            by_path: text(disk.by_path),
            serial: text(disk.serial),
            wwn: text(disk.wwn),
            nguid: text(disk.nguid),
            model: text(disk.model),
            vendor: text(disk.vendor),
            firmware_revision: text(disk.firmware_revision),
            transport: transport.to_owned(),
            rotational: disk.rotational,
            size_bytes: disk.size_bytes,
            logical_sector_bytes: disk.logical_sector_bytes,
            physical_sector_bytes: disk.physical_sector_bytes,
            pci_address: text(disk.pci_address),
            read_only: disk.read_only,
            removable: disk.removable,
            holders: list(disk.holders),
            content_summary: text(disk.content_summary),
        }
    }
}

impl From<wire::Nic> for Nic {
    fn from(nic: wire::Nic) -> Self {
        Self {
            kernel_name: text(nic.kernel_name),
            mac: text(nic.mac),
            driver: text(nic.driver),
            pci_id: text(nic.pci_id),
            pci_address: text(nic.pci_address),
            link_up: nic.link_up,
            speed_mbps: nic.speed_mbps,
            addresses: list(nic.addresses),
            boot_interface: nic.boot_interface,
        }
    }
}

impl From<wire::Inventory> for Inventory {
    fn from(inventory: wire::Inventory) -> Self {
        let system = inventory.system.unwrap_or_default();
        let firmware = inventory.firmware.unwrap_or_default();
        let mode = match firmware.mode() {
            wire::FirmwareMode::Unspecified => "",
            wire::FirmwareMode::Bios => "bios",
            wire::FirmwareMode::Uefi => "uefi",
        };
        let cpu = inventory.cpu.unwrap_or_default();
        Self {
            system: System {
                vendor: text(system.vendor),
                product: text(system.product),
                serial: text(system.serial),
                uuid: text(system.uuid),
                board_vendor: text(system.board_vendor),
                board_product: text(system.board_product),
            },
            firmware: Firmware {
                mode: mode.to_owned(),
                vendor: text(firmware.vendor),
                version: text(firmware.version),
                secure_boot: firmware.secure_boot,
            },
            cpu: Cpu {
                architecture: text(cpu.architecture),
                model: text(cpu.model),
                sockets: cpu.sockets,
                cores: cpu.cores,
                threads: cpu.threads,
            },
            memory_bytes: inventory.memory.unwrap_or_default().total_bytes,
            disks: inventory
                .disks
                .into_iter()
                .take(MAX_DISKS)
                .map(Disk::from)
                .collect(),
            nics: inventory.nics.into_iter().take(MAX_NICS).map(Nic::from).collect(),
            agent_version: text(inventory.agent_version),
            kernel_release: text(inventory.kernel_release),
        }
    }
}
