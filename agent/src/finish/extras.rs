//! File systems of their own below the root (`/usr`, `/var`, `/opt`, subvolumes of a btrfs): what fstab mounts there is
//! mounted here too, so that what is written is where the installed system looks for it.

use std::{
    borrow::Cow,
    fs::File,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, DiskContent};

use super::{
    FinishError, Places,
    confined::{ConfinedRoot, Kind},
    filesystem::{self, FileSystem},
    fstab::Presence,
    mount_node,
    settle::PartitionNode,
    table::{Partition, Scheme, Table},
    unmount,
};
use crate::{inventory, sys::mount::Mount};

/// Where something is read or written below the root; those above others first.
const OURS: [&str; 10] = [
    "etc",
    "home",
    "opt",
    "usr",
    "var",
    "var/lib",
    "var/lib/cloud",
    "var/log",
    "var/tmp",
    "var/spool",
];
/// What is hidden there when it can't be mounted here is no loss.
const UNIMPORTANT: [&str; 4] = ["home", "var/log", "var/tmp", "var/spool"];

/// A line of fstab about one of our folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FstabMount {
    /// What is mounted: "UUID=…".
    pub spec: String,
    /// Where, without the slash in front: "var/lib".
    pub point: String,
    /// The subvolume of a btrfs that its options name.
    pub subvolume: Option<String>,
}

/// A file system of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where it is mounted, below the root.
    pub point: String,
    /// What is mounted.
    pub node: PartitionNode,
    /// Its file system.
    pub system: FileSystem,
    /// The subvolume of a btrfs.
    pub subvolume: Option<String>,
}

/// The lines of an fstab about our folders, those above others first.
#[must_use]
pub fn read_fstab(fstab: &str) -> Vec<FstabMount> {
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut found: Vec<FstabMount> = lines
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (spec, point) = (fields.next()?, fields.next()?);
            let (_, options) = (fields.next(), fields.next().unwrap_or_default());
            let point = point.trim_matches('/');
            let subvolume = options
                .split(',')
                .find_map(|option| option.strip_prefix("subvol="));
            OURS.contains(&point).then(|| FstabMount {
                spec: spec.to_owned(),
                point: point.to_owned(),
                subvolume: subvolume.map(str::to_owned),
            })
        })
        .collect();
    found.sort_by_key(|mount| OURS.iter().position(|point| *point == mount.point));
    found
}

/// The partitions of the written disk that the lines name, and the points of those that name something else.
#[must_use]
pub fn resolve(fstab: &[FstabMount], nodes: &[PartitionNode], table: &Table) -> (Vec<Extra>, Vec<String>) {
    let (mut extras, mut unknown) = (Vec::new(), Vec::new());
    for mount in fstab {
        let found = named(&mount.spec, nodes, table).and_then(|node| {
            let system = File::open(&node.path).and_then(|file| filesystem::probe(&file));
            let system = system
                .ok()
                .flatten()
                .filter(|system| *system != FileSystem::Vfat)?;
            Some((node.clone(), system))
        });
        match found {
            Some((node, system)) => extras.push(Extra {
                point: mount.point.clone(),
                node,
                system,
                subvolume: mount.subvolume.clone(),
            }),
            None if UNIMPORTANT.contains(&mount.point.as_str()) => {}
            None => unknown.push(format!("/{}", mount.point)),
        }
    }
    (extras, unknown)
}

/// What the device file of a logical volume is called by device mapper.
const MAPPED: &str = "MAPPED";

/// The tag and value of a specification of fstab(5) that can be looked for from outside of the running system.
fn tagged(spec: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some(file) = spec.strip_prefix("/dev/") {
        let (folder, value) = file.split_once('/')?;
        return Some(match (folder, value.split_once('/')) {
            ("disk", Some(("by-uuid", value))) => ("UUID", value.into()),
            ("disk", Some(("by-label", value))) => ("LABEL", value.into()),
            ("disk", Some(("by-partuuid", value))) => ("PARTUUID", value.into()),
            ("mapper", None) => (MAPPED, value.into()),
            // Group and volume, whose hyphens are doubled to tell them from the one between.
            (group, None) => {
                let doubled = |name: &str| name.replace('-', "--");
                (MAPPED, format!("{}-{}", doubled(group), doubled(value)).into())
            }
            _ => return None,
        });
    }
    let (tag, value) = spec.split_once('=')?;
    ["UUID", "LABEL", "PARTUUID"]
        .contains(&tag)
        .then(|| (tag, value.trim_matches('"').into()))
}

fn volume(node: &PartitionNode) -> Option<DiskContent> {
    let file = File::open(&node.path).ok()?;
    inventory::volume(&file, node.size_bytes)
}

