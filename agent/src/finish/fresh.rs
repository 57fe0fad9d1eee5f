//! Fresh identifiers of disk and partitions: two machines of one image share none, and a machine with two copies of a disk
//! starts from the right one.
//!
//! First the files that name the old ones are changed, then the table: whoever interrupts this finds either the image's
//! table, and it is done again with the same result, or the new one, and it is done.

use std::fs::File;

use super::{
    FinishError, Layout, Places, WrittenDisk,
    confined::{ConfinedError, ConfinedRoot, Kind},
    family,
    filesystem::{self, FileSystem},
    mount_node,
    settle::PartitionNode,
    table, unmount,
};
use crate::inventory;

mod names;
pub(super) mod systems;

use names::{Change, Pair};

/// Longest file that is changed, and longest kernel image that is searched.
pub(super) const MAX_FILE: u64 = 4 << 20;
const MAX_KERNEL: u64 = 96 << 20;
const MAX_FILES: usize = 4096;
/// Kernel images with their command line inside, often signed.
pub(super) const KERNELS: [&str; 2] = ["EFI/Linux/*.efi", "boot/efi/EFI/Linux/*.efi"];
/// Where a folder of the root may be a file system of its own.
const MOUNTED: [&str; 3] = ["boot/efi/", "boot/", "efi/"];

/// What is to be changed on a disk.
#[derive(Debug)]
pub(super) struct Fresh {
    change: Change,
}

/// What was done about the names in files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// These files name the new ones now; the table is next.
    Renamed(Vec<String>),
    /// This names the old ones, or may, and can't be changed: the table has to keep them.
    Kept(String),
}

/// The change that a disk needs; none when it has no table, or fresh identifiers already.
///
/// # Errors
/// When the table is damaged.
pub(super) fn needed(disk: &WrittenDisk, file: &mut File) -> Result<Option<Fresh>, FinishError> {
    let secret = secret(disk);
    let old = table::identity(file, disk.sector_bytes)?;
    Ok(old
        .and_then(|old| names::change(&old, secret.as_bytes()))
        .map(|change| Fresh { change }))
}

/// Of this boot of this machine, so that a step that was interrupted makes the same identifiers again.
fn secret(disk: &WrittenDisk) -> String {
    format!("{} {}", inventory::boot_id("/".as_ref()), disk.name)
}

impl Fresh {
    /// The identifiers for the table.
    pub(super) fn identity(&self) -> &table::Identity {
        &self.change.identity
    }

    /// Changes the files that name old identifiers, on every file system of the disk.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub(super) fn rename(&self, places: &Places, layout: &Layout) -> Result<Outcome, FinishError> {
        rename(places, layout, &self.change.pairs, &KERNELS)
    }
}

/// Changes the files that name old identifiers, unless one of the `images`, which cannot be changed, names one.
fn rename(places: &Places, layout: &Layout, pairs: &[Pair], images: &[&str]) -> Result<Outcome, FinishError> {
    let active = layout.activate(places)?;
    let systems = file_systems(layout);
    let mut users = Vec::new();
    for (node, system, is_root) in &systems {
        let found = with(places, layout, (node, *system, *is_root), true, |root| {
            Ok((
                signed_user(root, images, pairs)?,
                users_of(root, *is_root, pairs)?,
            ))
        });
        match found {
            Ok((Some(kernel), _)) => return Ok(Outcome::Kept(kernel)),
            Ok((None, files)) => users.push(files),
            // Who knows what it names.
            Err(FinishError::Mount { source, .. }) if !is_root => {
                return Ok(Outcome::Kept(format!("{} ({source})", node.path.display())));
            }
            Err(error) => return Err(error),
        }
    }
    let mut renamed = Vec::new();
    for ((node, system, is_root), files) in systems.iter().zip(users) {
        if files.is_empty() {
            continue;
        }
        with(places, layout, (node, *system, *is_root), false, |root| {
            for path in &files {
                root.rewrite(path, MAX_FILE, |text| names::replaced(text, pairs))?;
            }
            Ok(())
        })?;
        renamed.extend(files);
    }
    active.end().map_err(FinishError::Volumes)?;
    Ok(Outcome::Renamed(renamed))
}

/// Partitions with file systems that are mounted, the root among them.
pub(super) fn file_systems(layout: &Layout) -> Vec<(PartitionNode, FileSystem, bool)> {
    let others = layout
        .partitions
        .iter()
        .filter(|node| node.path != layout.root.path);
    let known = others.filter_map(|node| {
        let system = File::open(&node.path).and_then(|file| filesystem::probe(&file));
        Some((node.clone(), system.ok()??, false))
    });
    std::iter::once((layout.root.clone(), layout.system, true))
        .chain(known)
        .collect()
}

pub(super) fn with<T>(
    places: &Places,
    layout: &Layout,
    (node, system, is_root): (&PartitionNode, FileSystem, bool),
    read_only: bool,
    work: impl FnOnce(&ConfinedRoot) -> Result<T, ConfinedError>,
) -> Result<T, FinishError> {
    let subvolume = layout.subvolume.filter(|_| is_root);
    let mount = mount_node(&places.mounts.join("probe"), node, system, subvolume, read_only)?;
    let result = ConfinedRoot::open(mount.point()).and_then(|root| work(&root));
    unmount(mount)?;
    Ok(result?)
}

/// A kernel image that names an old identifier.
fn signed_user(
    root: &ConfinedRoot,
    images: &[&str],
    pairs: &[Pair],
) -> Result<Option<String>, ConfinedError> {
    for pattern in images {
        for path in matching(root, pattern)? {
            let image = match root.read(&path, MAX_KERNEL) {
                Ok(image) => image.unwrap_or_default(),
                // Too large to be looked through: it may.
                Err(_) => return Ok(Some(path)),
            };
            if names::names_any(&image, pairs) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// The files of a file system that name old identifiers.
fn users_of(root: &ConfinedRoot, is_root: bool, pairs: &[Pair]) -> Result<Vec<String>, ConfinedError> {
    let mut found = Vec::new();
    for pattern in &family::common().identifier_files {
        for pattern in patterns(pattern, is_root) {
            for path in matching(root, pattern)? {
                if found.contains(&path) || root.kind(&path)? == Some(Kind::Folder) {
                    continue;
                }
                // What is no file, or too long to be one of these, names nothing.
                let text = root.read(&path, MAX_FILE).ok().flatten().unwrap_or_default();
                if names::names_any(&text, pairs) {
                    found.push(path);
                }
            }
        }
    }
    Ok(found)
}

/// A pattern as it is below the root, or below the file systems that may be mounted there.
pub(super) fn patterns(pattern: &str, is_root: bool) -> impl Iterator<Item = &str> {
    let below = MOUNTED.iter().filter_map(|folder| pattern.strip_prefix(folder));
    std::iter::once(pattern)
        .filter(move |_| is_root)
        .chain(below.filter(move |_| !is_root))
}

/// Paths for a pattern whose components may have one `*`; one without is a path whether it is there or not.
pub(super) fn matching(root: &ConfinedRoot, pattern: &str) -> Result<Vec<String>, ConfinedError> {
    let mut paths = vec![String::new()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for path in &paths {
            let below = |name: &str| {
                if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                }
            };
            match part.split_once('*') {
                None => next.push(below(part)),
                Some((front, back)) => {
                    let names = root.list(path)?.into_iter().filter(|name| {
                        name.len() >= front.len() + back.len()
                            && name.starts_with(front)
                            && name.ends_with(back)
                    });
                    next.extend(names.map(|name| below(&name)));
                }
            }
        }
        next.truncate(MAX_FILES);
        paths = next;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests;
