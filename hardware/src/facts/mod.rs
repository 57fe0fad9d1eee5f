//! What an agent read about a machine, bounded and in a form that is kept and shown as JSON.
//!
//! Every field may be missing: an older agent did not send it, or the machine does not say. What is missing is empty,
//! `null` or 0, never a guess. Lists and texts have limits ([`limits`]), which hold for whatever an agent sends.

mod disk;
pub mod limits;
mod nic;
mod pci;
mod platform;
#[cfg(test)]
mod tests;
mod wire;

pub use disk::{Content, Disk, DiskHealth, shown_size};
pub use nic::{LldpNeighbour, Nic};
pub use pci::PciDevice;
pub use platform::{Bmc, Cpu, Firmware, MemoryModule, System, Tpm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// Sockets for memory, empty ones too; none where SMBIOS does not tell.
    pub memory_modules: Vec<MemoryModule>,
    /// Whole disks.
    pub disks: Vec<Disk>,
    /// Physical NICs.
    pub nics: Vec<Nic>,
    /// PCI devices, without bridges and what belongs to the chipset.
    pub pci: Vec<PciDevice>,
    /// Unset when the kernel shows none.
    pub tpm: Option<Tpm>,
    /// Unset when there is none, or its driver is not in the ramdisk.
    pub bmc: Option<Bmc>,
    /// Version of the agent that read this.
    pub agent_version: String,
    /// The ramdisk's kernel.
    pub kernel_release: String,
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

    /// Without what changes by itself or is learned later in a boot: health, neighbours, addresses, links, and the
    /// management controller. Two inventories that are the same in this are of unchanged hardware.
    #[must_use]
    pub fn steady(&self) -> Self {
        let mut steady = self.clone();
        for disk in &mut steady.disks {
            disk.health = None;
        }
        for nic in &mut steady.nics {
            (nic.lldp, nic.speed_mbps, nic.link_up) = (None, None, false);
            nic.addresses.clear();
        }
        steady.bmc = None;
        steady
    }

    /// PCI devices that draw or compute (class 03): what the board has for its console, and GPUs.
    pub fn gpus(&self) -> impl Iterator<Item = &PciDevice> {
        self.pci.iter().filter(|device| device.is_display())
    }
}
