//! A server that nobody asked for: it is listed, and that is all that happens to it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// How long the agent gets to do something it should not do.
const TEMPTATION: Duration = Duration::from_secs(8);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).size_mib(1024);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).and_disk(DiskSpec {
        kind: DiskKind::Nvme,
        ..disk
    }))?;
    let mut before = Vec::new();
    for disk in &node.disks {
        disk.fill_with_old_data()?;
        before.push(disk.digest()?);
    }
    node.power_on()?;
    tell("power on, with data on both disks");

    lab.wait_state(&mut node, "discovered", patience::NETWORK_BOOT)?;
    let facts = lab.wait_inventory(&node)?;
    let inventory = facts["inventory"].to_string();
    for expected in ["LAB-1-0", "LAB-1-1", node.mac.as_str()] {
        ensure!(
            inventory.contains(expected),
            "{expected} is not in the inventory: {inventory}"
        );
    }
    ensure!(
        facts["serial"] == "SN-node-1",
        "serial number: {}",
        facts["serial"]
    );
    tell("discovered, inventory complete");

    interrupt::pause(TEMPTATION)?;
    lab.cli.approve(&node.mac, "spare")?;
    lab.wait_state(&mut node, "available", patience::SHORT)?;
    tell("approved");
    interrupt::pause(TEMPTATION)?;

    node.power_off()?;
    for (disk, before) in node.disks.iter().zip(before) {
        ensure!(
            disk.digest()? == before,
            "{} was written to without a deployment",
            disk.serial
        );
    }
    tell("both disks are bit for bit as before");
    Ok(())
}
