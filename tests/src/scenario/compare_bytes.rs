//! The disk at the moment of the agent's restart, before the installed system has run: every byte of the image is
//! there, and only what the finish changes is different.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::compare;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Nvme)).stop_at_reboot();
    let mut node = lab.build(spec)?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    tell("the agent has restarted the machine");

    let disk = &node.disks[0].path;
    let roots = compare::boot_code_and_fixed_partitions(&parts.image, disk)?;
    compare::fresh_identifiers(&parts.image, disk)?;
    tell("boot code and fixed partitions are the image's, both partition tables are valid");
    compare::check_file_system(disk, &roots)?;
    let differing = compare::root_file_systems(&parts.image, disk, &roots, lab.folder())?;
    tell(&format!(
        "{} paths of the root file system differ, all of them expected",
        differing.len()
    ));
    let image_bytes = fs::metadata(&parts.image)
        .context("cannot look at the image")?
        .len();
    let left = node.disks[0].surviving_old_data(image_bytes)?;
    ensure!(
        left.is_empty(),
        "the last tenant's data shows through at {left:?}"
    );
    tell("nothing of the old data is left where the image lies");
    let deployment = lab.deployment(&id)?;
    tell(&format!("figures: {}", deployment["write"]));
    Ok(())
}
