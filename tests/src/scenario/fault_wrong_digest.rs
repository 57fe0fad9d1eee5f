//! A bit of the store flips. The agent notices before it writes the chunk; nothing bootable is left behind; the node
//! says what happened; and when the store is whole again, the same node is deployed without further ado.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let (pack, middle) = largest_pack(&lab)?;
    flip(&pack, middle)?;
    tell("a byte of the store has changed");

    let disk = DiskSpec::new(DiskKind::Virtio);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk).stop_at_reboot())?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    let problem = fault::wait_failed(&mut lab, &mut node, &id)?;
    tell(&format!("failed as it should: {problem}"));
    let cause = problem["cause"].as_str().unwrap_or_default().to_lowercase();
    ensure!(
        cause.contains("digest") || cause.contains("verif"),
        "the cause does not name the digest: {cause}"
    );
    let marks = node.disks[0].bootable_marks()?;
    ensure!(
        marks.is_empty(),
        "after a failed deployment the disk still has: {marks:?}"
    );

    flip(&pack, middle)?;
    let id = fault::order(&lab, &node)?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    fault::check_written(&lab, &node, &id)?;
    tell("the store is mended, the same node was deployed");
    Ok(())
}

fn largest_pack(lab: &Lab) -> Result<(PathBuf, u64)> {
    let mut packs = Vec::new();
    for pack in lab.controller.packs()? {
        packs.push((fs::metadata(&pack).context("cannot look at a pack")?.len(), pack));
    }
    let (size, pack) = packs.into_iter().max().context("the store has no packs")?;
    Ok((pack, size / 2))
}

/// Turns all bits of one byte over; a second time restores it.
fn flip(path: &PathBuf, offset: u64) -> Result<()> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .context("cannot open a pack")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .context("cannot read a pack")?;
    file.write_all_at(&[!byte[0]], offset)
        .context("cannot change a pack")
}
