//! What works with which disk of the running system, for whoever wants to take one away. Nothing is opened: sysfs
//! (Documentation/ABI/stable/sysfs-block), /proc/self/mountinfo and /proc/swaps (proc(5)) are read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::GuestDisk;

/// Disks that are told of.
const MAX_DISKS: usize = 256;
/// Users of each.
const MAX_USERS: usize = 16;
/// Of a user, in characters.
const MAX_TEXT: usize = 200;
/// `/sys/block/NAME/size` counts in these, whatever the disk's sectors are.
const UNIT_BYTES: u64 = 512;

/// All disks below `root` (`/` but in tests) that are devices of their own.
#[must_use]
pub fn read(root: &Path) -> Vec<GuestDisk> {
    let blocks = root.join("sys/block");
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    let mut names: Vec<String> = entries(&blocks);
    names.sort();
    names
        .into_iter()
        .filter(|name| blocks.join(name).join("device").exists())
        .take(MAX_DISKS)
        .map(|name| disk(&blocks, &name, &mounts, &swaps))
        .collect()
}

fn disk(blocks: &Path, name: &str, mounts: &str, swaps: &str) -> GuestDisk {
    let place = blocks.join(name);
    let one_of = |files: [&str; 2]| {
        let texts = files.map(|file| line(&place.join(file)));
        texts
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let mut family = Family::default();
    family.add(blocks, &place);
    let mut users = family.mounts(mounts);
    let swapping = swaps.lines().skip(1).filter_map(|swap| family.swapped(swap));
    users.extend(swapping);
    users.extend(family.holders.iter().map(|holder| format!("part of {holder}")));
    users.dedup();
    users.truncate(MAX_USERS);
    GuestDisk {
        kernel_name: name.to_owned(),
        serial: one_of(["serial", "device/serial"]),
        wwn: one_of(["wwid", "device/wwid"]).to_lowercase(),
        size_bytes: line(&place.join("size")).parse::<u64>().unwrap_or(0) * UNIT_BYTES,
        used_by: users
            .into_iter()
            .map(|user| user.chars().take(MAX_TEXT).collect())
            .collect(),
    }
}

/// A disk with its partitions, and all that is built of them.
#[derive(Debug, Default)]
struct Family {
    /// `major:minor` of each.
    numbers: BTreeSet<String>,
    /// Kernel names of each.
    names: BTreeSet<String>,
    /// Names of what is built of them: "dm-0", "md127".
    holders: BTreeSet<String>,
}

impl Family {
    fn add(&mut self, blocks: &Path, place: &Path) {
        let Some(name) = place.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return;
        };
        if !self.names.insert(name) {
            return;
        }
        self.numbers.insert(line(&place.join("dev")));
        for holder in entries(&place.join("holders")) {
            self.holders.insert(holder.clone());
            self.add(blocks, &blocks.join(holder));
        }
        let partitions: Vec<PathBuf> = entries(place)
            .into_iter()
            .map(|entry| place.join(entry))
            .filter(|entry| entry.join("partition").exists())
            .collect();
        for partition in partitions {
            self.add(blocks, &partition);
        }
    }

    /// "mounted at /srv", for each mount of them. Where a whole file system is mounted, mounts of its folders are not told as well:
    /// services have many of them.
    fn mounts(&self, mounts: &str) -> Vec<String> {
        let all = || mounts.lines().filter_map(|mount| self.mounted(mount));
        let has_whole = all().any(|(_, is_whole)| is_whole);
        all()
            .filter(|(_, is_whole)| *is_whole || !has_whole)
            .map(|(at, _)| format!("mounted at {at}"))
            .collect()
    }

    /// Where one of them is mounted, and whether it is the whole file system, when a line of mountinfo is about that.
    fn mounted<'a>(&self, mount: &'a str) -> Option<(&'a str, bool)> {
        let (before, after) = mount.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let (number, folder, at) = (fields.next()?, fields.next()?, fields.next()?);
        // Btrfs has numbers of its own; there the source tells.
        let source = after.split(' ').nth(1)?.strip_prefix("/dev/").unwrap_or_default();
        let ours = self.numbers.contains(number) || self.names.contains(source);
        ours.then_some((at, folder == "/"))
    }

    fn swapped(&self, swap: &str) -> Option<String> {
        let name = swap.split_whitespace().next()?.strip_prefix("/dev/")?;
        self.names.contains(name).then(|| "swap".to_owned())
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn mounts_swap_and_holders_are_told_with_the_disk_below() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, text) in [
            ("sys/block/vda/device/x", ""),
            ("sys/block/vda/dev", "254:0\n"),
            ("sys/block/vda/size", "2048\n"),
            ("sys/block/vda/vda1/partition", "1\n"),
            ("sys/block/vda/vda1/dev", "254:1\n"),
            ("sys/block/vdb/device/x", ""),
            ("sys/block/vdb/dev", "254:16\n"),
            ("sys/block/vdb/serial", "v01jd3y6n9m1v9s1m6v1\n"),
            ("sys/block/vdb/holders/dm-0/x", ""),
            ("sys/block/dm-0/dev", "253:0\n"),
            ("sys/block/nvme0n1/device/serial", "S3X \n"),
            ("sys/block/nvme0n1/wwid", "EUI.0025\n"),
            ("sys/block/nvme0n1/dev", "259:0\n"),
            ("sys/block/loop0/dev", "7:0\n"),
            (
                "proc/swaps",
                "Filename Type Size Used Priority\n/dev/nvme0n1 partition 1 0 -2\n",
            ),
            (
                "proc/self/mountinfo",
                "29 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
                 30 29 254:1 /etc /etc rw - ext4 /dev/vda1 rw\n\
                 31 29 253:0 / /srv rw shared:2 - xfs /dev/mapper/vg-data rw\n\
                 32 29 0:40 / /scratch rw shared:3 - btrfs /dev/nvme0n1 rw\n",
            ),
        ] {
            put(root, path, text);
        }
        let disks = read(root);
        let told: Vec<_> = disks
            .iter()
            .map(|disk| {
                (
                    disk.kernel_name.as_str(),
                    disk.serial.as_str(),
                    disk.used_by.join(", "),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("nvme0n1", "S3X", "mounted at /scratch, swap".to_owned()),
                ("vda", "", "mounted at /".to_owned()),
                (
                    "vdb",
                    "v01jd3y6n9m1v9s1m6v1",
                    "mounted at /srv, part of dm-0".to_owned()
                ),
            ]
        );
        assert_eq!(
            (disks[0].wwn.as_str(), disks[1].size_bytes),
            ("eui.0025", 1 << 20)
        );
    }

    #[test]
    fn a_system_that_says_nothing_has_no_disks() {
        assert_eq!(read(Path::new("/nowhere")), []);
    }
}
