//! Is the disk what was imported? Outside of the root file system and the partition table every byte must be the
//! image's; inside the root file system every file must be, but for those that the finish is there to change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gptman::GPT;

use crate::process;

const SECTOR: u64 = 512;
/// Boot code ends here; the protective partition entry follows, whose length depends on the disk.
const BOOT_CODE: u64 = 446;
const BOOT_SIGNATURE: u64 = 510;
/// Header and 128 entries.
const TABLE_SECTORS: u64 = 33;

/// Where the root file system lies.
#[derive(Debug, Clone)]
pub struct Roots {
    /// In the image.
    pub image: Range<u64>,
    /// On the disk, where it may have grown.
    pub disk: Range<u64>,
}

/// Compares all that the finish does not touch: boot code, partitions but the root, gaps between them; and that both
/// partition tables of the disk are valid, in place, and list the image's partitions.
pub fn boot_code_and_fixed_partitions(image: &Path, disk: &Path) -> Result<Roots> {
    let (image_file, image_table) = open(image)?;
    let (disk_file, disk_table) = open(disk)?;
    let disk_bytes = length(&disk_file)?;
    let last = disk_bytes / SECTOR - 1;
    ensure!(
        disk_table.header.primary_lba == 1,
        "the primary partition table is not valid"
    );
    ensure!(
        disk_table.header.backup_lba == last,
        "the backup partition table is not at the end of the disk"
    );
    let mut backup = [0; 8];
    disk_file
        .read_exact_at(&mut backup, last * SECTOR)
        .context("cannot read the backup table")?;
    ensure!(
        backup == *b"EFI PART",
        "there is no backup partition table in the last sector"
    );

    let roots = same_partitions(&image_table, &disk_table)?;
    let image_end = length(&image_file)? - TABLE_SECTORS * SECTOR;
    let table_end = (1 + TABLE_SECTORS) * SECTOR;
    same_bytes(&image_file, &disk_file, 0..BOOT_CODE)?;
    same_bytes(&image_file, &disk_file, BOOT_SIGNATURE..SECTOR)?;
    same_bytes(&image_file, &disk_file, table_end..roots.image.start)?;
    let behind_root = roots.image.end.max(roots.disk.end);
    if behind_root < image_end {
        same_bytes(&image_file, &disk_file, behind_root..image_end)?;
    }
    Ok(roots)
}

/// Compares the root file systems file by file; answers the paths that differ, which are all among the expected ones.
pub fn root_file_systems(image: &Path, disk: &Path, roots: &Roots, folder: &Path) -> Result<Vec<String>> {
    let before = tree(image, roots.image.start, &folder.join("image-root"))?;
    let after = tree(disk, roots.disk.start, &folder.join("disk-root"))?;
    let mut differing: Vec<String> = Vec::new();
    for path in before.keys().chain(after.keys()) {
        if before.get(path) != after.get(path) && differing.last() != Some(path) {
            differing.push(path.clone());
        }
    }
    differing.sort();
    differing.dedup();
    let unexpected: Vec<&String> = differing.iter().filter(|path| !expected(path)).collect();
    ensure!(
        unexpected.is_empty(),
        "paths that nobody should have changed: {unexpected:?}"
    );
    for path in REQUIRED {
        ensure!(after.contains_key(*path), "/{path} is missing on the disk");
    }
    Ok(differing)
}

/// Disk and partitions have identifiers of their own, none of them the image's.
pub fn fresh_identifiers(image: &Path, disk: &Path) -> Result<()> {
    let of = |path: &Path| -> Result<Vec<[u8; 16]>> {
        let (_, table) = open(path)?;
        let partitions = table.iter().filter(|(_, part)| part.is_used());
        Ok(std::iter::once(table.header.disk_guid)
            .chain(partitions.map(|(_, part)| part.unique_partition_guid))
            .collect())
    };
    let (before, after) = (of(image)?, of(disk)?);
    ensure!(
        before.len() == after.len() && after.iter().all(|guid| !before.contains(guid)),
        "the disk has identifiers of the image: {before:02x?} {after:02x?}"
    );
    Ok(())
}

