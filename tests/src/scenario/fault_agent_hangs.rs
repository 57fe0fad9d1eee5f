//! The agent stands still in the middle of an image, as a process does that waits for hardware for ever. The controller
//! notices by its deadline and says so. When the agent goes on at last, it is told that nobody wants that any more:
//! nothing bootable is left, and the deployment stays failed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::assassin::{self, Deed};
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

/// Short enough for a test, long enough for a machine that emulates and is loaded.
const TIMEOUTS: &str = "boot_seconds = 22\nstep_progress_seconds = 22\n";
/// From SIGSTOP to SIGCONT, and a little.
const HELD: Duration = Duration::from_secs(60);
/// An agent that writes does not leave the disk alone for so long.
const QUIET: Duration = Duration::from_secs(2);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let folder = tempfile::tempdir_in(&parts.target).context("cannot make a temporary folder")?;
    let overlay = folder.path().join("assassin.img");
    assassin::write_overlay(&overlay, Deed::Hold)?;
    let controller = ControllerOptions {
        extra_initrds: vec![overlay],
        timeouts: TIMEOUTS,
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
    let disk = DiskSpec::new(DiskKind::Virtio).size_mib(1024).slow(10);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    node.wait_serial("the agent has been stopped", patience::WRITE)?;
    tell("the agent stands still");

    let ended = lab.wait_deployment(&mut node, &id, "failed", HELD)?;
    let problem = &ended["problem"];
    tell(&format!("the controller has noticed: {problem}"));
    ensure!(
        problem["step"] == "write",
        "not the step that stands still: {problem}"
    );
    for part in ["cause", "remedy"] {
        let text = problem[part].as_str().unwrap_or_default();
        ensure!(text.len() > 20, "no {part}: {problem}");
    }
    let why = lab.cli.why(&node.mac);
    ensure!(
        problem["cause"].as_str().is_some_and(|cause| why.contains(cause)),
        "`imprint why` does not name the cause: {why}"
    );

    node.wait_serial("the agent has been continued", HELD)?;
    node.wait_serial("the task is cancelled", patience::SHORT)
        .explain(|| lab.picture(&node))?;
    let mut before = node.disks[0].digest()?;
    interrupt::until("the agent to leave the disk alone", patience::SHORT, || {
        interrupt::pause(QUIET)?;
        let now = node.disks[0].digest()?;
        Ok((std::mem::replace(&mut before, now.clone()) == now).then_some(()))
    })?;
    ensure!(
        node.disks[0].head_is_clear()?,
        "the head of the disk is not clear"
    );
    interrupt::until("the node to be connected again", patience::SHORT, || {
        Ok(lab.facts(&node)?.filter(|facts| facts["agent_connected"] == true))
    })?;
    let facts = lab.wait_failed_node(&mut node)?;
    let after = lab.deployment(&id)?;
    ensure!(
        after["state"] == "failed" && after["write"].is_null(),
        "the deployment has come back to life: {after}"
    );
    let marks = node.disks[0].bootable_marks()?;
    ensure!(marks.is_empty(), "the unwanted write has left: {marks:?}");
    ensure!(
        node.is_on()?,
        "the machine was restarted into a system that nobody wants"
    );
    tell(&format!(
        "it goes on, and gives up: the node stays failed ({})",
        facts["state"]
    ));
    Ok(())
}
