//! The agent is killed, or crashes, in the middle of an image: a unit that only this test puts into the ramdisk does it.
//! systemd starts the agent again, the journal tells it what is already on the disk, and the node tells of it.

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::assassin::{self, Deed};
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn killed(name: &str, parts: &Parts) -> Result<()> {
    story(name, parts, Deed::Kill)
}

pub fn crashes(name: &str, parts: &Parts) -> Result<()> {
    story(name, parts, Deed::Crash)
}

fn story(name: &str, parts: &Parts, deed: Deed) -> Result<()> {
    let folder = tempfile::tempdir_in(&parts.target).context("cannot make a temporary folder")?;
    let overlay = folder.path().join("assassin.img");
    assassin::write_overlay(&overlay, deed)?;
    let controller = ControllerOptions {
        extra_initrds: vec![overlay],
        ..ControllerOptions::default()
    };
    let mut lab = Lab::with_image(
        name,
        parts,
        &LabOptions {
            controller,
            ..LabOptions::default()
        },
    )?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(20);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let meter = fault::Meter::start(&lab, &node)?;
    let id = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &id, 5)?;
    tell(&format!("the agent writes; it will meet its fate: {deed:?}"));

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    let resumed = figures["chunks_resumed"].as_u64().unwrap_or(0);
    tell(&format!("complete: {resumed} chunks were on the disk already"));
    ensure!(
        resumed > 0,
        "the agent began anew, or was never disturbed: {figures}"
    );
    meter.expect_once(&node, &figures)?;
    let said = fault::messages(&lab, &node)?;
    let again = said.iter().find(|message| message.contains("started 2 times"));
    tell(again.context("the node does not tell that its agent was started again")?);
    Ok(())
}
