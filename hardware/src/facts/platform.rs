//! The machine around its disks and NICs: SMBIOS, firmware, processors, memory, TPM, BMC.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// What the maker orders it by.
    pub sku: String,
    /// Family of products.
    pub family: String,
    /// Maker of the board.
    pub board_vendor: String,
    /// Name of the board.
    pub board_product: String,
    /// Serial number of the board.
    pub board_serial: String,
    /// Form: `rack-mount`, `blade`, `tower`, `multi-system` … or empty.
    pub chassis: String,
    /// Serial number of the chassis: that of the enclosure with blades and multi-node systems.
    pub chassis_serial: String,
    /// What the owner had written into it.
    pub asset_tag: String,
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
    /// Day of its release as `YYYY-MM-DD` where the firmware's form is known, else as it gives it.
    pub date: String,
    /// Unset when the firmware does not say.
    pub secure_boot: Option<bool>,
    /// Whether keys for Secure Boot can be enrolled without a signature; unset when the firmware does not say.
    pub setup_mode: Option<bool>,
}

/// Processor facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Cpu {
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Model name.
    pub model: String,
    /// Maker as the processor gives it: `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// Sockets.
    pub sockets: u32,
    /// Cores.
    pub cores: u32,
    /// Threads.
    pub threads: u32,
    /// What it can do, in the kernel's words, sorted.
    pub flags: Vec<String>,
    /// NUMA nodes; 0 when the kernel does not say.
    pub numa_nodes: u32,
}

/// A socket for memory, and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MemoryModule {
    /// Name of the socket as it is printed on the board.
    pub slot: String,
    /// 0 for an empty socket.
    pub size_bytes: u64,
    /// `DDR4`, `DDR5`, `HBM2` … or empty.
    pub kind: String,
    /// Speed it works with, in million transfers a second; 0 when it is not known.
    pub speed_mts: u32,
    /// Maker.
    pub manufacturer: String,
    /// Part number.
    pub part: String,
    /// Serial number.
    pub serial: String,
}

/// A trusted platform module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Tpm {
    /// `1.2`, `2.0` or empty.
    pub version: String,
}

/// The board's management controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Bmc {
    /// Its address on the network; empty when it has none.
    pub address: String,
    /// MAC address of its NIC.
    pub mac: String,
    /// IPMI channel of its LAN; unset when it was not asked by IPMI.
    pub channel: Option<u32>,
}
