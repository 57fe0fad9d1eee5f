//! The disk at the moment of the agent's restart, before the installed system has run: every byte of the image is
//! there, only what the finish changes is different, and no program of the image has been run: each would have left a mark.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::compare;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::marks;
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::start(name, parts, &LabOptions::default())?;
    let image = lab.folder().join("marking.raw");
    let programs = marks::copy(&parts.image, &image, lab.folder())?;
    tell(&format!(
        "{programs} programs of the image leave a mark when they are run"
    ));
    lab.cli.import(&image, IMAGE)?;
    let spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Nvme)).stop_at_reboot();
    let mut node = lab.build(spec)?;
    node.disks[0].fill_with_old_data()?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let id = fault::order(&lab, &node)?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    tell("the agent has restarted the machine");

    let disk = &node.disks[0].path;
    let marked = marks::count(disk, lab.folder())?;
    ensure!(
        marked == 0,
        "{marked} programs of the image were run before its first boot"
    );
    tell("none of them was run");
    let roots = compare::boot_code_and_fixed_partitions(&image, disk)?;
    compare::fresh_identifiers(&image, disk)?;
    tell("boot code and fixed partitions are the image's, both partition tables are valid");
    compare::check_file_system(disk, &roots)?;
    let differing = compare::root_file_systems(&image, disk, &roots, lab.folder())?;
    tell(&format!(
        "{} paths of the root file system differ, all of them expected",
        differing.len()
    ));
    let image_bytes = fs::metadata(&image).context("cannot look at the image")?.len();
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
