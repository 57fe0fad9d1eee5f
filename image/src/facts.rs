//! Facts of an image: what is on it and how it would start, read without mounting and without running anything.
//!
//! [`read`] takes a disk that can be read at any place: a [`FileDisk`], or an [`ArtifactDisk`] over what the store
//! holds. It finds the partitions, the file systems in them, the one that holds the operating system, and reads the
//! few files that tell what the rest of the product wants to know. [`lint`] says what of it would keep the image
//! from working on bare metal.
//!
//! A disk of data is read by [`read_as`]: its partitions and file systems, and nothing of an operating system.
//!
//! Invariants: what cannot be read for certain is [`Fact::Unknown`] with the reason, never guessed. No image, however
//! hostile, takes more than a fixed measure of work and memory: every access is counted, every length bounded, every
//! chain has an end; as JSON, facts have at most [`MAX_FACTS_BYTES`]. `docs/image-facts.md` tells operators what is read from where.

mod artifact;
mod bounds;
mod configuration;
mod disk;
mod executable;
mod ext;
mod fat;
mod fault;
mod firmware;
mod initramfs;
mod kernels;
mod lint;
mod model;
mod packages;
mod parts;
mod probe;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod volume;

use std::io;

pub use crate::read::ReadChunk;
pub use artifact::ArtifactDisk;
pub use bounds::MAX_FACTS_BYTES;
pub use disk::{FileDisk, ReadAt};
pub use lint::{Finding, Severity, lint};
pub use model::{
    Bios, CloudInit, CommandLine, DiskKind, Distribution, EfiPartition, FACTS_VERSION, Fact, Facts, Firmware,
    FstabEntry, Identity, Initramfs, Kernel, Loader, LoaderKind, MachineId, NetworkStack, Package, Packages,
    VolumeFacts,
};

use crate::partition;
use disk::Cursor;
use fault::Work;
use kernels::Places;
use parts::fact;
use tree::Tree;

/// Bytes that may be read, a repeated access counted again: many times what a usual image needs.
const WORK_BYTES: u64 = 32 << 30;
/// Bytes that all initramfs of an image may decompress to.
const PLAIN_BYTES: u64 = 3 << 30;

/// Reads the facts of `disk`, from which a machine is to start. The sector size is taken from the partition table when
/// it is not given.
///
/// An error is only what reading the partition table gives; everything later becomes [`Fact::Unknown`].
pub fn read(disk: &dyn ReadAt, logical_sector_bytes: Option<u32>) -> io::Result<Facts> {
    read_as(DiskKind::System, disk, logical_sector_bytes)
}

/// The same for a disk of any kind.
pub fn read_as(kind: DiskKind, disk: &dyn ReadAt, logical_sector_bytes: Option<u32>) -> io::Result<Facts> {
    let mut facts = read_all(kind, disk, logical_sector_bytes)?;
    bounds::fit(&mut facts);
    Ok(facts)
}

fn read_all(kind: DiskKind, disk: &dyn ReadAt, logical_sector_bytes: Option<u32>) -> io::Result<Facts> {
    let holds_system = kind == DiskKind::System;
    let mut cursor = Cursor::new(disk);
    let sector = match logical_sector_bytes {
        Some(sector) => sector,
        None => partition::detect_sector_bytes(&mut cursor)?,
    };
    let partitions = partition::read_summary(&mut cursor, sector)?;
    let work = Work::new(WORK_BYTES);
    let parts = parts::read(disk, &partitions, &work);
    let root = parts::find_root(&parts).filter(|_| holds_system);
    let root_volume = root.and_then(|root| parts[root].volume().ok());
    let no_root = if holds_system {
        parts::why_no_root(&parts)
    } else {
        "it is a disk of data".to_owned()
    };

    let fstab = match root_volume {
        Some(volume) => fact(configuration::fstab(&Tree::new(volume))),
        None => Fact::Unknown(no_root.clone()),
    };
    let mounts = fstab.known().map_or(&[][..], Vec::as_slice);
    let volumes = parts::volumes(&parts, root, mounts);
    let mut facts = Facts {
        version: FACTS_VERSION,
        kind,
        disk_size_bytes: disk.size_bytes(),
        logical_sector_bytes: sector,
        used_bytes: parts::used_bytes(&volumes),
        volumes,
        firmware: if holds_system {
            Firmware {
                uefi: parts::efi_partition(&parts, &partitions),
                bios: fact(firmware::bios(disk, &partitions)),
            }
        } else {
            Firmware {
                uefi: Fact::Unknown(no_root.clone()),
                bios: Fact::Unknown(no_root.clone()),
            }
        },
        partitions,
        architecture: Fact::Unknown(no_root.clone()),
        distribution: Fact::Unknown(no_root.clone()),
        kernels: Fact::Unknown(no_root.clone()),
        command_lines: Fact::Unknown(no_root.clone()),
        fstab: Fact::Unknown(no_root.clone()),
        cloud_init: Fact::Unknown(no_root.clone()),
        network: Fact::Unknown(no_root.clone()),
        guest_plugin: Fact::Unknown(no_root.clone()),
        identity: Fact::Unknown(no_root.clone()),
        packages: Fact::Unknown(no_root),
        notes: Vec::new(),
    };
    match root_volume {
        Some(volume) => read_system(&parts::mounted(volume, &parts, mounts), &mut facts),
        None if holds_system => {
            if let Some(volume) = parts::find_boot(&parts) {
                read_boot(&Tree::new(volume), &mut facts);
            }
        }
        None => {}
    }
    facts.fstab = fstab;
    Ok(facts)
}

/// Everything that is read from a root file system with what is mounted in it.
fn read_system(tree: &Tree<'_>, facts: &mut Facts) {
    facts.architecture = fact(system::architecture(tree));
    facts.distribution = fact(configuration::distribution(tree));
    facts.command_lines = fact(configuration::command_lines(tree, "/boot", true));
    facts.packages = fact(packages::read(tree));
    let (packages, lines) = (facts.packages.known(), facts.command_lines.known());
    facts.cloud_init = fact(system::cloud_init(tree, packages, lines));
    facts.network = fact(system::network(tree));
    facts.guest_plugin = fact(tree.exists("/opt/imprint"));
    facts.identity = fact(system::identity(tree));
    let places = Places {
        boot: "/boot",
        modules: Some("/lib/modules"),
    };
    let mut plain_left = PLAIN_BYTES;
    facts.kernels = fact(kernels::read(tree, places, &mut plain_left));
}

/// What a boot partition tells whose root file system cannot be read.
fn read_boot(tree: &Tree<'_>, facts: &mut Facts) {
    facts.command_lines = fact(configuration::command_lines(tree, "", false));
    let places = Places {
        boot: "",
        modules: None,
    };
    let mut plain_left = PLAIN_BYTES;
    facts.kernels = fact(kernels::read(tree, places, &mut plain_left));
}
