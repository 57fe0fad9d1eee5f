//! The reasons in words. Made only for what is shown.

use super::{
    Drivers, FirmwareModes, ImageNeeds, NodeFacts, Site,
    prepared::{mode_against_model, secure_boot_against_model as set_against_model},
    vocabulary::SDI_DRIVERS,
};
use crate::{
    facts::{Disk, shown_size},
    model::Condition,
};

/// A reason without its code.
#[derive(Debug)]
pub(super) struct Said {
    pub text: String,
    pub remedy: String,
    pub image_fact: String,
    pub node_fact: String,
}

pub(super) fn said(
    text: impl Into<String>,
    remedy: impl Into<String>,
    image: impl Into<String>,
    node: impl Into<String>,
) -> Said {
    Said {
        text: text.into(),
        remedy: remedy.into(),
        image_fact: image.into(),
        node_fact: node.into(),
    }
}

const OTHER_IMAGE: &str = "Choose another image; `imprint match NODE` shows those that fit.";

pub(super) type I<'a> = &'a ImageNeeds;
pub(super) type N<'a> = &'a NodeFacts<'a>;

/// Disks that are named in one reason.
const FIRST_DISKS: usize = 16;

fn disks_fact(node: N<'_>, fact: impl Fn(&Disk) -> String) -> String {
    let disks: Vec<String> = node
        .candidates()
        .into_iter()
        .take(FIRST_DISKS)
        .map(fact)
        .collect();
    format!("disks: {}", disks.join("; "))
}

fn each_disk(node: N<'_>, says: impl Fn(&Disk) -> String) -> String {
    let disks: Vec<String> = node
        .candidates()
        .into_iter()
        .take(FIRST_DISKS)
        .map(says)
        .collect();
    disks.join(", ")
}

fn modes(modes: Option<FirmwareModes>) -> &'static str {
    modes.map_or("unknown", FirmwareModes::shown)
}

fn model(node: N<'_>) -> &str {
    node.model_name().unwrap_or("unknown")
}

pub(super) fn not_ready(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("The content of image {} is still on the way.", i.name);
    let remedy = format!(
        "Wait until its import has ended: `imprint image show {}` says how it stands.",
        i.name
    );
    said(text, remedy, format!("state={}", i.state_shown), "")
}

pub(super) fn withdrawn(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("Image {} is {}.", i.name, i.state_shown);
    said(text, OTHER_IMAGE, format!("state={}", i.state_shown), "")
}

pub(super) fn elsewhere(i: I<'_>, _: N<'_>, site: Site<'_>) -> Said {
    let text = format!(
        "Image {} exists in region {}, and this controller deploys in region {}.",
        i.name, i.region, site.region
    );
    let remedy = format!(
        "Copy it first: `imprint image copy {} --region {}`.",
        i.name, site.region
    );
    said(
        text,
        remedy,
        format!("region={}", i.region),
        format!("region={}", site.region),
    )
}

pub(super) fn for_vm(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("Image {} was made for virtual machines.", i.name);
    let remedy = "Choose an image for bare metal; if this one really fits, `imprint image update IMAGE --target any` says so.";
    said(text, remedy, "target=vm", "")
}

pub(super) fn iso(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!("Image {} is an installation medium, not a disk.", i.name);
    said(
        text,
        "Install from it on a temporary machine, and make an image of that machine's disk.",
        "kind=iso",
        "",
    )
}

pub(super) fn not_shared(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} is {} and was not shared with the project that node {} belongs to.",
        i.name, i.visibility, n.name
    );
    let remedy = format!(
        "Its owner can share it: `imprint image share {} PROJECT`.",
        i.name
    );
    said(
        text,
        remedy,
        format!("visibility={}", i.visibility),
        format!("project={}", n.project),
    )
}

pub(super) fn architecture(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let theirs = n.architecture();
    let text = format!(
        "Image {} was made for {} processors, and the node's is {theirs}.",
        i.name, i.architecture
    );
    let remedy = format!("Choose an image for {theirs}.");
    said(
        text,
        remedy,
        format!("architecture={}", i.architecture),
        format!("cpu.architecture={theirs}"),
    )
}

