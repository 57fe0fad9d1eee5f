//! The controller's disk is full in the middle of an image: nothing is promised that cannot be kept, and all goes on once there
//! is room.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// For the image, the database and not much more.
const DISK_MIB: u64 = 400;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let options = LabOptions {
        controller: ControllerOptions {
            disk_mib: Some(DISK_MIB),
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

    let filler = lab.controller.fill_disk()?;
    tell("not a byte is free on the controller's disk");
    let refused = lab
        .cli
        .ask(&["node", "announce", "web-9", "--mac", "52:54:00:99:99:99"])?;
    ensure!(
        !refused.success && refused.err.contains("disk is full") && refused.err.contains("Make room"),
        "a request that cannot be kept was not refused as it should be: {refused:?}"
    );
    tell("what cannot be written down is refused, with the reason");
    interrupt::pause(fault::DISTURBANCE)?;
    node.expect_on()?;
    lab.controller.expect_running()?;
    let state = lab.deployment(&id)?;
    ensure!(state["state"] == "running", "it did not wait: {state}");

    fs::remove_file(&filler).context("cannot make room")?;
    tell("and there is room again");
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    ensure!(done["attempt"] == 1, "it took {} attempts", done["attempt"]);
    lab.cli
        .json(&["node", "announce", "web-9", "--mac", "52:54:00:99:99:99"])
        .map(drop)
}
