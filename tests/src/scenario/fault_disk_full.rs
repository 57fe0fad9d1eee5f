//! The controller's disk is full in the middle of an image: nothing is promised that cannot be kept, and all goes on once there
//! is room.

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::process::Answer;
use crate::story::tell;

/// The database's log has room for some requests still.
const REQUESTS: u32 = 2000;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let options = LabOptions {
        controller: ControllerOptions {
            own_disk: true,
            ..ControllerOptions::default()
        },
        ..LabOptions::default()
    };
    let mut lab = Lab::with_image(name, parts, &options)?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk))?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &id, 25)?;

    lab.controller.fill_disk(true)?;
    tell("not a byte is free on the controller's disk");
    let refused = (0..REQUESTS)
        .map(|number| announce(&lab, number))
        .find(|answer| !answer.as_ref().is_ok_and(|answer| answer.success))
        .context("every request found room")??;
    ensure!(
        refused.err.contains("disk is full") && refused.err.contains("Make room"),
        "a request that cannot be kept was not refused as it should be: {refused:?}"
    );
    tell("what cannot be written down is refused, with the reason");
    interrupt::pause(fault::DISTURBANCE)?;
    node.expect_on()?;
    lab.controller.expect_running()?;
    let state = lab.deployment(&id)?;
    ensure!(state["state"] == "running", "it did not wait: {state}");

    lab.controller.fill_disk(false)?;
    tell("and there is room again");
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    ensure!(done["attempt"] == 1, "it took {} attempts", done["attempt"]);
    let announced = announce(&lab, REQUESTS)?;
    ensure!(announced.success, "it is still full: {announced:?}");
    Ok(())
}

fn announce(lab: &Lab, number: u32) -> Result<Answer> {
    let mac = format!("52:54:00:99:{:02x}:{:02x}", number >> 8 & 0xff, number & 0xff);
    lab.cli
        .ask(&["node", "announce", &format!("more-{number}"), "--mac", &mac])
}
