//! Whether a disk has heads that have to move.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};

/// Whether the block device `device` rotates for certain.
pub(super) fn rotates(device: u64) -> bool {
    rotates_by(&disk_folder(device))
}

/// Where the kernel tells of the disk that `device` is, or is a partition of.
pub(super) fn disk_folder(device: u64) -> PathBuf {
    whole_disk(Path::new(&format!(
        "/sys/dev/block/{}:{}",
        major(device),
        minor(device)
    )))
}

/// A partition's folder lies in that of its disk.
fn whole_disk(entry: &Path) -> PathBuf {
    if entry.join("partition").exists() {
        entry.join("..")
    } else {
        entry.to_owned()
    }
}

/// The kernel's own flag is also set for virtual disks, which say nothing of their media, and for loop devices over
/// them. Treating those as if they had heads would throw their depth away, so the flag counts for disks that are SCSI
/// or SATA, and only if they don't say themselves that they don't rotate.
fn rotates_by(disk: &Path) -> bool {
    let flagged = fs::read_to_string(disk.join("queue/rotational")).is_ok_and(|text| text.trim() == "1");
    let scsi = fs::canonicalize(disk.join("device/subsystem")).is_ok_and(|bus| bus.ends_with("bus/scsi"));
    // "Block Device Characteristics", bytes 4 and 5: the rate, 0 if it isn't told, 1 for solid state.
    let rate = fs::read(disk.join("device/vpd_pgb1"))
        .ok()
        .and_then(|page| Some(u16::from_be_bytes([*page.get(4)?, *page.get(5)?])));
    flagged && scsi && rate.is_none_or(|rate| rate > 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_disks_that_rotate_for_certain_count() {
        // The kernel's flag, the bus, the page, and whether it is a partition.
        let table: [(&str, &str, Option<[u8; 6]>, bool); 7] = [
            ("1", "scsi", Some([0, 0xB1, 0, 60, 0x1C, 0x20]), true),
            ("1", "scsi", None, true),
            ("0", "scsi", None, false),
            ("1", "scsi", Some([0, 0xB1, 0, 60, 0, 1]), false),
            ("1", "scsi", Some([0, 0xB1, 0, 60, 0, 0]), false),
            ("1", "virtio", None, false),
            ("1", "", None, false),
        ];
        for (flag, bus, page, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            let disk = dir.path().join("block/sda");
            fs::create_dir_all(disk.join("queue")).unwrap();
            fs::create_dir_all(disk.join("sda1/partition")).unwrap();
            fs::write(disk.join("queue/rotational"), format!("{flag}\n")).unwrap();
            if !bus.is_empty() {
                let device = disk.join("device");
                fs::create_dir_all(&device).unwrap();
                fs::create_dir_all(dir.path().join("bus").join(bus)).unwrap();
                symlink(dir.path().join("bus").join(bus), device.join("subsystem")).unwrap();
                if let Some(page) = page {
                    fs::write(device.join("vpd_pgb1"), page).unwrap();
                }
            }
            assert_eq!(rotates_by(&disk), expected, "{flag} {bus} {page:?}");
            assert_eq!(
                rotates_by(&whole_disk(&disk.join("sda1"))),
                expected,
                "partition, {flag} {bus}"
            );
        }
    }
}
