//! The switch in front of a server loses power for a while, in the middle of an image: the server's own card still sees
//! a link, and nothing comes through it. What is missing is fetched afterwards, once.

use std::time::Duration;

use anyhow::Result;

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

const DARK: Duration = Duration::from_secs(20);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(30);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let meter = fault::Meter::start(&lab, &node)?;
    let id = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &id, 20)?;
    node.switch_port(false)?;
    tell("the switch is dark");
    interrupt::pause(DARK)?;
    node.switch_port(true)?;
    tell("the switch is back");

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    meter.expect_once(&node, &figures)?;
    Ok(())
}