pub(super) fn firmware(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let allowed = n
        .model
        .map(|model| model.needs.firmware.join(", "))
        .unwrap_or_default();
    let runs = n.firmware_mode().map_or(allowed.clone(), str::to_owned);
    let image = modes(i.firmware);
    let text = format!(
        "Image {} can be started by {image}, and the node's firmware starts systems by {runs}.",
        i.name
    );
    let may_change = allowed
        .split(", ")
        .any(|mode| !mode.is_empty() && mode != runs && image.contains(mode));
    let remedy = if may_change {
        "Choose another image, or set the firmware to that mode and let the agent look again."
    } else {
        "Choose an image that the node's firmware can start."
    };
    said(
        text,
        remedy,
        format!("boot_modes={image}"),
        format!("firmware.mode={runs}"),
    )
}

pub(super) fn firmware_against_model(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let runs = mode_against_model(n).unwrap_or_default();
    let wants = n
        .model
        .map(|model| model.needs.firmware.join(" or "))
        .unwrap_or_default();
    let text = format!(
        "The node's firmware runs in {runs} mode, and model {} needs {wants}.",
        model(n)
    );
    let remedy = format!("Set the firmware to {wants}, and let the agent look again.");
    said(text, remedy, "", format!("firmware.mode={runs}"))
}

pub(super) fn unsigned(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "The loader of image {} is not signed, and Secure Boot is on.",
        i.name
    );
    let remedy = "Choose an image with a signed shim, or switch Secure Boot off in the firmware.";
    said(
        text,
        remedy,
        "firmware.uefi.loaders.signed=false",
        "firmware.secure_boot=true",
    )
}

pub(super) fn secure_boot_against_model(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let on = set_against_model(n).unwrap_or_default();
    let (is, wanted) = if on { ("on", "off") } else { ("off", "on") };
    let text = format!("Secure Boot is {is}, and model {} needs it {wanted}.", model(n));
    let remedy = format!("Switch Secure Boot {wanted} in the firmware, and let the agent look again.");
    said(text, remedy, "", format!("firmware.secure_boot={on}"))
}

pub(super) fn no_disk(_: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let all = n.inventory.map_or(0, |inventory| inventory.disks.len());
    let text = format!("None of the node's {all} disks is one that an image may go to.");
    let rule = n.disk.or_else(|| n.model.and_then(|model| model.boot.as_ref()));
    let remedy = match rule {
        Some(rule) if !rule.text.is_empty() => format!(
            "Look at the rule `{}`: no fixed, writable disk fulfils it.",
            rule.text
        ),
        _ => {
            "Add a disk, or see why the agent finds none: read-only, removable and USB disks are left alone."
                .to_owned()
        }
    };
    said(text, remedy, "", format!("disks={all}"))
}

pub(super) fn too_large(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let needed = i.needed_disk_bytes();
    let text = format!(
        "Image {} needs {needed} bytes ({}) of disk, and every disk is smaller: {}.",
        i.name,
        shown_size(needed),
        each_disk(n, |disk| format!("{} has {}", disk.kernel_name, disk.size_bytes))
    );
    let field = if i.min_disk_bytes > i.disk_bytes {
        "min_disk_bytes"
    } else {
        "disk_size_bytes"
    };
    let disks = disks_fact(n, |disk| {
        format!("{} size_bytes={}", disk.kernel_name, disk.size_bytes)
    });
    said(
        text,
        "Choose a larger disk or a smaller image.",
        format!("{field}={needed}"),
        disks,
    )
}

