//! What the hardware is: read from /sys and /proc below a root folder, so that trees of files can stand in for
//! machines. Facts only; what is missing stays empty, every read is bounded.

use std::{collections::BTreeMap, path::Path};

use imprint_proto::agent::v1::{Cpu, Fingerprint, Firmware, FirmwareMode, Inventory, Memory, System};

mod disks;
mod nics;
mod processors;
mod show;
mod sysfs;

pub use nics::{boot_interface_is_there, live_addresses};
pub use show::{to_json, to_text};

const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Reads the inventory below a root folder; `addresses` come from the kernel ([`live_addresses`]), not from files.
#[must_use]
pub fn read(root: &Path, addresses: &BTreeMap<String, Vec<String>>) -> Inventory {
    let dmi = |name: &str| sysfs::value(root.join("sys/class/dmi/id").join(name));
    let nics = nics::read(root, addresses);
    let system = System {
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        uuid: dmi("product_uuid").to_lowercase(),
        board_vendor: dmi("board_vendor"),
        board_product: dmi("board_name"),
        sku: dmi("product_sku"),
        family: dmi("product_family"),
        ..System::default()
    };
    let mut macs: Vec<String> = nics
        .iter()
        .map(|nic| nic.mac.clone())
        .filter(|mac| is_mac(mac))
        .collect();
    macs.sort();
    macs.dedup();
    let fingerprint = Fingerprint {
        smbios_uuid: system.uuid.clone(),
        smbios_serial: system.serial.clone(),
        macs,
    };
    let (uefi, secure_boot) = firmware(root);
    Inventory {
        fingerprint: Some(fingerprint),
        system: Some(system),
        firmware: Some(Firmware {
            mode: if uefi {
                FirmwareMode::Uefi
            } else {
                FirmwareMode::Bios
            } as i32,
            vendor: dmi("bios_vendor"),
            version: dmi("bios_version"),
            secure_boot,
            ..Firmware::default()
        }),
        cpu: Some(processors::read(root)),
        memory: Some(Memory {
            total_bytes: memory_bytes(root).unwrap_or(0),
            modules: Vec::new(),
        }),
        disks: disks::read(root),
        nics,
        agent_version: crate::VERSION.to_owned(),
        kernel_release: sysfs::value(root.join("proc/sys/kernel/osrelease")),
        ..Inventory::default()
    }
}

/// What the kernel can use.
#[must_use]
pub fn memory_bytes(root: &Path) -> Option<u64> {
    let text = sysfs::text(root.join("proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The kernel's random id of this boot.
#[must_use]
pub fn boot_id(root: &Path) -> String {
    sysfs::value(root.join("proc/sys/kernel/random/boot_id"))
}

/// UEFI or not, and what it says about Secure Boot: four bytes of attributes, then one of value.
fn firmware(root: &Path) -> (bool, Option<bool>) {
    let uefi = root.join("sys/firmware/efi").is_dir();
    let value = sysfs::bytes(root.join(SECURE_BOOT)).and_then(|bytes| bytes.get(4).copied());
    (uefi, value.map(|value| value == 1).filter(|_| uefi))
}

fn is_mac(text: &str) -> bool {
    text.len() == 17 && text != "00:00:00:00:00:00" && text.split(':').all(|part| part.len() == 2)
}

/// An empty CPU, for what could not be read.
fn unknown_cpu() -> Cpu {
    Cpu {
        architecture: std::env::consts::ARCH.to_owned(),
        ..Cpu::default()
    }
}

#[cfg(test)]
mod tests;
