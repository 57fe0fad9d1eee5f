//! Fresh UUIDs of file systems, when a deployment asks for them.
//!
//! As with the table: first the files that name the old ones, then the file systems, by the programs that know them. Swap
//! keeps its UUID: an initramfs that waits for it to wake up from has the old one inside.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, time::Duration};

use super::{KERNELS, Layout, Outcome, Pair, Places, WrittenDisk, file_systems, names, rename, secret, with};
use crate::{
    finish::{
        FinishError,
        filesystem::FileSystem,
        settle::PartitionNode,
        tool::{self, ToolError},
    },
    inventory,
};

/// Checking every block of a large file system takes minutes.
const PATIENCE: Duration = Duration::from_secs(480);
/// Loaders may have the UUID of the file system with their settings inside.
const LOADERS: [&str; 2] = ["EFI/*/*.efi", "boot/efi/EFI/*/*.efi"];
/// Where GRUB for BIOS keeps its settings. Its image is packed: what it starts by cannot be seen.
const GRUB: [&str; 4] = [
    "boot/grub/i386-pc",
    "boot/grub2/i386-pc",
    "grub/i386-pc",
    "grub2/i386-pc",
];

/// A file system and its names.
#[derive(Debug)]
struct System {
    node: PartitionNode,
    system: FileSystem,
    pair: Pair,
}

/// Gives every file system of the disk a UUID of its own. The answer is how many got one, and notes.
///
/// # Errors
/// When one does not take it; see [`FinishError`].
pub(in crate::finish) fn renew(
    places: &Places,
    disk: &WrittenDisk,
    layout: &Layout,
) -> Result<(usize, Vec<String>), FinishError> {
    let active = layout.activate(places)?;
    let mut notes = Vec::new();
    let mut systems = Vec::new();
    let is_bios = !places.sys.join("firmware/efi").is_dir();
    for (node, system, is_root) in file_systems(layout) {
        let file = File::open(&node.path);
        let Some(volume) = file
            .ok()
            .and_then(|file| inventory::volume(&file, node.size_bytes))
        else {
            continue;
        };
        let name = node.path.file_name().unwrap_or_default().to_string_lossy();
        let Some(pair) = names::renamed(&volume.uuid, secret(disk).as_bytes(), &name) else {
            continue;
        };
        let looked = with(places, layout, (&node, system, is_root), true, |root| {
            GRUB.iter()
                .try_fold(false, |found, path| Ok(found || root.kind(path)?.is_some()))
        });
        let has_grub = match looked {
            Ok(found) => found,
            Err(FinishError::Mount { source, .. }) if !is_root => {
                notes.push(format!("{name} keeps its UUID: it cannot be mounted ({source})"));
                continue;
            }
            Err(error) => return Err(error),
        };
        if is_bios && has_grub {
            notes.push(format!(
                "{name} keeps its UUID: GRUB may start by it, and its image cannot be changed"
            ));
            continue;
        }
        systems.push(System { node, system, pair });
    }
    active.end().map_err(FinishError::Volumes)?;
    if systems.is_empty() {
        return Ok((0, notes));
    }
    let pairs: Vec<Pair> = systems.iter().map(|system| system.pair.clone()).collect();
    let images = [KERNELS, LOADERS].concat();
    match rename(places, layout, &pairs, &images)? {
        Outcome::Kept(file) => {
            notes.push(format!(
                "file systems keep the UUIDs of the image: {file} names one, or may, and cannot be changed"
            ));
            return Ok((0, notes));
        }
        Outcome::Renamed(files) if files.is_empty() => {}
        Outcome::Renamed(files) => notes.push(format!(
            "file systems are named by their new UUIDs in {}",
            files.join(", ")
        )),
    }
    let active = layout.activate(places)?;
    for System { node, system, pair } in &systems {
        set(&places.tools, &node.path, *system, &pair.new).map_err(|source| FinishError::Uuid {
            device: node.path.clone(),
            system: system.name(),
            source,
        })?;
    }
    active.end().map_err(FinishError::Volumes)?;
    Ok((systems.len(), notes))
}

/// Writes the UUID of a file system that is not mounted.
fn set(tools: &Path, device: &Path, system: FileSystem, new: &str) -> Result<(), ToolError> {
    let path = device.to_string_lossy();
    let run = |program: &str, arguments: &[&str], good: &[i32]| {
        tool::run_with(&tools.join(program), program, arguments, PATIENCE, good).map(|_| ())
    };
    match system {
        FileSystem::Ext4 => {
            // Checksums hang on the UUID and are all made again: only for one that was just found sound. 1: it was mended.
            run("e2fsck", &["-f", "-p", &path], &[0, 1])?;
            run("tune2fs", &["-U", new, &path], &[0])
        }
        FileSystem::Xfs => run(
            "xfs_db",
            &["-x", "-p", "xfs_admin", "-c", &format!("uuid {new}"), &path],
            &[0],
        ),
        FileSystem::Btrfs => run("btrfstune", &["-M", new, &path], &[0]),
        FileSystem::Vfat => set_fat(device, new).map_err(|source| ToolError::Start {
            program: "the change of its serial number".to_owned(),
            source,
        }),
    }
}

/// The serial number stands in the first sector, and with FAT32 in a copy of it.
fn set_fat(device: &Path, new: &str) -> std::io::Result<()> {
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let number = u32::from_str_radix(&new.replace('-', ""), 16).map_err(|_| invalid())?;
    let file = File::options().read(true).write(true).open(device)?;
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, 0)?;
    let word = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let (bytes, copy) = (word(11), word(50));
    let (serial, copy) = if sector[82..87] == *b"FAT32" {
        (67, Some(copy).filter(|copy| (1..=32).contains(copy)))
    } else if sector[54..57] == *b"FAT" {
        (39, None)
    } else {
        return Err(invalid());
    };
    if let Some(copy) = copy.filter(|_| matches!(bytes, 512 | 1024 | 2048 | 4096)) {
        let mut other = [0; 512];
        file.read_exact_at(&mut other, copy * bytes)?;
        if other[510..] == [0x55, 0xaa] {
            file.write_all_at(&number.to_le_bytes(), copy * bytes + serial)?;
        }
    }
    file.write_all_at(&number.to_le_bytes(), serial)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
