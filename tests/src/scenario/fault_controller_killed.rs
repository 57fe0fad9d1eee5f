//! The controller is killed in the middle of an image and started again. The agent never notices more than a pause.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let meter = fault::Meter::start(&lab, &node)?;
    let id = fault::order(&lab, &node)?;

    lab.wait_written(&mut node, &id, 25)?;
    lab.controller.kill()?;
    tell("the controller is dead");
    interrupt::pause(fault::DISTURBANCE)?;
    node.expect_on()?;
    lab.controller.start()?;
    tell("the controller is back");
    let state = lab.deployment(&id)?;
    ensure!(
        state["state"] == "running",
        "after its restart the controller says {}: {}",
        state["state"],
        state["problem"]
    );

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    meter.expect_once(&node, &figures)?;

    let all = lab.cli.get(&format!("deployments?node={}", node.mac))?;
    ensure!(
        all["items"].as_array().map(Vec::len) == Some(1),
        "more than one deployment: {all}"
    );
    let steps = lab.deployment(&id)?["steps"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let writes = steps
        .iter()
        .filter(|step| step["step"].as_str().is_some_and(is_write))
        .count();
    ensure!(
        writes == 1,
        "the write was begun {writes} times: {}",
        Value::Array(steps)
    );
    Ok(())
}

fn is_write(step: &str) -> bool {
    step.eq_ignore_ascii_case("write")
}
