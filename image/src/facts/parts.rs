//! The partitions of a disk with what they hold, and how they make up one file tree.

use super::disk::ReadAt;
use super::fault::{Fault, Work};
use super::firmware;
use super::model::{EfiPartition, Fact, FstabEntry, VolumeFacts};
use super::probe::{Content, probe};
use super::tree::Tree;
use super::volume::{Extent, Volume};
use crate::{PartitionEntry, PartitionSummary, PartitionTable};

/// One partition, or a disk without any.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Nothing when the whole disk is one file system.
    entry: Option<PartitionEntry>,
    size: u64,
    content: Result<Option<Content<'a>>, Fault>,
}

/// Looks into every partition of the table, or at the disk when there is no table.
pub(super) fn read<'a>(disk: &'a dyn ReadAt, partitions: &PartitionSummary, work: &'a Work) -> Vec<Part<'a>> {
    let piece = |first_byte: u64, size: u64| Extent {
        disk,
        first_byte,
        size: size.min(disk.size_bytes().saturating_sub(first_byte)),
        work,
    };
    if partitions.table == PartitionTable::None {
        let extent = piece(0, disk.size_bytes());
        return vec![Part {
            entry: None,
            size: extent.size,
            content: probe(extent),
        }];
    }
    let holds_others = |entry: &&PartitionEntry| {
        partitions.table == PartitionTable::Mbr
            && matches!(entry.type_id.as_str(), "0x05" | "0x0f" | "0x85" | "0xee")
    };
    let entries = partitions.partitions.iter().filter(|entry| !holds_others(entry));
    entries
        .map(|entry| Part {
            content: probe(piece(entry.first_byte, entry.size_bytes)),
            size: entry.size_bytes,
            entry: Some(entry.clone()),
        })
        .collect()
}

impl Part<'_> {
    /// The file system, or why there is none to read.
    pub fn volume(&self) -> Result<&dyn Volume, String> {
        match &self.content {
            Ok(Some(content)) => content
                .volume()
                .map_err(|why| format!("{} ({}): {why}", self.name(), content.kind())),
            Ok(None) => Err(format!("{}: what it holds is not known", self.name())),
            Err(fault) => Err(format!("{}: {}", self.name(), fault.reason())),
        }
    }

    /// The file system of a Linux system, which is never FAT.
    fn linux(&self) -> Option<&dyn Volume> {
        match &self.content {
            Ok(Some(Content::Ext(ext))) => Some(ext),
            _ => None,
        }
    }

    fn number(&self) -> Option<u32> {
        self.entry.as_ref().map(|entry| entry.number)
    }

    fn name(&self) -> String {
        match self.number() {
            Some(number) => format!("partition {number}"),
            None => "the disk".to_owned(),
        }
    }

    /// Whether `fstab` means this one by `device`.
    fn is(&self, device: &str) -> bool {
        let same = |wanted: &str, got: &str| !got.is_empty() && wanted.eq_ignore_ascii_case(got);
        let by_link = device
            .strip_prefix("/dev/disk/by-")
            .and_then(|link| link.split_once('/'));
        let Some((kind, value)) = device.split_once('=').or(by_link) else {
            return false;
        };
        let content = self.content.as_ref().ok().and_then(Option::as_ref);
        let entry = self.entry.as_ref();
        match kind.to_ascii_lowercase().as_str() {
            "uuid" => content.is_some_and(|content| same(value, content.uuid())),
            "label" => content.is_some_and(|content| same(value, content.label())),
            "partuuid" => entry.is_some_and(|entry| same(value, &entry.unique_id)),
            "partlabel" => entry.is_some_and(|entry| same(value, &entry.name)),
            _ => false,
        }
    }

    fn facts(&self, mounted_at: Option<String>) -> VolumeFacts {
        let content = self.content.as_ref().ok().and_then(Option::as_ref);
        VolumeFacts {
            partition: self.number(),
            kind: content.map(|content| content.kind().to_owned()),
            label: content.map_or(String::new(), |content| content.label().to_owned()),
            uuid: content.map_or(String::new(), |content| content.uuid().to_owned()),
            mounted_at,
            size_bytes: self.size,
            used_bytes: match self.volume() {
                Ok(volume) => fact(volume.used_bytes()),
                Err(why) => Fact::Unknown(why),
            },
            unclean: content.is_some_and(Content::is_unclean),
        }
    }
}

/// A fact out of what reading it gave.
pub(super) fn fact<T>(read: Result<T, Fault>) -> Fact<T> {
    match read {
        Ok(value) => Fact::Known(value),
        Err(fault) => Fact::Unknown(fault.reason()),
    }
}

