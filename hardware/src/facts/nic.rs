//! A NIC, and what is at the other end of its cable.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A physical NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Nic {
    /// The kernel's name in the ramdisk.
    pub kernel_name: String,
    /// MAC address that it speaks with and that the machine is recognised by.
    pub mac: String,
    /// MAC address that the hardware was made with; empty when the driver does not say.
    pub permanent_mac: String,
    /// Driver.
    pub driver: String,
    /// PCI vendor and device.
    pub pci_id: String,
    /// PCI address.
    pub pci_address: String,
    /// NUMA node; unset when the machine has only one or does not say.
    pub numa_node: Option<u32>,
    /// Whether the link is up.
    pub link_up: bool,
    /// Unset when it is not known.
    pub speed_mbps: Option<u32>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// The machine booted from it.
    pub boot_interface: bool,
    /// Who announced itself at the other end of the cable; unset until somebody did.
    pub lldp: Option<LldpNeighbour>,
}

/// What a switch says of itself and of its port (LLDP, IEEE 802.1AB).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LldpNeighbour {
    /// Id of the switch, mostly its MAC address.
    pub chassis: String,
    /// Id of the port: a name or a MAC address.
    pub port: String,
    /// What an administrator wrote of the port.
    pub port_description: String,
    /// Name of the switch.
    pub system_name: String,
    /// VLAN of untagged frames; unset when the switch does not say or has none.
    pub vlan: Option<u32>,
}
