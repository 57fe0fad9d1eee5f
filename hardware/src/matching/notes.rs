//! The notes in words: what should be known and is no obstacle.

use super::{
    Site,
    explain::{I, N, Said, said},
};
use crate::facts::Disk;

pub(super) fn deprecated(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    said(
        format!("Image {} is deprecated.", i.name),
        "Use a newer one.",
        "state=deprecated",
        "",
    )
}

pub(super) fn several(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} has {} disks; only its system disk was looked at.",
        i.name, i.disks
    );
    let remedy = "Deploy each disk on its own with --role, the system last.";
    said(text, remedy, format!("disks={}", i.disks), "")
}

pub(super) fn data(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("Image {} holds data and no system to start.", i.name);
    said(text, "Deploy it with --no-finish.", "kind=data-disk", "")
}

pub(super) fn hardware_unknown(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Nothing is known of the hardware of node {}: its agent has not reported it.",
        n.name
    );
    said(
        text,
        "Let the node boot the ramdisk once.",
        "",
        "inventory=unknown",
    )
}

pub(super) fn model_unknown(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!("No hardware model describes {}.", n.kind());
    let remedy = format!("Write one: `imprint model suggest {}`.", n.name);
    said(text, remedy, "", "model=unknown")
}

pub(super) fn system_unknown(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "No system was recognised in image {}: whether it has the node's drivers is not known.",
        i.name
    );
    said(text, "Try it on one node first.", "kernels=unknown", "")
}

pub(super) fn architecture_unknown(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("Which processor image {} was made for is not known.", i.name);
    let remedy = format!("Say it: `imprint image update {} --arch x86_64`.", i.name);
    said(text, remedy, "architecture=unknown", "")
}

pub(super) fn firmware_unknown(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("How firmware can start image {} is not known.", i.name);
    let remedy = format!("Say it: `imprint image update {} --boot uefi,bios`.", i.name);
    said(text, remedy, "boot_modes=unknown", "")
}

pub(super) fn disk_driver_unknown(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let disks: Vec<&Disk> = n
        .candidates()
        .into_iter()
        .filter(|disk| n.drivers_of(disk).is_empty())
        .collect();
    let names: Vec<&str> = disks
        .iter()
        .take(16)
        .map(|disk| disk.kernel_name.as_str())
        .collect();
    let names = names.join(", ");
    let text = format!("Which drivers it takes to start from {names} is not known.");
    let remedy = "Boot a newer ramdisk, or name them in the model's `needs.drivers`.";
    said(text, remedy, "", format!("{names} driver=unknown"))
}

pub(super) fn no_cloud_init(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} has no cloud-init: nobody reads user-data in it.",
        i.name
    );
    said(
        text,
        "Choose an image with cloud-init if user-data matters.",
        "cloud_init=none",
        "",
    )
}

pub(super) fn not_certified(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let list = i.certified_for.join(", ");
    let text = format!("Image {} is certified for {list}, not for {}.", i.name, n.kind());
    said(
        text,
        "Nothing is known against it; its publisher can certify it.",
        format!("certified_for={list}"),
        format!("hardware={}", n.kind()),
    )
}
