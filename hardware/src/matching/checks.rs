//! The one table of everything that is checked.

use super::{
    ImageKind, ImageNeeds, ImageState, NodeFacts, Site,
    explain::{self as say, Said},
    notes as note,
    prepared::{Disk, DriversKnown, Image, Node},
};

/// What a failed check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The image cannot be deployed.
    Refuses,
    /// It can be with an explicit permission.
    Unverified,
    /// It is said, and nothing more.
    Note,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The image's own state, kind and place, and whose it is.
    Image,
    /// The image and the server's hardware.
    Hardware,
}

/// Who has to be looked at; what depends on one side alone is decided once for that side.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fails {
    Image(fn(&Image) -> bool),
    Node(fn(&Node) -> bool),
    Pair(fn(&Image, &Node) -> bool),
}

/// One requirement.
#[derive(Debug)]
pub struct Check {
    /// Stable, for programs.
    pub code: &'static str,
    /// What a failure means.
    pub weight: Weight,
    /// What it is about.
    pub group: Group,
    /// What is required, and what an unknown fact means.
    pub about: &'static str,
    pub(super) fails: Fails,
    pub(super) explain: fn(&ImageNeeds, &NodeFacts<'_>, Site<'_>) -> Said,
}

use Fails::{Image as OfImage, Node as OfNode, Pair as OfPair};
use Group::{Hardware, Image as Own};
use Weight::{Note, Refuses, Unverified};

macro_rules! checks {
    ($($code:literal, $weight:expr, $group:expr, $about:literal, $fails:expr, $explain:expr;)+) => {
        &[$(Check { code: $code, weight: $weight, group: $group, about: $about, fails: $fails, explain: $explain },)+]
    };
}

