//! A server that boots from a volume of its SDI card: it is installed there like on a disk, and comes up from there by itself.

use anyhow::{Context, Result, ensure};

use super::{deploy, volume};
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::sdi::{STORAGE, Storage, VolumeSpec};
use crate::story::tell;

const NAME: &str = "boot";
const SIZE_MIB: u64 = 6 << 10;
const VIRTIO: &str = "virtio-blk";

pub fn virtio(name: &str, parts: &Parts) -> Result<()> {
    boot(name, parts, server(), VIRTIO)
}

pub fn nvme(name: &str, parts: &Parts) -> Result<()> {
    boot(name, parts, server(), "nvme")
}

/// Two disks of its own stay as they are.
pub fn two_disks(name: &str, parts: &Parts) -> Result<()> {
    let disk = |kind| DiskSpec::new(kind).size_mib(1024);
    let spec = server()
        .and_disk(disk(DiskKind::Virtio))
        .and_disk(disk(DiskKind::Nvme));
    boot(name, parts, spec, VIRTIO)
}

fn server() -> NodeSpec {
    NodeSpec::diskless(Firmware::Uefi).with_card(2)
}

fn boot(name: &str, parts: &Parts, spec: NodeSpec, kind: &'static str) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let system = VolumeSpec::new(NAME, SIZE_MIB);
    // Ends after the server.
    let _storage = Storage::start(lab.folder(), STORAGE, &[system])?;
    let firmware = spec.firmware;
    let mut node = lab.build(spec)?;
    let mut before = Vec::new();
    for disk in &node.disks {
        disk.fill_with_old_data()?;
        before.push(disk.digest()?);
    }
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    volume::introduce_card(&lab, &mut node)?;
    volume::make_known(&lab, &system)?;
    let id = order(&lab, &node, NAME, Some(kind))?;
    tell(&format!(
        "{} discovered, approved, deploying onto a volume",
        node.name
    ));
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    let facts = lab.wait_state(&mut node, "active", patience::SHORT)?;
    deploy::check(&lab, &node, (firmware, SIZE_MIB), (&done, &facts))?;

    let attached = volume::wait_state(&mut lab, NAME, "attached")?;
    ensure!(
        attached["attachment"]["kind"] == kind,
        "the volume is attached otherwise: {attached}"
    );
    let address = deploy::address(&done)?;
    volume::expect_root(&lab, &address, &attached).explain(|| lab.picture(&node))?;
    tell("its root is on the volume");
    deploy::boots_again(&lab, &mut node, &address).explain(|| lab.picture(&node))?;
    volume::expect_root(&lab, &address, &attached)?;
    for (disk, before) in node.disks.iter().zip(&before) {
        ensure!(disk.digest()? == *before, "{} was written to", disk.serial);
    }
    if !before.is_empty() {
        tell("no byte of its own disks has changed");
    }
    volume::expect_no_orphans(&lab)
}

/// Orders the lab's image onto a volume; answers the deployment's id.
pub fn order(lab: &Lab, node: &Node, volume: &str, kind: Option<&'static str>) -> Result<String> {
    let order = Order {
        image: IMAGE.to_owned(),
        volume: Some(volume.to_owned()),
        volume_kind: kind,
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let deployment = lab.cli.deploy(&node.mac, &order)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    Ok(id.to_owned())
}