/// `e2fsck -fn`: the file system as the agent left it is clean.
pub fn check_file_system(disk: &Path, roots: &Roots) -> Result<()> {
    let place = format!("{}?offset={}", disk.display(), roots.disk.start);
    let answer = process::ask(
        Command::new("e2fsck").args(["-f", "-n", &place]),
        Duration::from_secs(120),
    )?;
    ensure!(
        answer.success,
        "the root file system is damaged: {}{}",
        answer.out,
        answer.err
    );
    Ok(())
}

/// What the finish must have put there.
const REQUIRED: &[&str] = &[
    "opt/imprint/imprint-guest",
    "etc/systemd/system/imprint-report.service",
    "etc/systemd/system/imprint-guest.service",
    "etc/imprint/guest-files.sha256",
    "etc/imprint/guest.json",
    "etc/imprint/deployment.json",
    "var/lib/cloud/seed/nocloud/meta-data",
    "var/lib/cloud/seed/nocloud/user-data",
    "var/log/imprint-install.json",
    "var/log/imprint-install.log",
    "etc/imprint/network.json",
    "var/lib/imprint/network.json",
];

/// What the finish may change; a name with a slash at its end stands for all below it too.
const EXPECTED: &[&str] = &[
    "opt/imprint/",
    "etc/imprint/",
    "etc/systemd/system/imprint-report.service",
    "etc/systemd/system/imprint-guest.service",
    "etc/systemd/system/multi-user.target.wants/imprint-report.service",
    "etc/systemd/system/multi-user.target.wants/imprint-guest.service",
    "etc/systemd/system/imprint-network.service",
    "etc/systemd/system/multi-user.target.wants/imprint-network.service",
    "etc/systemd/system/imprint-network-apply.service",
    "etc/systemd/system/multi-user.target.wants/imprint-network-apply.service",
    "etc/cloud/cloud.cfg.d/99-imprint.cfg",
    "etc/cloud/cloud.cfg.d/99-imprint-network.cfg",
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/cloud/",
    "var/lib/systemd/random-seed",
    "var/log/imprint-install.json",
    "var/log/imprint-install.log",
    // The network as it was given, and what the guest plugin has to tell.
    "var/lib/imprint/",
];

fn expected(path: &str) -> bool {
    EXPECTED.iter().any(|name| match name.strip_suffix('/') {
        Some(folder) => path == folder || path.starts_with(name),
        None => path == *name,
    })
}

fn open(path: &Path) -> Result<(File, GPT)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let table =
        GPT::find_from(&mut file).with_context(|| format!("{} has no partition table", path.display()))?;
    Ok((file, table))
}

fn length(file: &File) -> Result<u64> {
    Ok(file.metadata().context("cannot look at a disk")?.len())
}

/// The same partitions in the same places; only the last one may have grown.
fn same_partitions(image: &GPT, disk: &GPT) -> Result<Roots> {
    let mut roots = None;
    let last = image
        .iter()
        .filter(|(_, part)| part.is_used())
        .max_by_key(|(_, part)| part.starting_lba);
    let (last, _) = last.context("the image has no partitions")?;
    for ((number, from_image), (_, on_disk)) in image.iter().zip(disk.iter()) {
        ensure!(
            from_image.is_used() == on_disk.is_used(),
            "partition {number} is not in both tables"
        );
        if !from_image.is_used() {
            continue;
        }
        let facts = |part: &gptman::GPTPartitionEntry| {
            (
                part.partition_type_guid,
                part.starting_lba,
                part.attribute_bits,
                part.partition_name.as_str().to_owned(),
            )
        };
        ensure!(
            facts(from_image) == facts(on_disk),
            "partition {number} has changed"
        );
        let bytes =
            |part: &gptman::GPTPartitionEntry| part.starting_lba * SECTOR..(part.ending_lba + 1) * SECTOR;
        if number == last {
            ensure!(
                on_disk.ending_lba >= from_image.ending_lba,
                "the last partition has shrunk"
            );
            roots = Some(Roots {
                image: bytes(from_image),
                disk: bytes(on_disk),
            });
        } else {
            ensure!(
                on_disk.ending_lba == from_image.ending_lba,
                "partition {number} has another size"
            );
        }
    }
    roots.context("the image has no partitions")
}

