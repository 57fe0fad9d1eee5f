//! The inventory for people and for programs.

use std::fmt::Write as _;

use imprint_hardware::facts;
use imprint_proto::agent::v1::Inventory;
use serde_json::{Value, json};

/// JSON with the names that the controller shows a node's inventory with, and the fingerprint that it is recognised by.
#[must_use]
pub fn to_json(inventory: &Inventory) -> Value {
    let fingerprint = inventory.fingerprint.clone().unwrap_or_default();
    let facts = facts::Inventory::from(inventory.clone());
    let mut shown = serde_json::to_value(facts).expect("an inventory has only text keys");
    shown["fingerprint"] = json!({
        "smbios_uuid": fingerprint.smbios_uuid,
        "smbios_serial": fingerprint.smbios_serial,
        "macs": fingerprint.macs,
    });
    shown
}

/// Some lines for the console.
#[must_use]
pub fn to_text(inventory: &Inventory) -> String {
    let facts = facts::Inventory::from(inventory.clone());
    let mut out = String::new();
    let mut line = |label: &str, words: Vec<String>| {
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        if !words.is_empty() {
            writeln!(out, "{label:<9}{}", words.join(", ")).expect("a String takes all");
        }
    };
    let system = &facts.system;
    line(
        "system",
        vec![
            facts.hardware(),
            system.chassis.clone(),
            format!("serial {}", or_none(&system.serial)),
            format!("uuid {}", or_none(&system.uuid)),
        ],
    );
    line(
        "board",
        vec![joined(&[&system.board_vendor, &system.board_product])],
    );
    line("firmware", firmware(&facts.firmware));
    line("cpu", processor(&facts.cpu));
    line("memory", memory(&facts));
    for disk in &facts.disks {
        line("disk", self::disk(disk));
    }
    for nic in &facts.nics {
        line("nic", self::nic(nic));
    }
    for device in facts.gpus() {
        line("gpu", pci(device));
    }
    let rest = facts.pci.iter().filter(|device| !device.is_display());
    for device in rest.filter(|device| device.driver.is_empty()) {
        line("pci", pci(device));
    }
    if let Some(tpm) = &facts.tpm {
        line("tpm", vec![or_none(&tpm.version).to_owned()]);
    }
    if let Some(bmc) = &facts.bmc {
        let address = if bmc.address.is_empty() {
            "address unknown"
        } else {
            &bmc.address
        };
        line("bmc", vec![address.to_owned(), labelled("MAC", &bmc.mac)]);
    }
    out
}

fn firmware(firmware: &facts::Firmware) -> Vec<String> {
    let state = |name: &str, state: Option<bool>| match state {
        Some(true) => format!("{name} on"),
        Some(false) => format!("{name} off"),
        None => String::new(),
    };
    vec![
        joined(&[&firmware.mode, &firmware.vendor, &firmware.version]),
        labelled("of", &firmware.date),
        state("Secure Boot", firmware.secure_boot),
        state("setup mode", firmware.setup_mode),
    ]
}

fn processor(cpu: &facts::Cpu) -> Vec<String> {
    let nodes = if cpu.numa_nodes > 1 {
        format!("{} NUMA nodes", cpu.numa_nodes)
    } else {
        String::new()
    };
    vec![
        or_none(&cpu.model).to_owned(),
        format!(
            "{} sockets, {} cores, {} threads",
            cpu.sockets, cpu.cores, cpu.threads
        ),
        nodes,
    ]
}

fn memory(facts: &facts::Inventory) -> Vec<String> {
    let full: Vec<_> = facts
        .memory_modules
        .iter()
        .filter(|module| module.size_bytes > 0)
        .collect();
    let modules = if facts.memory_modules.is_empty() {
        String::new()
    } else {
        format!("{} of {} sockets full", full.len(), facts.memory_modules.len())
    };
    let kind = full.first().map_or("", |module| &module.kind);
    vec![
        format!("{} MiB", facts.memory_bytes >> 20),
        modules,
        kind.to_owned(),
    ]
}

fn disk(disk: &facts::Disk) -> Vec<String> {
    let held = if disk.holders.is_empty() {
        "free".to_owned()
    } else {
        disk.holders.join(", ")
    };
    let health = disk.health.as_ref().filter(|health| health.status != "ok");
    vec![
        disk.title(),
        or_none(&disk.transport).to_owned(),
        format!("sectors of {}", disk.logical_sector_bytes),
        labelled("volume", &disk.volume_id),
        labelled("path of", &disk.multipath),
        held,
        health
            .map(|health| format!("{}: {}", health.status, health.reasons.join("; ")))
            .unwrap_or_default(),
    ]
}

fn nic(nic: &facts::Nic) -> Vec<String> {
    let link = match (nic.link_up, nic.speed_mbps) {
        (true, Some(speed)) => format!("up with {speed} Mbit/s"),
        (true, None) => "up".to_owned(),
        (false, _) => "down".to_owned(),
    };
    let neighbour = nic.lldp.as_ref().map(|lldp| {
        let switch = if lldp.system_name.is_empty() {
            &lldp.chassis
        } else {
            &lldp.system_name
        };
        format!("at {switch} port {}", lldp.port)
    });
    vec![
        joined(&[&nic.kernel_name, &nic.mac]),
        nic.driver.clone(),
        link,
        nic.addresses.join(" "),
        neighbour.unwrap_or_default(),
    ]
}

fn pci(device: &facts::PciDevice) -> Vec<String> {
    let driver = if device.driver.is_empty() {
        "no driver".to_owned()
    } else {
        device.driver.clone()
    };
    vec![
        device.address.clone(),
        device.id(),
        format!("class {}", device.class),
        driver,
    ]
}

fn joined(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn labelled(label: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!("{label} {value}")
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