pub(super) fn sectors(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} was made for sectors of {} bytes, and no disk has those: {}.",
        i.name,
        i.sector_bytes,
        each_disk(n, |disk| format!(
            "{} has sectors of {}",
            disk.kernel_name, disk.logical_sector_bytes
        ))
    );
    let remedy = "Choose an image made for this sector size, or another disk.";
    let disks = disks_fact(n, |disk| {
        format!(
            "{} logical_sector_bytes={}",
            disk.kernel_name, disk.logical_sector_bytes
        )
    });
    said(
        text,
        remedy,
        format!("logical_sector_bytes={}", i.sector_bytes),
        disks,
    )
}

pub(super) fn sectors_against_model(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let sizes = n
        .model
        .map(|model| model.needs.sector_sizes.as_slice())
        .unwrap_or_default();
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let sizes = sizes.join(", ");
    let text = format!(
        "Image {} was made for sectors of {} bytes, and model {} starts from disks with {sizes}.",
        i.name,
        i.sector_bytes,
        model(n)
    );
    let fact = format!("logical_sector_bytes={}", i.sector_bytes);
    said(
        text,
        OTHER_IMAGE,
        fact,
        format!("model {}: sector_sizes={sizes}", model(n)),
    )
}

fn has(i: I<'_>, driver: &str) -> bool {
    matches!(&i.drivers, Drivers::Known(modules) if modules.iter().any(|module| module == driver))
}

pub(super) fn driver(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let mut missing: Vec<String> = Vec::new();
    let mut facts: Vec<String> = Vec::new();
    for driver in n.model_drivers().iter().filter(|driver| !has(i, driver)) {
        missing.push(driver.clone());
        facts.push(format!("model {} needs {driver}", model(n)));
    }
    let disks: Vec<(&Disk, Vec<String>)> = n.candidates().into_iter().map(|d| (d, n.drivers_of(d))).collect();
    let none = !disks
        .iter()
        .any(|(_, drivers)| drivers.iter().all(|driver| has(i, driver)));
    for (disk, drivers) in disks.iter().filter(|_| none).take(16) {
        facts.push(format!("{} driver={}", disk.kernel_name, drivers.join("+")));
        missing.extend(drivers.iter().filter(|driver| !has(i, driver)).cloned());
    }
    missing.sort();
    missing.dedup();
    let missing = missing.join(", ");
    let text = format!(
        "Image {} lacks {missing} in its initramfs and kernel, so it would not find its disk.",
        i.name
    );
    let remedy = "Choose another image, or build its initramfs with these modules (initramfs-tools: MODULES=most; dracut: --no-hostonly) and import it anew.";
    said(
        text,
        remedy,
        format!("initramfs.modules without {missing}"),
        facts.join("; "),
    )
}

pub(super) fn no_one_disk(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} needs {} bytes, sectors of {} and its drivers on one disk; the node has each, but on no disk all of them.",
        i.name,
        i.needed_disk_bytes(),
        i.sector_bytes
    );
    let disks = disks_fact(n, |disk| {
        format!(
            "{} size_bytes={} logical_sector_bytes={} driver={}",
            disk.kernel_name,
            disk.size_bytes,
            disk.logical_sector_bytes,
            n.drivers_of(disk).join("+")
        )
    });
    let fact = format!(
        "disk_size_bytes={}, logical_sector_bytes={}",
        i.needed_disk_bytes(),
        i.sector_bytes
    );
    said(text, "Choose another image or another node.", fact, disks)
}

pub(super) fn memory(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let has = n.inventory.map_or(0, |inventory| inventory.memory_bytes);
    let needs = i.min_memory_bytes;
    let text = format!(
        "Image {} needs {needs} bytes of memory, and the node has {has}.",
        i.name
    );
    let remedy = "Choose another node or another image.";
    said(
        text,
        remedy,
        format!("min_memory_bytes={needs}"),
        format!("memory_bytes={has}"),
    )
}

pub(super) fn sdi(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let drivers = SDI_DRIVERS.join(", ");
    let text = format!(
        "Model {} starts from volumes that an SDI card presents, and image {} has none of {drivers} at boot.",
        model(n),
        i.name
    );
    said(
        text,
        OTHER_IMAGE,
        format!("initramfs.modules without {drivers}"),
        format!("model {}: sdi", model(n)),
    )
}