fn same_bytes(image: &File, disk: &File, range: Range<u64>) -> Result<()> {
    let mut position = range.start;
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while position < range.end {
        let step = usize::try_from((range.end - position).min(1 << 20)).context("a block too large")?;
        image
            .read_exact_at(&mut one[..step], position)
            .context("cannot read the image")?;
        disk.read_exact_at(&mut other[..step], position)
            .context("cannot read the disk")?;
        if let Some(at) = (0..step).find(|at| one[*at] != other[*at]) {
            bail!(
                "byte {} differs from the image: {} instead of {}",
                position + at as u64,
                other[at],
                one[at]
            );
        }
        position += step as u64;
    }
    Ok(())
}

/// A file as it is compared: kind and permissions, owner, and content or target.
type Entry = (u32, u32, u32, String);

fn tree(disk: &Path, offset: u64, folder: &Path) -> Result<BTreeMap<String, Entry>> {
    fs::create_dir_all(folder).context("cannot create a folder for the file system")?;
    let request = format!("rdump / {}", folder.display());
    let place = format!("{}?offset={offset}", disk.display());
    let mut debugfs = Command::new("debugfs");
    process::run(debugfs.args(["-R", &request, &place]), Duration::from_secs(300))?;
    let mut entries = BTreeMap::new();
    collect(folder, "", &mut entries)?;
    ensure!(
        entries.len() > 1000,
        "only {} files could be read from {}",
        entries.len(),
        disk.display()
    );
    fs::remove_dir_all(folder).context("cannot remove the file system's copy")?;
    Ok(entries)
}

fn collect(folder: &Path, prefix: &str, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.context("cannot list a folder")?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let facts = entry.metadata().context("cannot look at a file")?;
        let content = if facts.is_symlink() {
            fs::read_link(entry.path())
                .context("cannot read a link")?
                .display()
                .to_string()
        } else if facts.is_file() {
            blake3::hash(&fs::read(entry.path()).context("cannot read a file")?)
                .to_hex()
                .to_string()
        } else {
            String::new()
        };
        if facts.is_dir() {
            collect(&entry.path(), &format!("{path}/"), entries)?;
        }
        entries.insert(path, (facts.mode(), facts.uid(), facts.gid(), content));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_finish_changes_is_expected() {
        for path in [
            "opt/imprint",
            "opt/imprint/imprint-guest",
            "etc/hostname",
            "var/lib/cloud/seed/nocloud/user-data",
        ] {
            assert!(expected(path), "{path}");
        }
        for path in [
            "opt/imprint-other",
            "etc/passwd",
            "etc/hostname.bak",
            "usr/bin/bash",
            "etc/cloud/cloud.cfg",
        ] {
            assert!(!expected(path), "{path}");
        }
    }

    #[test]
    fn a_single_byte_makes_a_difference() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let mut bytes = vec![7_u8; 3 << 20];
        fs::write(&one, &bytes).unwrap();
        bytes[2_500_000] = 8;
        fs::write(&other, &bytes).unwrap();
        let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
        same_bytes(&one, &other, 0..2_500_000).unwrap();
        same_bytes(&one, &other, 2_500_001..3 << 20).unwrap();
        let error = same_bytes(&one, &other, 5..3 << 20).unwrap_err().to_string();
        assert!(error.contains("byte 2500000"), "{error}");
    }
}
