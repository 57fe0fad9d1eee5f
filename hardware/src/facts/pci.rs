//! PCI devices.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A PCI function. Ids are lower-case hex digits, four for vendors and devices, six for the class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PciDevice {
    /// `0000:3b:00.0`.
    pub address: String,
    /// Class, subclass and programming interface: `010802` is NVMe.
    pub class: String,
    /// Maker of the chip.
    pub vendor_id: String,
    /// The chip.
    pub device_id: String,
    /// Maker of the card; empty when there is none.
    pub subsystem_vendor_id: String,
    /// The card.
    pub subsystem_device_id: String,
    /// Driver that it has in the ramdisk; empty when none.
    pub driver: String,
    /// Modules of the ramdisk's kernel that claim it, sorted.
    pub modalias_modules: Vec<String>,
}

impl PciDevice {
    /// "8086:1572".
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.vendor_id, self.device_id)
    }

    /// Whether it is a display controller or a GPU.
    #[must_use]
    pub fn is_display(&self) -> bool {
        self.class.starts_with("03")
    }
}
