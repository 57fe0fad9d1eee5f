//! More steps of a deployment against faults, each with a server of its own, from a controller that keeps its images in a bucket
//! of somebody else's S3 service: what `fault-cells` leaves out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::redfish_deploy::{power, set_bmc};
use super::{deploy, fault};
use crate::assassin::{self, Deed};
use crate::bmc::BmcSpec;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// Store and BMC are away for so long.
const AWAY: Duration = Duration::from_secs(60);
/// How long a firmware is left alone with its disk.
const ALONE: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// A fifth of the image is written, and the S3 service dies.
    WriteStoreAway,
    /// The agent is killed while it settles partition table and file system.
    PartitionsAgentKilled,
    /// The power fails while the seed is written.
    SeedPowerCut,
    /// The server is off, and its BMC answers nobody.
    PowerBmcAway,
}

/// In this order they are the lab's servers 1 to 4.
const CELLS: [Cell; 4] = [
    Cell::WriteStoreAway,
    Cell::PartitionsAgentKilled,
    Cell::SeedPowerCut,
    Cell::PowerBmcAway,
];
const DEEDS: [(Deed, usize); 2] = [(Deed::KillInPartitions, 2), (Deed::HoldInSeed, 3)];

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let folder = tempfile::tempdir_in(&parts.target).context("cannot make a temporary folder")?;
    let overlay = folder.path().join("assassin.img");
    assassin::write_overlay_for(&overlay, &DEEDS)?;
    let options = LabOptions {
        controller: ControllerOptions {
            extra_initrds: vec![overlay],
            ..ControllerOptions::default()
        },
        bucket: true,
        ..LabOptions::default()
    };
    let mut lab = Lab::with_image(name, parts, &options)?;
    for cell in CELLS {
        let began = Instant::now();
        let done = told(&mut lab, cell).with_context(|| format!("{cell:?}"))?;
        tell(&format!(
            "{cell:?}: active after {} s, {} attempts",
            began.elapsed().as_secs(),
            done["attempt"]
        ));
    }
    Ok(())
}

/// One deployment with its fault; answers how it ended.
fn told(lab: &mut Lab, cell: Cell) -> Result<Value> {
    let mut node = built(lab, cell)?;
    let id = fault::order(lab, &node)?;
    match cell {
        Cell::WriteStoreAway => store_away(lab, &mut node, &id)?,
        Cell::PartitionsAgentKilled => {
            node.wait_serial("the agent has been killed in partitions", patience::DEPLOYMENT)?;
            tell("the agent is dead");
        }
        Cell::SeedPowerCut => {
            node.wait_serial("the agent has been stopped in seed", patience::DEPLOYMENT)?;
            node.power_off()?;
            tell("the power is gone, with half a seed on the disk");
            does_not_boot(&mut node)?;
            node.power_on()?;
        }
        Cell::PowerBmcAway => bmc_away(lab, &node)?,
    }
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    let address = deploy::address(&done)?;
    let said = lab.key.run(&address, "cat /etc/hostname", ANSWER)?;
    ensure!(!said.trim().is_empty(), "the system has no name");
    as_it_was_meant(lab, &node, cell, &done)?;
    node.power_off()?;
    if cell == Cell::SeedPowerCut {
        boots(&mut node)?;
    }
    Ok(done)
}

fn speaks(node: &Node) -> bool {
    let said = node.serial();
    ["GRUB", "Linux version", "login:"]
        .iter()
        .any(|word| said.contains(word))
}

/// The image is whole and its system is not finished: without a network the firmware has nothing to boot.
fn does_not_boot(node: &mut Node) -> Result<()> {
    let marks = node.disks[0].bootable_marks()?;
    ensure!(
        !marks.iter().any(|mark| mark.contains("boot signature")),
        "firmware may take the disk for one that boots: {marks:?}"
    );
    node.power_on()?;
    node.cable(false)?;
    interrupt::pause(ALONE)?;
    ensure!(
        !speaks(node),
        "a system that is not finished boots:\n{}",
        node.serial_tail(25)
    );
    tell("left alone with its disk, the firmware boots nothing");
    node.power_off()
}

/// As it does once all is done, in less time than was waited for that.
fn boots(node: &mut Node) -> Result<()> {
    node.power_on()?;
    node.cable(false)?;
    interrupt::until("the firmware to boot the disk", ALONE, || {
        Ok(speaks(node).then_some(()))
    })
    .explain(|| node.serial_tail(25))?;
    tell("the finished disk boots without a network");
    node.power_off()
}