/// The number in `parts` of the one that holds an operating system.
pub(super) fn find_root(parts: &[Part<'_>]) -> Option<usize> {
    parts.iter().position(|part| {
        let Some(volume) = part.linux() else { return false };
        let tree = Tree::new(volume);
        let there = |path| tree.exists(path).unwrap_or(false);
        there("/etc/os-release") || there("/usr/lib/os-release") || (there("/etc/fstab") && there("/usr"))
    })
}

/// Why no root was found, with what could not be read.
pub(super) fn why_no_root(parts: &[Part<'_>]) -> String {
    let mut reason = "no file system that can be read holds an operating system".to_owned();
    let unreadable = parts.iter().filter(|part| !matches!(part.content, Ok(None)));
    for why in unreadable.filter_map(|part| part.volume().err()) {
        reason = format!("{reason}; {why}");
    }
    reason
}

/// A partition that has kernels at its top: `/boot` of a system whose root cannot be read.
pub(super) fn find_boot<'a>(parts: &'a [Part<'_>]) -> Option<&'a dyn Volume> {
    parts.iter().find_map(|part| {
        let volume = part.linux()?;
        let entries = Tree::new(volume).list("").ok()?;
        let kernel = entries
            .iter()
            .any(|entry| entry.name.starts_with("vmlinuz-") || entry.name.starts_with("Image-"));
        kernel.then_some(volume)
    })
}

/// The tree with everything mounted that `fstab` says.
pub(super) fn mounted<'a>(root: &'a dyn Volume, parts: &'a [Part<'_>], fstab: &[FstabEntry]) -> Tree<'a> {
    let mut tree = Tree::new(root);
    for entry in fstab
        .iter()
        .filter(|entry| entry.path.len() > 1 && entry.path.starts_with('/'))
    {
        if !on_disk(entry) {
            continue;
        }
        let volume = match parts.iter().find(|part| part.is(&entry.device)) {
            Some(part) => part.volume(),
            None => Err(format!("no partition of the image is {}", entry.device)),
        };
        tree.mount(&entry.path, volume);
    }
    tree
}

/// Whether a line of `fstab` mounts a file system that is not made in memory.
fn on_disk(entry: &FstabEntry) -> bool {
    let device = entry.device.as_str();
    let bind = entry
        .options
        .split(',')
        .any(|option| matches!(option, "bind" | "rbind"));
    !bind && (device.contains('=') || device.starts_with("/dev/"))
}

/// What each partition holds, and where it is mounted.
pub(super) fn volumes(parts: &[Part<'_>], root: Option<usize>, fstab: &[FstabEntry]) -> Vec<VolumeFacts> {
    let shown = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.entry.is_some() || !matches!(part.content, Ok(None)));
    shown
        .map(|(index, part)| {
            let mounted = fstab
                .iter()
                .find(|entry| entry.path.starts_with('/') && part.is(&entry.device));
            part.facts(match mounted {
                _ if root == Some(index) => Some("/".to_owned()),
                mounted => mounted.map(|entry| entry.path.clone()),
            })
        })
        .collect()
}

/// Bytes in use in all file systems: known when every one of them can be read.
pub(super) fn used_bytes(volumes: &[VolumeFacts]) -> Fact<u64> {
    let mut sum = 0_u64;
    let mut any = false;
    for volume in volumes {
        match (&volume.used_bytes, volume.kind.as_deref()) {
            (_, None | Some("swap")) => {}
            (Fact::Known(used), _) => {
                any = true;
                sum = sum.saturating_add(*used);
            }
            (Fact::Unknown(why), _) => return Fact::Unknown(why.clone()),
        }
    }
    if any {
        Fact::Known(sum)
    } else {
        Fact::Unknown("no file system was found".to_owned())
    }
}

/// The EFI system partition: the one that is marked so, or else a FAT file system with a folder `EFI`.
pub(super) fn efi_partition(parts: &[Part<'_>], partitions: &PartitionSummary) -> Fact<Option<EfiPartition>> {
    let marked = |part: &&Part<'_>| {
        part.entry
            .as_ref()
            .is_some_and(|entry| firmware::is_esp(partitions, &entry.type_id))
    };
    let with_folder = |part: &&Part<'_>| {
        let Ok(Some(Content::Fat(fat))) = &part.content else {
            return false;
        };
        Tree::new(fat).exists("EFI").unwrap_or(false)
    };
    let found = parts
        .iter()
        .find(marked)
        .or_else(|| parts.iter().find(with_folder));
    let Some(part) = found else {
        return Fact::Known(None);
    };
    match part.volume() {
        Ok(volume) => fact(firmware::efi_partition(&Tree::new(volume), part.number()).map(Some)),
        Err(why) => Fact::Unknown(why),
    }
}
