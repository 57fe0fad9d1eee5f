//! The agent is killed in the middle of an image, by a unit that only this test puts into the ramdisk. systemd starts
//! it again, and the journal tells it what is already on the disk.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::overlay::Overlay;
use crate::process;
use crate::story::tell;

const SERVICE: &str = "[Unit]\nDescription=Kill the agent in the middle of a write\n\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/lab-assassin internal-kill-agent\n";

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let folder = tempfile::tempdir_in(&parts.target).context("cannot make a temporary folder")?;
    let overlay = folder.path().join("assassin.img");
    let own = fs::read(process::THIS_PROGRAM).context("cannot read this program's own file")?;
    let units = "/etc/systemd/system";
    let archive = Overlay::default()
        .program("/usr/bin/lab-assassin", &own)
        .file(&format!("{units}/lab-assassin.service"), SERVICE)
        .directory(&format!("{units}/multi-user.target.wants"))
        .link(
            &format!("{units}/multi-user.target.wants/lab-assassin.service"),
            "../lab-assassin.service",
        )
        .finish();
    fs::write(&overlay, archive).context("cannot write the overlay")?;
    story(name, parts, &overlay)
}

fn story(name: &str, parts: &Parts, overlay: &std::path::Path) -> Result<()> {
    let controller = ControllerOptions {
        extra_initrds: vec![overlay.to_owned()],
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
    tell("the agent writes; it will be killed");

    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    let figures = fault::check_written(&lab, &node, &id)?;
    let resumed = figures["chunks_resumed"].as_u64().unwrap_or(0);
    tell(&format!("complete: {resumed} chunks were on the disk already"));
    ensure!(
        resumed > 0,
        "the agent began anew, or was never killed: {figures}"
    );
    meter.expect_once(&node, &figures)?;
    Ok(())
}