/// Every check, in the order in which reasons are given.
pub const CHECKS: &[Check] = checks! {
    "image-not-ready", Refuses, Own, "The image's content is complete.",
        OfImage(|i| i.state == ImageState::Unfinished), say::not_ready;
    "image-withdrawn", Refuses, Own, "The image is active or deprecated.",
        OfImage(|i| i.state == ImageState::Withdrawn), say::withdrawn;
    "image-in-other-region", Refuses, Own, "The image belongs to the controller's region.",
        OfImage(|i| i.elsewhere), say::elsewhere;
    "image-for-virtual-machines", Refuses, Own, "The image was not made for virtual machines alone.",
        OfImage(|i| i.for_vm), say::for_vm;
    "image-is-iso", Refuses, Own, "The image is a disk, not an installation medium.",
        OfImage(|i| i.kind == ImageKind::Iso), say::iso;
    "image-not-shared", Refuses, Own, "The project that the node belongs to may use the image.",
        OfPair(|i, n| i.projects.as_ref().is_some_and(|list| !list.contains(&n.project))), say::not_shared;
    "architecture-differs", Refuses, Hardware, "A system was made for the node's processor. Unknown: a note.",
        OfPair(|i, n| i.is_system && i.architecture != 0 && n.architecture != 0 && i.architecture != n.architecture),
        say::architecture;
    "firmware-mode-differs", Refuses, Hardware,
        "A system can be started by the firmware as it is set. Unknown: a note.",
        OfPair(|i, n| i.is_system && matches!((i.modes, n.modes), (Some(i), Some(n)) if i & n == 0)), say::firmware;
    "firmware-mode-against-model", Refuses, Hardware, "The firmware runs in a mode that the node's model allows.",
        OfNode(|n| n.mode_against_model), say::firmware_against_model;
    "secure-boot-unsigned", Refuses, Hardware, "With Secure Boot on, the image's loader is signed. Unknown: `secure-boot-unknown`.",
        OfPair(|i, n| starts_by_uefi(i, n) && n.secure_boot == Some(true) && i.signed == Some(false)), say::unsigned;
    "secure-boot-against-model", Refuses, Hardware, "Secure Boot is set as the node's model asks. Unknown: nothing.",
        OfNode(|n| n.secure_boot_against_model), say::secure_boot_against_model;
    "no-boot-disk", Refuses, Hardware, "The node has a disk that the image could go to.",
        OfNode(|n| n.known && n.disks.is_empty()), say::no_disk;
    "image-larger-than-disk", Refuses, Hardware, "One of these disks is large enough.",
        OfPair(|i, n| !n.disks.is_empty() && n.largest < i.disk_bytes), say::too_large;
    "sector-size-differs", Refuses, Hardware, "One of these disks has the image's logical sector size.",
        OfPair(|i, n| i.sector != 0 && !n.disks.is_empty() && !n.disks.iter().any(|d| d.sector == i.sector)),
        say::sectors;
    "sector-size-against-model", Refuses, Hardware, "The node's model can be started from disks of the image's sector size.",
        OfPair(|i, n| i.is_system && i.sector != 0 && !n.sectors.is_empty() && !n.sectors.contains(&i.sector)),
        say::sectors_against_model;
    "driver-missing", Refuses, Hardware,
        "A system has the drivers of one of these disks and those that the model names, in its initramfs or kernel. Unknown: `drivers-unknown`.",
        OfPair(lacks_driver), say::driver;
    "no-disk-suits", Refuses, Hardware, "One disk is large enough and has the right sectors and drivers, all at once.",
        OfPair(|i, n| {
            !n.disks.is_empty()
                && n.largest >= i.disk_bytes
                && (i.sector == 0 || n.disks.iter().any(|d| d.sector == i.sector))
                && (!drives_matter(i) || n.disks.iter().any(|d| d.drivers.is_within(&i.drivers)))
                && !n.disks.iter().any(|d| suits(i, d))
        }), say::no_one_disk;
    "not-enough-memory", Refuses, Hardware, "The node has the memory that the image needs. Unknown: nothing.",
        OfPair(|i, n| n.memory != 0 && n.memory < i.memory), say::memory;
    "sdi-driver-missing", Refuses, Hardware,
        "For a model that starts from SDI volumes, a system has virtio_blk, virtio_scsi or nvme. Unknown: `drivers-unknown`.",
        OfPair(|i, n| n.sdi && drives_matter(i) && !i.has_sdi_driver), say::sdi;
    "kernel-argument-missing", Refuses, Hardware, "A system's kernel gets the arguments that the model needs. Unknown: nothing.",
        OfPair(|i, n| i.is_system && i.arguments_known && !n.arguments.is_within(&i.arguments)), say::argument;
    "guest-plugin-missing", Refuses, Hardware, "For a model that asks for it, the image holds the guest plugin. Unknown: nothing.",
        OfPair(|i, n| n.guest_plugin && i.is_system && i.guest_plugin == Some(false)), say::plugin;
    "image-requirement-not-met", Refuses, Hardware, "What the image's owner requires of servers holds. Unknown facts fulfil nothing.",
        OfPair(|i, n| n.known && !i.requires.is_within(&n.conditions)), say::requires;
    "image-forbids-hardware", Refuses, Hardware, "What the image's owner forbids does not hold.",
        OfPair(|i, n| n.known && i.forbids.meets(&n.conditions)), say::forbids;
    "image-unverified-on-model", Unverified, Hardware,
        "An image that was captured from a server goes to the same model, or to one that it has been verified on. Unknown model of the node: unverified.",
        OfPair(|i, n| i.source_model != 0 && !i.is_verified_on(n)), say::unverified;
    "secure-boot-unknown", Unverified, Hardware, "With Secure Boot on, it is known whether the image's loader is signed.",
        OfPair(|i, n| starts_by_uefi(i, n) && n.secure_boot == Some(true) && i.signed.is_none()
            && i.drivers_known != DriversKnown::NoSystem), say::signature_unknown;
    "drivers-unknown", Unverified, Hardware, "Of a system with a kernel it is known which drivers it has at boot.",
        OfPair(|i, n| i.is_system && i.drivers_known == DriversKnown::No && needs_drivers(n)), say::drivers_unknown;
    "image-deprecated", Note, Own, "The image is not deprecated.",
        OfImage(|i| i.state == ImageState::Deprecated), note::deprecated;
    "image-has-several-disks", Note, Own, "The image has one disk; several are deployed one by one.",
        OfImage(|i| i.disks > 1), note::several;
    "image-holds-data", Note, Own, "The image holds a system.",
        OfImage(|i| i.kind == ImageKind::DataDisk), note::data;
    "hardware-unknown", Note, Hardware, "The node's agent has reported its hardware.",
        OfNode(|n| !n.known), note::hardware_unknown;
    "model-unknown", Note, Hardware, "There is a model for the node.",
        OfNode(|n| n.known && n.model == 0), note::model_unknown;
    "system-unknown", Note, Hardware, "A system was recognised in the image, so that its drivers could be looked for.",
        OfImage(|i| i.is_system && i.drivers_known == DriversKnown::NoSystem), note::system_unknown;
    "architecture-unknown", Note, Hardware, "It is known which processor a system was made for.",
        OfImage(|i| i.is_system && i.architecture == 0), note::architecture_unknown;
    "firmware-mode-unknown", Note, Hardware, "It is known how firmware can start a system.",
        OfImage(|i| i.is_system && i.modes.is_none()), note::firmware_unknown;
    "disk-driver-unknown", Note, Hardware, "It is known which drivers every disk needs that the image could go to.",
        OfNode(|n| n.driver_unknown), note::disk_driver_unknown;
    "no-cloud-init", Note, Own, "cloud-init is in a system.",
        OfImage(|i| i.is_system && i.cloud_init == Some(false)), note::no_cloud_init;
    "not-certified", Note, Hardware, "A certified image is certified for, or verified on, the node's model.",
        OfPair(|i, n| i.certified && i.source_model == 0 && !i.is_verified_on(n)), note::not_certified;
};

/// Whether it matters, and is known, which drivers an image has.
fn drives_matter(image: &Image) -> bool {
    image.is_system && image.drivers_known == DriversKnown::Yes
}

fn needs_drivers(node: &Node) -> bool {
    node.sdi
        || !node.drivers.is_empty()
        || (!node.disks.is_empty() && node.disks.iter().all(|d| !d.drivers.is_empty()))
}

fn lacks_driver(image: &Image, node: &Node) -> bool {
    drives_matter(image)
        && (!node.drivers.is_within(&image.drivers)
            || (!node.disks.is_empty()
                && !node
                    .disks
                    .iter()
                    .any(|disk| disk.drivers.is_within(&image.drivers))))
}

fn suits(image: &Image, disk: &Disk) -> bool {
    disk.bytes >= image.disk_bytes
        && (image.sector == 0 || disk.sector == image.sector)
        && (!drives_matter(image) || disk.drivers.is_within(&image.drivers))
}

/// Whether UEFI will start it, as far as that is known.
fn starts_by_uefi(image: &Image, node: &Node) -> bool {
    image.is_system
        && node.modes.is_none_or(|modes| modes & 1 != 0)
        && image.modes.is_none_or(|modes| modes & 1 != 0)
}
