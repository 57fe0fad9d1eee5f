//! What the controller knows of a machine is as old as the agent's last call. Disks are plugged in and pulled
//! afterwards; the orders look right to the controller, and it is the agent that has to refuse them: two disks that
//! fit, none that is there, one that is too small. Each ends with the cause, and no byte is written.

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::lab::{IMAGE, Lab, LabOptions, Parts};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// Too small for the lab's image.
const SMALL_MIB: u64 = 256;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let spec = DiskSpec::new(DiskKind::Scsi).size_mib(1024);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, spec).stop_at_reboot())?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;

    node.plug_in("LAB-1-1", spec)?;
    node.disks[1].fill_with_old_data()?;
    tell("a second disk has been plugged in; the controller knows of one");
    expect_refusal(
        &mut lab,
        &mut node,
        None,
        &["more than one disk matches", "LAB-1-0", "LAB-1-1"],
    )?;

    node.pull_out(0)?;
    tell("the first disk has been pulled out; the controller believes that it is there");
    expect_refusal(
        &mut lab,
        &mut node,
        Some("serial=LAB-1-0"),
        &["no disk matches", "LAB-1-1"],
    )?;

    node.plug_in("LAB-1-0", spec.size_mib(SMALL_MIB))?;
    node.disks[2].fill_with_old_data()?;
    tell("a smaller disk has been plugged in under the same serial number");
    expect_refusal(
        &mut lab,
        &mut node,
        Some("serial=LAB-1-0"),
        &["no disk matches", "too small"],
    )?;
    Ok(())
}

/// The controller takes the order, the agent refuses it, and the disks are as they were.
fn expect_refusal(lab: &mut Lab, node: &mut Node, rule: Option<&str>, words: &[&str]) -> Result<()> {
    let mut before = Vec::new();
    for disk in &node.disks {
        before.push(disk.digest()?);
    }
    let order = Order {
        image: IMAGE.to_owned(),
        disk: rule.map(str::to_owned),
        user_data: None,
        ..Order::default()
    };
    let deployment = lab.cli.deploy(&node.mac, &order)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    let problem = fault::wait_failed(lab, node, id)?;
    tell(&format!("refused by the agent: {problem}"));
    ensure!(
        problem["step"] == "claim_disk",
        "not the agent's refusal: {problem}"
    );
    let cause = problem["cause"].as_str().unwrap_or_default();
    for word in words {
        ensure!(cause.contains(word), "the cause does not say \"{word}\": {cause}");
    }
    let why = lab.cli.why(&node.mac);
    ensure!(
        why.contains(cause),
        "`imprint why` does not name the cause: {why}"
    );
    for (disk, before) in node.disks.iter().zip(&before) {
        ensure!(disk.digest()? == *before, "{} was written to", disk.serial);
    }
    Ok(())
}
