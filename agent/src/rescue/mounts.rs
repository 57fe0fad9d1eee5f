//! What whoever worked in the ramdisk has mounted: it is written back and let go before the machine restarts.

use std::{fs, io, path::Path};

/// Unmounts every file system of a disk, the innermost first; the answer names those that stay.
#[must_use]
pub fn release(root: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(root.join("proc/mounts")) else {
        return Vec::new();
    };
    let mut stay = Vec::new();
    for place in of_disks(&text) {
        if let Err(error) = unmount(&place) {
            tracing::warn!(place, %error, "a file system stays mounted");
            stay.push(place);
        }
    }
    stay
}

fn unmount(place: &str) -> io::Result<()> {
    Ok(nix::mount::umount(place)?)
}

/// Where file systems of disks are mounted, the last one first.
fn of_disks(mounts: &str) -> Vec<String> {
    let mut places: Vec<String> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (source, place) = (words.next()?, words.next()?);
            source.starts_with("/dev/").then(|| plain(place))
        })
        .collect();
    places.reverse();
    places
}

/// Without the octal escapes of `/proc/mounts`.
fn plain(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(place.to_owned(), |text, (escape, letter)| {
            text.replace(escape, letter)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_disks_are_let_go_from_the_inside() {
        let mounts = "none / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/nvme0n1p2 /mnt ext4 rw 0 0\n\
            /dev/nvme0n1p1 /mnt/boot\\040efi vfat rw 0 0\nudev /mnt/dev devtmpfs rw 0 0\n";
        assert_eq!(of_disks(mounts), ["/mnt/boot efi", "/mnt"]);
        assert!(release(Path::new("/nowhere")).is_empty());
    }
}
