//! Somebody pulls the cable in the middle of an image and puts it back. Only what is missing is fetched again.

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// What may have been on its way when the cable was pulled, and is fetched a second time.
const IN_FLIGHT: u64 = 32 << 20;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;

    lab.wait_written(&mut node, &id, 25)?;
    node.cable(false)?;
    tell("the cable is out");
    interrupt::pause(fault::DISTURBANCE)?;
    node.cable(true)?;
    tell("the cable is back");

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    let fetched = figures["bytes_fetched"].as_u64().context("no bytes_fetched")?;
    let stored = fault::stored_bytes(&lab)?;
    tell(&format!(
        "complete: {fetched} bytes fetched of an image of {stored}, {} retries",
        figures["retries"]
    ));
    ensure!(
        fetched <= stored + IN_FLIGHT,
        "{fetched} bytes were fetched for an image of {stored}"
    );
    Ok(())
}