pub(super) fn argument(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let known = i.kernel_arguments.as_deref().unwrap_or_default();
    let wanted = n
        .model
        .map(|model| model.needs.kernel_arguments.as_slice())
        .unwrap_or_default();
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|one| !known.contains(one))
        .map(String::as_str)
        .collect();
    let missing = missing.join(" ");
    let text = format!(
        "Image {} starts its kernel without {missing}, which model {} needs.",
        i.name,
        model(n)
    );
    let remedy = "Add it to the boot loader's configuration of the image, and import it anew.";
    let fact = format!("command_lines without {missing}");
    said(
        text,
        remedy,
        fact,
        format!("model {}: kernel_arguments={missing}", model(n)),
    )
}

pub(super) fn plugin(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} lacks the guest plugin, which model {} needs in it.",
        i.name,
        model(n)
    );
    let remedy = "Install /opt/imprint/ in the image, and import it anew.";
    said(
        text,
        remedy,
        "guest_plugin=false",
        format!("model {}: guest_plugin", model(n)),
    )
}

fn join(list: &[&Condition]) -> String {
    list.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn found(list: &[&Condition], n: N<'_>) -> String {
    let found = list
        .iter()
        .filter_map(|one| n.inventory.map(|inventory| one.found(inventory)));
    found.collect::<Vec<_>>().join("; ")
}

pub(super) fn requires(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let holds = |one: &Condition| n.inventory.is_some_and(|inventory| one.holds(inventory));
    let failed: Vec<&Condition> = i.rules.requires.iter().filter(|one| !holds(one)).collect();
    let list = join(&failed);
    let text = format!(
        "Image {} is for servers with {list}, which this node is not.",
        i.name
    );
    said(
        text,
        "Choose another node or another image.",
        format!("requires {list}"),
        found(&failed, n),
    )
}

pub(super) fn forbids(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let holds = |one: &Condition| n.inventory.is_some_and(|inventory| one.holds(inventory));
    let held: Vec<&Condition> = i.rules.forbids.iter().filter(|one| holds(one)).collect();
    let list = join(&held);
    let text = format!(
        "Image {} is not for servers with {list}, and this node is one.",
        i.name
    );
    said(
        text,
        "Choose another node or another image.",
        format!("forbids {list}"),
        found(&held, n),
    )
}

pub(super) fn unverified(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Image {} was captured from {}, and nothing shows that it works on {}.",
        i.name,
        i.source_model,
        n.kind()
    );
    let remedy = "Choose a node of that model, or repeat with --allow-unverified, which is noted (API: `\"allow_unverified\": true`).";
    said(
        text,
        remedy,
        format!("source_model={}", i.source_model),
        format!("hardware={}", n.kind()),
    )
}

const ALLOW: &str = "Choose another image, or repeat with --allow-unverified, which is noted (API: `\"allow_unverified\": true`).";

pub(super) fn signature_unknown(i: I<'_>, _: N<'_>, _: Site<'_>) -> Said {
    let text = format!(
        "Whether the loader of image {} is signed is not known, and Secure Boot is on.",
        i.name
    );
    said(
        text,
        ALLOW,
        "firmware.uefi.loaders.signed=unknown",
        "firmware.secure_boot=true",
    )
}

pub(super) fn drivers_unknown(i: I<'_>, n: N<'_>, _: Site<'_>) -> Said {
    let why = match &i.drivers {
        Drivers::Unknown(why) => why.as_str(),
        Drivers::Known(_) | Drivers::NoSystem => "",
    };
    let text = format!(
        "Which drivers image {} has at boot could not be read: {why}.",
        i.name
    );
    let disks = disks_fact(n, |disk| {
        format!("{} driver={}", disk.kernel_name, n.drivers_of(disk).join("+"))
    });
    said(text, ALLOW, "initramfs.modules=unknown", disks)
}
