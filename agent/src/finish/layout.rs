//! Where things are on the written disk: which partition is the root, which the EFI system partition.

use std::{
    fs::{self, File},
    io,
};

use super::{
    FinishError, Places, WrittenDisk,
    confined::{ConfinedRoot, Kind},
    efi::{HardDrive, PartitionSignature},
    extras::{self, Extra},
    filesystem::{self, FileSystem},
    lvm::{self, Active, Volumes},
    mount_node,
    profile::{self, Profile},
    settle::{self, PartitionNode},
    table::{self, Scheme, Table},
    unmount,
};
use crate::{inventory, session::backoff::chain};

/// Where distributions keep the root inside of a btrfs when it is not the default subvolume.
const SUBVOLUMES: [&str; 3] = ["root", "@", "@rootfs"];

/// What was found on the written disk.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The partition table.
    pub table: Table,
    /// All partitions, as the kernel shows them, then the logical volumes, which have no number.
    pub partitions: Vec<PartitionNode>,
    /// Volume groups on partitions of this disk.
    pub volumes: Volumes,
    /// The partition, logical volume or whole disk that holds the root.
    pub root: PartitionNode,
    /// Its file system.
    pub system: FileSystem,
    /// The subvolume of a btrfs that is the root, unless it is the default one.
    pub subvolume: Option<&'static str>,
    /// Facts about the installed system.
    pub profile: Profile,
    /// File systems of their own below the root.
    pub extras: Vec<Extra>,
    /// Points of those that are not on this disk, or not to be found.
    pub separate: Vec<String>,
    /// The EFI system partition.
    pub esp: Option<Esp>,
}

/// An EFI system partition.
#[derive(Debug, Clone)]
pub struct Esp {
    /// Where it is.
    pub node: PartitionNode,
    /// What the firmware calls it.
    pub drive: HardDrive,
}

/// A disk whose root cannot be written, or not be found.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The partition table.
    pub table: Table,
    /// All partitions, as the kernel shows them.
    pub partitions: Vec<PartitionNode>,
    /// The EFI system partition.
    pub esp: Option<Esp>,
    /// What was looked at, for people: "sda1 (vfat), sda2 (luks)".
    pub seen: String,
}

/// What a disk holds.
#[derive(Debug, Clone)]
pub enum System {
    /// A system whose files can be edited.
    Open(Box<Layout>),
    /// One whose files cannot.
    Closed(Closed),
}

impl Layout {
    /// Makes the device files of logical volumes appear until the value goes.
    ///
    /// # Errors
    /// When LVM refuses.
    pub fn activate<'a>(&'a self, places: &'a Places) -> Result<Active<'a>, FinishError> {
        self.volumes.activate(places).map_err(FinishError::Volumes)
    }

    /// The logical volume that is the root: "vg0/root".
    #[must_use]
    pub fn root_volume(&self) -> Option<String> {
        let (group, volume) = self.volumes.holding(&self.root.path)?;
        Some(format!("{}/{}", group.name, volume.name))
    }

    /// Numbers of the partitions that the root lies on.
    #[must_use]
    pub fn root_partitions(&self) -> Vec<u32> {
        let Some((group, _)) = self.volumes.holding(&self.root.path) else {
            return vec![self.root.number];
        };
        let below = self
            .partitions
            .iter()
            .filter(|node| group.devices.contains(&node.path));
        below.map(|node| node.number).collect()
    }

    /// Whether there may be room behind what holds the root: a file system on a whole disk has all of it.
    #[must_use]
    pub fn has_room_behind(&self) -> bool {
        self.table.scheme != Scheme::None || self.root_volume().is_some()
    }

    /// Names of the volume groups that the system has file systems in.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let extras = self.extras.iter().map(|extra| &extra.node);
        let used = std::iter::once(&self.root).chain(extras);
        used.filter_map(|node| Some(self.volumes.holding(&node.path)?.0.name.as_str()))
            .collect()
    }
}

/// Reads the table, waits for the kernel's partitions, and finds the root by looking into each file system.
///
/// # Errors
/// When there is not exactly one root.
pub fn find_layout(places: &Places, disk: &WrittenDisk) -> Result<Layout, FinishError> {
    match find_system(places, disk)? {
        System::Open(layout) => Ok(*layout),
        System::Closed(closed) => Err(FinishError::NoRoot { seen: closed.seen }),
    }
}

