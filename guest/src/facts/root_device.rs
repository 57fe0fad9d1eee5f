//! The device that `/` is mounted from, by /proc/self/mountinfo (proc(5)).

use std::{fs, path::Path};

/// "/dev/nvme0n1p3 ext4"; empty when the kernel does not say.
pub(super) fn read(root: &Path) -> String {
    let Ok(mounts) = fs::read_to_string(root.join("proc/self/mountinfo")) else {
        return String::new();
    };
    let Some(mount) = root_mount(&mounts) else {
        return String::new();
    };
    // Kernels that mount the root themselves call it /dev/root, which no one can look up.
    let source = if mount.source == "/dev/root" {
        fs::read_link(root.join("sys/dev/block").join(mount.number))
            .ok()
            .and_then(|link| Some(format!("/dev/{}", link.file_name()?.to_str()?)))
            .unwrap_or_else(|| mount.source.to_owned())
    } else {
        unescape(mount.source)
    };
    format!("{source} {}", mount.file_system)
}

#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    number: &'a str,
    file_system: &'a str,
    source: &'a str,
}

/// The topmost mount at `/`: later lines cover earlier ones.
fn root_mount(mounts: &str) -> Option<Mount<'_>> {
    mounts.lines().rev().find_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let number = mount.next()?;
        let mount_point = mount.nth(1)?;
        let mut device = device.split(' ');
        let (file_system, source) = (device.next()?, device.next()?);
        (mount_point == "/").then_some(Mount {
            number,
            file_system,
            source,
        })
    })
}

/// Spaces and the like are octal in mountinfo.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        23 29 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        29 1 254:3 / / rw,relatime shared:1 - ext4 /dev/vda3 rw\n\
        31 29 254:2 / /boot/efi rw shared:2 - vfat /dev/vda2 rw\n";

    #[test]
    fn the_topmost_root_is_taken() {
        assert_eq!(
            root_mount(MOUNTS),
            Some(Mount {
                number: "254:3",
                file_system: "ext4",
                source: "/dev/vda3"
            })
        );
        let covered = format!("{MOUNTS}40 29 0:30 / / rw - overlay overlay rw\n");
        assert_eq!(
            root_mount(&covered).map(|mount| mount.file_system),
            Some("overlay")
        );
        // No optional fields at all, and a root that is a subvolume.
        let subvolume = "29 1 0:26 /@/root / rw - btrfs /dev/mapper/vg-root rw";
        assert_eq!(
            root_mount(subvolume).map(|mount| mount.source),
            Some("/dev/mapper/vg-root")
        );
        assert_eq!(root_mount("nonsense\n29 1"), None);
    }

    #[test]
    fn dev_root_is_looked_up() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
        fs::write(
            root.path().join("proc/self/mountinfo"),
            "29 1 259:3 / / rw - ext4 /dev/root rw\n",
        )
        .unwrap();
        assert_eq!(read(root.path()), "/dev/root ext4");
        std::os::unix::fs::symlink(
            "../../devices/pci0000:00/nvme/nvme0/nvme0n1/nvme0n1p3",
            root.path().join("sys/dev/block/259:3"),
        )
        .unwrap();
        assert_eq!(read(root.path()), "/dev/nvme0n1p3 ext4");
    }
}
