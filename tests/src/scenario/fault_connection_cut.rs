//! In the middle of an image all connections are reset, and a little later somebody pulls the cable and puts it back.
//! Only what is missing is fetched again.

use anyhow::{Result, ensure};

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;
use crate::{interrupt, network};

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let meter = fault::Meter::start(&lab, &node)?;
    let id = fault::order(&lab, &node)?;

    lab.wait_written(&mut node, &id, 20)?;
    let reset = network::reset_connections()?;
    tell(&format!("{reset} connections were reset"));
    lab.wait_written(&mut node, &id, 45)?;
    node.cable(false)?;
    tell("the cable is out");
    interrupt::pause(fault::DISTURBANCE)?;
    node.cable(true)?;
    tell("the cable is back");

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    meter.expect_once(&node, &figures)?;
    let retries = figures["retries"].as_u64().unwrap_or(0);
    ensure!(
        reset == 0 || retries > 0,
        "{reset} connections were reset and nothing was retried: {figures}"
    );
    Ok(())
}
