//! What the hardware is: read from /sys and /proc below a root folder, so that trees of files can stand in for
//! machines. Facts only; what is missing stays empty, every read is bounded.
//!
//! [`read`] reads files, and of each disk the signatures that tell what is on it (half a MiB for each partition). What only
//! the running kernel and the devices tell is in [`Live`], and stays unknown where a tree of files is read.

use std::path::Path;

use imprint_proto::agent::v1::{Disk, Fingerprint, Firmware, FirmwareMode, Inventory, Memory, Nic, System};

pub mod bmc;
mod contents;
mod disk_path;
mod disks;
pub mod health;
mod live;
pub mod lldp;
mod nics;
mod pci;
mod processors;
mod show;
mod smbios;
mod sysfs;
mod tpm;

pub(crate) use contents::{of_device as signatures, partitions_of, volume};
pub use live::Live;
pub use nics::boot_interface_is_there;
pub use show::{to_json, to_text};
use smbios::Smbios;

const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
const SETUP_MODE: &str = "SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Reads the inventory below a root folder; `live` is what no file tells.
#[must_use]
pub fn read(root: &Path, live: &Live) -> Inventory {
    let smbios = smbios::read(root);
    let nics = nics::read(root, live);
    let system = system(root, &smbios);
    let mut inventory = Inventory {
        fingerprint: Some(identity_of(&system, &nics)),
        system: Some(system),
        firmware: Some(firmware(root, &smbios)),
        cpu: Some(processors::read(root, &smbios)),
        memory: Some(Memory {
            total_bytes: memory_bytes(root).unwrap_or(0),
            modules: smbios.modules.clone(),
        }),
        disks: disks(root),
        nics,
        pci: pci::read(root),
        tpm: tpm::read(root),
        bmc: bmc::announced(&smbios),
        agent_version: crate::VERSION.to_owned(),
        kernel_release: kernel_release(root),
    };
    live.complete(&mut inventory);
    inventory
}

/// Whole disks, with what is on them.
#[must_use]
pub fn disks(root: &Path) -> Vec<Disk> {
    disks::read(root)
}

/// The identity of the hardware, as an [`Inventory`] has it; no disk is looked at.
#[must_use]
pub fn fingerprint(root: &Path, live: &Live) -> Fingerprint {
    identity_of(&system(root, &smbios::read(root)), &nics::read(root, live))
}

/// Release of the running kernel.
#[must_use]
pub fn kernel_release(root: &Path) -> String {
    sysfs::value(root.join("proc/sys/kernel/osrelease"))
}

fn identity_of(system: &System, nics: &[Nic]) -> Fingerprint {
    let mut macs: Vec<String> = nics
        .iter()
        .map(|nic| nic.mac.clone())
        .filter(|mac| is_mac(mac))
        .collect();
    macs.sort();
    macs.dedup();
    Fingerprint {
        smbios_uuid: system.uuid.clone(),
        smbios_serial: system.serial.clone(),
        macs,
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

/// Whether the command line of the running kernel has a word.
#[must_use]
pub fn kernel_was_told(root: &Path, word: &str) -> bool {
    std::fs::read_to_string(root.join("proc/cmdline"))
        .is_ok_and(|line| line.split_whitespace().any(|told| told == word))
}

/// One fact of SMBIOS: as the kernel shows it, else from the table.
fn dmi(root: &Path, name: &str, table: &str) -> String {
    let shown = sysfs::value(root.join("sys/class/dmi/id").join(name));
    if shown.is_empty() { table.to_owned() } else { shown }
}

fn system(root: &Path, smbios: &Smbios) -> System {
    let [vendor, product, serial, sku, family] = &smbios.system;
    let [board_vendor, board_product, board_serial] = &smbios.board;
    let [chassis, chassis_serial, asset_tag] = &smbios.chassis;
    System {
        vendor: dmi(root, "sys_vendor", vendor),
        product: dmi(root, "product_name", product),
        serial: dmi(root, "product_serial", serial),
        uuid: dmi(root, "product_uuid", &smbios.uuid).to_lowercase(),
        sku: dmi(root, "product_sku", sku),
        family: dmi(root, "product_family", family),
        board_vendor: dmi(root, "board_vendor", board_vendor),
        board_product: dmi(root, "board_name", board_product),
        board_serial: dmi(root, "board_serial", board_serial),
        chassis: if chassis.is_empty() {
            let kind = sysfs::number(root.join("sys/class/dmi/id/chassis_type"));
            smbios::form(kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(0)).to_owned()
        } else {
            chassis.clone()
        },
        chassis_serial: dmi(root, "chassis_serial", chassis_serial),
        asset_tag: dmi(root, "chassis_asset_tag", asset_tag),
    }
}

fn firmware(root: &Path, smbios: &Smbios) -> Firmware {
    let [vendor, version, date] = &smbios.firmware;
    let uefi = root.join("sys/firmware/efi").is_dir();
    let mode = if uefi {
        FirmwareMode::Uefi
    } else {
        FirmwareMode::Bios
    };
    Firmware {
        mode: mode as i32,
        vendor: dmi(root, "bios_vendor", vendor),
        version: dmi(root, "bios_version", version),
        date: smbios::date(&dmi(root, "bios_date", date)),
        secure_boot: variable(root, SECURE_BOOT).filter(|_| uefi),
        setup_mode: variable(root, SETUP_MODE).filter(|_| uefi),
    }
}

/// A variable of one byte: four bytes of attributes, then its value.
fn variable(root: &Path, name: &str) -> Option<bool> {
    let bytes = sysfs::bytes(root.join("sys/firmware/efi/efivars").join(name))?;
    bytes.get(4).map(|value| *value == 1)
}

fn is_mac(text: &str) -> bool {
    text.len() == 17 && text != "00:00:00:00:00:00" && text.split(':').all(|part| part.len() == 2)
}

/// Lower case with colons.
fn shown_mac(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests;
