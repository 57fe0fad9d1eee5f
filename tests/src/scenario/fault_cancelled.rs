//! Somebody cancels: in the middle of an image, and while the machine restarts into its new system.

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// The agent stops, nothing boots from the disk, and the node is free for the next order.
pub fn in_mid_write(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &id, 10)?;
    lab.cli.json(&["deployment", "cancel", &id])?;
    tell("cancelled in the middle of the image");

    let cancelled = lab.wait_deployment(&mut node, &id, "cancelled", patience::SHORT)?;
    ensure!(
        cancelled["write"].is_null(),
        "a cancelled write has figures: {cancelled}"
    );
    let facts = lab.wait_state(&mut node, "available", patience::SHORT)?;
    ensure!(facts["agent_connected"] == true, "the agent is gone: {facts}");
    ensure!(
        node.disks[0].head_is_clear()?,
        "the head of the disk is not clear"
    );
    let marks = node.disks[0].bootable_marks()?;
    ensure!(marks.is_empty(), "a cancelled write has left: {marks:?}");
    tell("the node is available, its disk boots nothing");

    let again = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &again, 5)?;
    tell("the next order is carried out");
    Ok(())
}

/// The order ends as cancelled; the machine boots the ramdisk, not the system that nobody wants.
pub fn in_restart(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    tell("the image is written, the machine restarts");
    lab.cli.json(&["deployment", "cancel", &id])?;
    let cancelled = interrupt::until("the deployment to be cancelled", patience::SHORT, || {
        Ok(Some(lab.deployment(&id)?).filter(|deployment| deployment["state"] == "cancelled"))
    })?;
    ensure!(
        cancelled["first_boot"].is_null(),
        "a system has reported: {cancelled}"
    );

    // The session of the machine that is off may look alive to the controller for a while; the console tells.
    node.power_on()?;
    node.wait_serial("connected to the controller", patience::NETWORK_BOOT)
        .explain(|| lab.picture(&node))?;
    let facts = lab.facts(&node)?.context("the node is gone")?;
    ensure!(
        facts["state"] == "available",
        "the node is {}: {facts}",
        facts["state"]
    );
    let state = lab.deployment(&id)?;
    ensure!(
        state["state"] == "cancelled",
        "the deployment is {}",
        state["state"]
    );
    let told = fault::messages(&lab, &node)?;
    told.iter()
        .find(|message| message.to_lowercase().contains("cancelled"))
        .context("no event tells of the cancellation")?;
    tell("the machine boots the ramdisk and waits for the next order");
    Ok(())
}
