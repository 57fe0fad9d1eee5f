//! The inventory for people and for programs.

use std::fmt::Write as _;

use imprint_proto::agent::v1::{Disk, FirmwareMode, Inventory, Nic, Transport};
use serde_json::{Value, json};

use crate::disk_rule;

/// JSON with the names of the wire contract.
#[must_use]
pub fn to_json(inventory: &Inventory) -> Value {
    let fingerprint = inventory.fingerprint.clone().unwrap_or_default();
    let system = inventory.system.clone().unwrap_or_default();
    let firmware = inventory.firmware.clone().unwrap_or_default();
    let cpu = inventory.cpu.clone().unwrap_or_default();
    json!({
        "fingerprint": {
            "smbios_uuid": fingerprint.smbios_uuid,
            "smbios_serial": fingerprint.smbios_serial,
            "macs": fingerprint.macs,
        },
        "system": {
            "vendor": system.vendor,
            "product": system.product,
            "serial": system.serial,
            "uuid": system.uuid,
            "board_vendor": system.board_vendor,
            "board_product": system.board_product,
        },
        "firmware": {
            "mode": mode(firmware.mode()),
            "vendor": firmware.vendor,
            "version": firmware.version,
            "secure_boot": firmware.secure_boot,
        },
        "cpu": {
            "architecture": cpu.architecture,
            "model": cpu.model,
            "sockets": cpu.sockets,
            "cores": cpu.cores,
            "threads": cpu.threads,
        },
        "memory": { "total_bytes": inventory.memory.as_ref().map_or(0, |memory| memory.total_bytes) },
        "disks": inventory.disks.iter().map(disk).collect::<Vec<_>>(),
        "nics": inventory.nics.iter().map(nic).collect::<Vec<_>>(),
        "agent_version": inventory.agent_version,
        "kernel_release": inventory.kernel_release,
    })
}

fn disk(disk: &Disk) -> Value {
    json!({
        "kernel_name": disk.kernel_name,
        "by_path": disk.by_path,
        "serial": disk.serial,
        "wwn": disk.wwn,
        "nguid": disk.nguid,
        "model": disk.model,
        "vendor": disk.vendor,
        "firmware_revision": disk.firmware_revision,
        "transport": disk_rule::transport(disk.transport()),
        "rotational": disk.rotational,
        "size_bytes": disk.size_bytes,
        "logical_sector_bytes": disk.logical_sector_bytes,
        "physical_sector_bytes": disk.physical_sector_bytes,
        "pci_address": disk.pci_address,
        "read_only": disk.read_only,
        "removable": disk.removable,
        "holders": disk.holders,
        "content_summary": disk.content_summary,
    })
}

fn nic(nic: &Nic) -> Value {
    json!({
        "kernel_name": nic.kernel_name,
        "mac": nic.mac,
        "driver": nic.driver,
        "pci_id": nic.pci_id,
        "pci_address": nic.pci_address,
        "link_up": nic.link_up,
        "speed_mbps": nic.speed_mbps,
        "addresses": nic.addresses,
        "boot_interface": nic.boot_interface,
    })
}

/// A few lines for the console.
#[must_use]
pub fn to_text(inventory: &Inventory) -> String {
    let mut out = String::new();
    let system = inventory.system.clone().unwrap_or_default();
    let firmware = inventory.firmware.clone().unwrap_or_default();
    let cpu = inventory.cpu.clone().unwrap_or_default();
    let memory = inventory.memory.as_ref().map_or(0, |memory| memory.total_bytes);
    let mut line = |label: &str, text: String| {
        writeln!(out, "{label:<9}{text}").expect("a String takes all");
    };
    line(
        "system",
        format!(
            "{} {}, serial {}, uuid {}",
            system.vendor,
            system.product,
            or_none(&system.serial),
            or_none(&system.uuid)
        ),
    );
    line(
        "firmware",
        format!(
            "{} {} {}",
            mode(firmware.mode()),
            firmware.vendor,
            firmware.version
        ),
    );
    line(
        "cpu",
        format!(
            "{} ({} sockets, {} cores, {} threads)",
            or_none(&cpu.model),
            cpu.sockets,
            cpu.cores,
            cpu.threads
        ),
    );
    line("memory", format!("{} MiB", memory >> 20));
    for disk in &inventory.disks {
        let held = if disk.holders.is_empty() {
            "free".to_owned()
        } else {
            disk.holders.join(", ")
        };
        let transport: Transport = disk.transport();
        let transport = disk_rule::transport(transport);
        let sector = disk.logical_sector_bytes;
        line(
            "disk",
            format!(
                "{}, {transport}, sectors of {sector}, {held}",
                disk_rule::describe(disk)
            ),
        );
    }
    for nic in &inventory.nics {
        let link = if nic.link_up { "up" } else { "down" };
        line(
            "nic",
            format!(
                "{} {} {} {link} {}",
                nic.kernel_name,
                nic.mac,
                nic.driver,
                nic.addresses.join(" ")
            ),
        );
    }
    out
}

fn mode(mode: FirmwareMode) -> &'static str {
    match mode {
        FirmwareMode::Unspecified => "unknown",
        FirmwareMode::Bios => "bios",
        FirmwareMode::Uefi => "uefi",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