/// The same where there may be no root that can be written.
///
/// # Errors
/// When there is more than one root, or the disk cannot be read.
pub(super) fn find_system(places: &Places, disk: &WrittenDisk) -> Result<System, FinishError> {
    let kernel = |source| FinishError::Kernel {
        disk: disk.name.clone(),
        source,
    };
    let device = places.device(disk);
    // Held while partitions are looked at and mounted.
    let lock = settle::lock(&device).map_err(kernel)?;
    let mut file = File::open(&device).map_err(kernel)?;
    let table = table::read(&mut file, disk.sector_bytes)?;
    let mut nodes = settle::wait(places, disk, &file, &table)?;
    drop(file);
    if table.scheme == Scheme::None {
        nodes = vec![PartitionNode {
            number: 0,
            path: device,
            first_byte: 0,
            size_bytes: disk.size_bytes,
        }];
    }
    let (mut roots, mut seen) = (Vec::new(), Vec::new());
    // An image may have volumes that are of no use here, and its root elsewhere.
    let mut volumes = lvm::find(places, &nodes).unwrap_or_else(|error| {
        seen.push(format!("LVM ({})", chain(&error)));
        Volumes::default()
    });
    seen.extend(volumes.refused.iter().cloned());
    let groups = volumes.clone();
    let active = groups.activate(places).or_else(|error| {
        seen.push(format!("LVM ({})", chain(&error)));
        volumes = Volumes::default();
        Volumes::NONE.activate(places)
    });
    let active = active.map_err(FinishError::Volumes)?;
    nodes.extend(volumes.nodes());
    for node in &nodes {
        let system = File::open(&node.path).and_then(|file| filesystem::probe(&file));
        let system = match system {
            Ok(system) => system,
            // An extended partition of an MBR has no bytes of its own.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(source) => return Err(kernel(source)),
        };
        let name = node
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if volumes
            .groups
            .iter()
            .any(|group| group.devices.contains(&node.path))
        {
            continue;
        }
        let Some(system) = system.filter(|system| *system != FileSystem::Vfat) else {
            seen.push(format!("{name} ({})", content(node, system)));
            continue;
        };
        match look_inside(places, node, system) {
            Ok(Some((subvolume, profile))) => roots.push((node.clone(), system, subvolume, profile)),
            Ok(None) => seen.push(format!("{name} ({}, without /etc/os-release)", system.name())),
            Err(FinishError::Mount { source, .. }) => {
                seen.push(format!("{name} ({}: {source})", system.name()));
            }
            Err(error) => return Err(error),
        }
    }
    let seen = if seen.is_empty() {
        "there is no partition".to_owned()
    } else {
        seen.join(", ")
    };
    let names = |node: &PartitionNode| node.path.display().to_string();
    if roots.len() > 1 {
        let seen = roots
            .iter()
            .map(|(node, ..)| names(node))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(FinishError::ManyRoots { seen });
    }
    let esp = find_esp(&table, &nodes);
    let Some((root, system, subvolume, mut profile)) = roots.pop() else {
        active.end().map_err(FinishError::Volumes)?;
        return Ok(System::Closed(Closed {
            table,
            partitions: nodes,
            esp,
            seen,
        }));
    };
    let (extras, separate) = extras::resolve(&profile.fstab, &nodes, &table);
    if !extras.is_empty() {
        let tree = extras::mount_tree(places, "probe", (&root, system, subvolume), &extras, true)?;
        profile = profile::read(&ConfinedRoot::open(tree.point())?)?;
        tree.unmount()?;
    }
    active.end().map_err(FinishError::Volumes)?;
    drop(lock);
    Ok(System::Open(Box::new(Layout {
        table,
        partitions: nodes,
        volumes,
        root,
        system,
        subvolume,
        profile,
        extras,
        separate,
        esp,
    })))
}

/// What a partition holds that has no file system to look into, for people.
fn content(node: &PartitionNode, system: Option<FileSystem>) -> String {
    if let Some(system) = system {
        return system.name().to_owned();
    }
    let volume = File::open(&node.path)
        .ok()
        .and_then(|file| inventory::volume(&file, node.size_bytes));
    volume.map_or_else(|| "no known file system".to_owned(), |volume| volume.kind)
}

fn look_inside(
    places: &Places,
    node: &PartitionNode,
    system: FileSystem,
) -> Result<Option<(Option<&'static str>, Profile)>, FinishError> {
    let subvolumes = SUBVOLUMES.into_iter().filter(|_| system == FileSystem::Btrfs);
    for subvolume in std::iter::once(None).chain(subvolumes.map(Some)) {
        let mount = match mount_node(&places.mounts.join("probe"), node, system, subvolume, true) {
            Ok(mount) => mount,
            Err(_) if subvolume.is_some() => continue,
            Err(error) => return Err(error),
        };
        let root = ConfinedRoot::open(mount.point())?;
        let is_root = root.kind("etc/os-release")?.is_some() && root.kind("usr")? == Some(Kind::Folder);
        let profile = if is_root {
            Some(profile::read(&root)?)
        } else {
            None
        };
        drop(root);
        unmount(mount)?;
        if let Some(profile) = profile {
            return Ok(Some((subvolume, profile)));
        }
    }
    Ok(None)
}

fn find_esp(table: &Table, nodes: &[PartitionNode]) -> Option<Esp> {
    let partition = table.partitions.iter().find(|partition| partition.esp)?;
    let node = nodes.iter().find(|node| node.number == partition.number)?;
    let drive = HardDrive {
        partition_number: partition.number,
        start_lba: partition.first_lba,
        size_lba: partition.blocks,
        signature: signature(table, partition)?,
    };
    Some(Esp {
        node: node.clone(),
        drive,
    })
}

fn signature(table: &Table, partition: &table::Partition) -> Option<PartitionSignature> {
    match table.scheme {
        Scheme::Gpt => Some(PartitionSignature::Gpt(partition.unique)),
        Scheme::Mbr(disk) => Some(PartitionSignature::Mbr(disk)),
        Scheme::None => None,
    }
}

/// What boot entries may name on a table.
#[must_use]
pub fn signatures(table: &Table) -> Vec<PartitionSignature> {
    table
        .partitions
        .iter()
        .filter_map(|partition| signature(table, partition))
        .collect()
}

/// The partitions of the written disk and of every other disk that can be read; one that can't has none to protect.
pub(super) fn signatures_of_all_disks(
    places: &Places,
    written: &WrittenDisk,
    table: &Table,
) -> Vec<PartitionSignature> {
    let mut found = signatures(table);
    let names = fs::read_dir(places.sys.join("block"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    for name in names.filter(|name| *name != *written.name && !name.to_string_lossy().starts_with("loop")) {
        let sector = fs::read_to_string(
            places
                .sys
                .join("block")
                .join(&name)
                .join("queue/logical_block_size"),
        );
        let sector = sector
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .filter(|sector| *sector >= 512);
        let table =
            File::open(places.dev.join(&name)).map(|mut file| table::read(&mut file, sector.unwrap_or(512)));
        if let Ok(Ok(table)) = table {
            found.extend(signatures(&table));
        }
    }
    found
}
