//! Which kernel modules a system needs to start from a disk.

use std::collections::BTreeSet;

use crate::facts::{Disk, Inventory};

/// The name of a kernel module as `modules.dep` has it, of whatever way a driver is written: `virtio-pci`, `sd`.
#[must_use]
pub fn module_name(driver: &str) -> String {
    match driver.trim().replace('-', "_").to_ascii_lowercase().as_str() {
        "sd" => "sd_mod".to_owned(),
        "virtio_scsi_pci" => "virtio_scsi".to_owned(),
        name => name.to_owned(),
    }
}

/// The modules that drive a disk and the controller that it hangs on, sorted: as the agent's kernel had bound them, and
/// by the transport where only one driver exists for it. Empty when nothing of it is known.
#[must_use]
pub fn drivers_of(disk: &Disk, inventory: &Inventory) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut add = |driver: &str| {
        let name = module_name(driver);
        if !name.is_empty() {
            found.insert(name);
        }
    };
    add(&disk.driver);
    if !disk.pci_address.is_empty() {
        let controller = inventory
            .pci
            .iter()
            .find(|device| device.address == disk.pci_address);
        add(controller.map_or("", |device| device.driver.as_str()));
    }
    if disk.transport == "nvme" {
        add("nvme");
    }
    found.into_iter().collect()
}