/// The partitions that a specification names.
fn all_named<'n>(spec: &str, nodes: &'n [PartitionNode], table: &Table) -> Option<Vec<&'n PartitionNode>> {
    let (tag, value) = tagged(spec)?;
    let value = &*value;
    let matching = nodes.iter().filter(|node| match tag {
        MAPPED => node.number == 0 && node.path.ends_with(Path::new("mapper").join(value)),
        "UUID" => volume(node).is_some_and(|volume| volume.uuid.eq_ignore_ascii_case(value)),
        "LABEL" => volume(node).is_some_and(|volume| volume.label == value),
        _ => table
            .partitions
            .iter()
            .find(|partition| partition.number == node.number)
            .is_some_and(|partition| partuuid(table.scheme, partition).eq_ignore_ascii_case(value)),
    });
    Some(matching.collect())
}

/// The one partition that a specification of fstab(5) names. Two of one name: who knows which is meant.
fn named<'n>(spec: &str, nodes: &'n [PartitionNode], table: &Table) -> Option<&'n PartitionNode> {
    match all_named(spec, nodes, table)?[..] {
        [node] => Some(node),
        _ => None,
    }
}

/// Whether what a specification names is on the written disk or on another one of the machine.
#[must_use]
pub fn presence(spec: &str, nodes: &[PartitionNode], table: &Table, disks: &[Disk]) -> Presence {
    // File systems inside of these have names that only show when they are opened.
    const OPAQUE: [&str; 7] = ["lvm-pv", "md-raid", "luks", "zfs", "bcache", "ddf", "imsm"];
    let Some(here) = all_named(spec, nodes, table) else {
        return Presence::Unknown;
    };
    if !here.is_empty() {
        return Presence::Here;
    }
    let opaque = |content: &DiskContent| OPAQUE.contains(&content.kind.as_str());
    let (tag, value) = match tagged(spec) {
        Some((tag, value)) if tag != MAPPED => (tag, value),
        _ => return Presence::Unknown,
    };
    let elsewhere = disks.iter().any(|disk| {
        disk.contents.iter().any(|content| {
            opaque(content) || content.uuid.eq_ignore_ascii_case(&value) || content.label == *value
        })
    });
    // Labels of FAT's root folder, of NTFS and of exFAT are not read; nor are GUIDs of other disks' partitions.
    let unread = tag == "PARTUUID" && disks.len() > 1
        || tag == "LABEL"
            && nodes
                .iter()
                .filter_map(volume)
                .any(|volume| volume.label.is_empty());
    if elsewhere || unread || nodes.iter().filter_map(volume).any(|volume| opaque(&volume)) {
        return Presence::Unknown;
    }
    Presence::Absent
}

fn partuuid(scheme: Scheme, partition: &Partition) -> String {
    match scheme {
        Scheme::Mbr(signature) => {
            format!("{:08x}-{:02x}", u32::from_le_bytes(signature), partition.number)
        }
        Scheme::Gpt | Scheme::None => uuid::Uuid::from_bytes_le(partition.unique).to_string(),
    }
}

/// A root with all that belongs below it. It is unmounted when the value goes, the innermost first.
#[derive(Debug)]
pub(super) struct Tree {
    point: PathBuf,
    mounts: Vec<Mount>,
}

impl Tree {
    /// Mounts the extras below a root that is mounted.
    pub(super) fn grow(root: Mount, extras: &[Extra], read_only: bool) -> Result<Self, FinishError> {
        let mut tree = Self {
            point: root.point().to_path_buf(),
            mounts: vec![root],
        };
        for extra in extras {
            // A link on the way leads out of the tree, or to where the running system would not mount it either.
            let confined = ConfinedRoot::open(&tree.point)?;
            let mut above = String::new();
            for part in extra.point.split('/') {
                above = if above.is_empty() {
                    part.to_owned()
                } else {
                    format!("{above}/{part}")
                };
                if confined.kind(&above)? != Some(Kind::Folder) {
                    return Err(FinishError::Separate {
                        points: format!("/{}", extra.point),
                    });
                }
            }
            drop(confined);
            let point = tree.point.join(&extra.point);
            let mount = mount_node(
                &point,
                &extra.node,
                extra.system,
                extra.subvolume.as_deref(),
                read_only,
            )?;
            tree.mounts.push(mount);
        }
        Ok(tree)
    }

    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Unmounts all of it, with all written back.
    pub(super) fn unmount(mut self) -> Result<(), FinishError> {
        while let Some(mount) = self.mounts.pop() {
            unmount(mount)?;
        }
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        while let Some(mount) = self.mounts.pop() {
            drop(mount);
        }
    }
}

/// The tree of a layout at one of the agent's mount points.
pub(super) fn mount_tree(
    places: &Places,
    name: &str,
    (root, system, subvolume): (&PartitionNode, FileSystem, Option<&str>),
    extras: &[Extra],
    read_only: bool,
) -> Result<Tree, FinishError> {
    let mount = mount_node(&places.mounts.join(name), root, system, subvolume, read_only)?;
    Tree::grow(mount, extras, read_only)
}

#[cfg(test)]
pub(super) mod tests;