/// A server that is known and free; off where its BMC is to switch it on.
fn built(lab: &mut Lab, cell: Cell) -> Result<Node> {
    let disk = DiskSpec::new(DiskKind::Virtio);
    if cell == Cell::PowerBmcAway {
        let mut node = lab.build(NodeSpec::new(Firmware::Uefi, disk).with_bmc(BmcSpec::Redfish))?;
        node.plug_into_mains()?;
        lab.cli.json(&["node", "announce", "web-1", "--mac", &node.mac])?;
        set_bmc(lab, &node, "web-1", &[])?;
        power(lab, &["web-1", "on", "--boot", "pxe"])?;
        lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
        lab.wait_inventory(&node)?;
        power(lab, &["web-1", "off", "--force"])?;
        node.redfish()?.service.change(|odd| odd.away = true);
        tell("the server is off, and nobody reaches its BMC");
        return Ok(node);
    }
    let slow = if cell == Cell::WriteStoreAway { 20 } else { 30 };
    // What boots a disk that it finds no entry of.
    let firmware = if cell == Cell::SeedPowerCut {
        Firmware::Uefi
    } else {
        Firmware::Bios
    };
    let mut node = lab.build(NodeSpec::new(firmware, disk.slow(slow)))?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    Ok(node)
}

fn store_away(lab: &mut Lab, node: &mut Node, id: &str) -> Result<()> {
    lab.wait_written(node, id, 20)?;
    lab.bucket()?.kill()?;
    tell("the store is dead");
    interrupt::pause(AWAY)?;
    let now = lab.deployment(id)?;
    ensure!(
        now["state"] == "running" && now["step"] == "write",
        "the write did not wait for its store: {now}"
    );
    lab.controller.expect_running()?;
    lab.bucket()?.switch_on()?;
    tell("and is back");
    Ok(())
}

fn bmc_away(lab: &Lab, node: &Node) -> Result<()> {
    let began = Instant::now();
    interrupt::until("the controller to miss the BMC", ANSWER, || {
        Ok(lab.cli.why(&node.mac).contains("does not answer").then_some(()))
    })
    .explain(|| lab.picture(node))?;
    tell("`imprint why` says that the BMC does not answer");
    interrupt::pause(AWAY.saturating_sub(began.elapsed()))?;
    ensure!(!node.has_power()?, "the server is on, whose BMC nobody reaches");
    node.redfish()?.service.change(|odd| odd.away = false);
    tell("and the BMC is back");
    Ok(())
}

/// The fault was met where it was meant to be.
fn as_it_was_meant(lab: &Lab, node: &Node, cell: Cell, done: &Value) -> Result<()> {
    let said = fault::messages(lab, node)?;
    let has = |words: &str| said.iter().any(|message| message.contains(words));
    match cell {
        Cell::WriteStoreAway => {
            let (figures, stored) = (&done["write"], fault::stored_bytes(lab)?);
            let fetched = figures["bytes_fetched"].as_u64().context("no bytes_fetched")?;
            tell(&format!(
                "image of {stored} bytes: {fetched} fetched, {} retries",
                figures["retries"]
            ));
            ensure!(
                figures["retries"].as_u64() > Some(0),
                "nothing was retried: {figures}"
            );
            ensure!(
                fetched <= stored + fault::IN_FLIGHT,
                "{fetched} bytes were fetched for an image of {stored}"
            );
            ensure!(has("failed)"), "no event tells of the retries: {said:?}");
        }
        Cell::PartitionsAgentKilled => {
            ensure!(
                has("started 2 times"),
                "nobody tells of the agent's end: {said:?}"
            );
            ensure!(done["attempt"] == 1, "the image was written again: {done}");
            let begun = said
                .iter()
                .filter(|it| it.starts_with("partitions: partition table"));
            let begun = begun.count();
            ensure!(begun == 2, "partitions were begun {begun} times: {said:?}");
        }
        Cell::SeedPowerCut => {
            ensure!(done["attempt"] == 2, "it took {} attempts", done["attempt"]);
            ensure!(
                has("seed: cloud-init seed written"),
                "no event tells of the seed: {said:?}"
            );
        }
        Cell::PowerBmcAway => {
            ensure!(done["attempt"] == 1, "it took {} attempts", done["attempt"]);
        }
    }
    Ok(())
}
