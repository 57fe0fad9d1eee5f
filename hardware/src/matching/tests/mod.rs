mod cases;
mod naive;
mod properties;
mod ranks;

use super::*;
use crate::{
    facts::{Cpu, Disk, Firmware, Inventory, System},
    model::HardwareModel,
};

pub(super) const SITE: Site<'static> = Site { region: "here" };

/// An image that fits [`server`].
pub(super) fn image(id: &str) -> ImageNeeds {
    ImageNeeds {
        id: id.to_owned(),
        name: format!("image-{id}"),
        family: None,
        version: None,
        project: "web".to_owned(),
        seen_by: SeenBy::Everyone,
        visibility: "public".to_owned(),
        kind: ImageKind::SystemDisk,
        target: Target::Baremetal,
        state: ImageState::Active,
        state_shown: "active".to_owned(),
        exclude_from_latest: false,
        region: "here".to_owned(),
        architecture: "x86_64".to_owned(),
        firmware: Some(FirmwareModes {
            uefi: true,
            bios: true,
        }),
        signed_loader: Some(true),
        disk_bytes: 2 << 30,
        disks: 1,
        sector_bytes: 512,
        min_disk_bytes: 0,
        min_memory_bytes: 1 << 30,
        drivers: Drivers::Known(
            ["ahci", "nvme", "sd_mod", "virtio_blk"]
                .map(str::to_owned)
                .to_vec(),
        ),
        kernel_arguments: Some(vec!["quiet".to_owned()]),
        cloud_init: Some(true),
        guest_plugin: Some(false),
        source_model: String::new(),
        verified_on: Vec::new(),
        certified_for: Vec::new(),
        rules: ImageRules::default(),
        price: None,
    }
}

pub(super) fn disk(name: &str, transport: &str, driver: &str, gb: u64, sector: u32) -> Disk {
    Disk {
        kernel_name: name.to_owned(),
        transport: transport.to_owned(),
        driver: driver.to_owned(),
        size_bytes: gb * 1_000_000_000,
        logical_sector_bytes: sector,
        ..Disk::default()
    }
}

/// A server with one NVMe disk.
pub(super) fn server() -> Inventory {
    Inventory {
        system: System {
            vendor: "Example".to_owned(),
            product: "Rack 1".to_owned(),
            ..System::default()
        },
        firmware: Firmware {
            mode: "uefi".to_owned(),
            secure_boot: Some(false),
            ..Firmware::default()
        },
        cpu: Cpu {
            architecture: "x86_64".to_owned(),
            ..Cpu::default()
        },
        memory_bytes: 8 << 30,
        disks: vec![disk("nvme0n1", "nvme", "nvme", 480, 512)],
        ..Inventory::default()
    }
}

pub(super) fn model(text: &str) -> HardwareModel {
    let text = format!("schema = 1\nname = \"rack-1\"\nversion = 1\n[match]\nvendor = \"Example\"\n{text}");
    HardwareModel::read(&text).expect("a model")
}

pub(super) fn node<'a>(inventory: &'a Inventory, model: Option<&'a HardwareModel>) -> NodeFacts<'a> {
    NodeFacts {
        id: "n1",
        name: "node-1",
        project: "web",
        inventory: Some(inventory),
        model,
        disk: None,
    }
}

pub(super) fn answer(image: &ImageNeeds, node: &NodeFacts<'_>) -> Answer {
    let (nodes, images) = ([*node], [image.clone()]);
    Fleet::new(SITE, &nodes, &images).answer(0, 0)
}

pub(super) fn codes(reasons: &[Reason]) -> Vec<&str> {
    reasons.iter().map(|reason| reason.code.as_str()).collect()
}
