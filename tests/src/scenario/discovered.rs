//! A server that nobody asked for: it is listed, and that is all that happens to it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bmc::BmcSpec;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// How long the agent gets to do something it should not do.
const TEMPTATION: Duration = Duration::from_secs(8);
const BMC_MAC: &str = "52:54:00:b0:00:07";
const BMC_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 7);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).size_mib(1024);
    let spec = NodeSpec::new(Firmware::Bios, disk).and_disk(DiskSpec {
        kind: DiskKind::Nvme,
        ..disk
    });
    let mut node = lab.build(spec.with_bmc(BmcSpec::WithLan {
        mac: BMC_MAC,
        address: BMC_ADDRESS,
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
    let bmc = interrupt::until("the management controller's answers", patience::SHORT, || {
        let bmc = lab.facts(&node)?.map(|facts| facts["inventory"]["bmc"].clone());
        Ok(bmc.filter(|bmc| bmc["address"] == BMC_ADDRESS.to_string()))
    })
    .explain(|| lab.picture(&node))?;
    ensure!(
        bmc["mac"] == BMC_MAC && bmc["channel"] == 1,
        "the management controller is told as {bmc}"
    );
    tell("its management controller told address and MAC over IPMI");

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
