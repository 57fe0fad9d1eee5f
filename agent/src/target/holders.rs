//! Who uses a disk, and which disk it is, as the kernel tells it in /proc and /sys.

use std::{fs, path::Path};

use nix::sys::stat::{major, minor};

/// In words, what keeps the device from being claimed. Never empty.
pub(super) fn of_device(device: u64) -> Vec<String> {
    let mut family = vec![number(device)];
    let mut reasons = Vec::new();
    let root = format!("/sys/dev/block/{}", number(device));
    collect_holders(Path::new(&root), &mut reasons);
    for part in fs::read_dir(&root).into_iter().flatten().flatten() {
        if part.path().join("partition").exists() {
            collect_holders(&part.path(), &mut reasons);
            if let Ok(part_number) = fs::read_to_string(part.path().join("dev")) {
                family.push(part_number.trim().to_owned());
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    reasons.extend(mounted(&mounts, &family));
    for number in &family {
        reasons.extend(swap_on(number));
    }
    if reasons.is_empty() {
        reasons.push("another program or driver has claimed it".to_owned());
    }
    reasons
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn collect_holders(entry: &Path, reasons: &mut Vec<String>) {
    for holder in fs::read_dir(entry.join("holders"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = holder.file_name().to_string_lossy().into_owned();
        let label = fs::read_to_string(holder.path().join("dm/name")).unwrap_or_default();
        reasons.push(match label.trim() {
            "" => format!("held by {name}"),
            label => format!("held by {name} ({label})"),
        });
    }
}

/// The mount points of the given `major:minor` numbers in the text of /proc/self/mountinfo.
fn mounted(mountinfo: &str, family: &[String]) -> Vec<String> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let device = fields.next()?;
            let point = fields.nth(1)?;
            family
                .iter()
                .any(|number| number == device)
                .then(|| format!("mounted at {point}"))
        })
        .collect()
}

fn swap_on(number: &str) -> Option<String> {
    let name = fs::canonicalize(format!("/sys/dev/block/{number}")).ok()?;
    let name = name.file_name()?.to_str()?;
    let swaps = fs::read_to_string("/proc/swaps").ok()?;
    swaps
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().next() == Some(&format!("/dev/{name}")))
        .then(|| format!("swap space on {name}"))
}

/// Whether the kernel marks the device read-only.
pub(super) fn is_read_only(device: u64) -> bool {
    fs::read_to_string(format!("/sys/dev/block/{}/ro", number(device))).is_ok_and(|flag| flag.trim() == "1")
}

/// A device number is given to another disk when the first one is unplugged; the sequence number that the kernel
/// counts up for every disk that appears is not, while the machine runs. Partitions carry the number of their disk.
pub(super) fn identity(device: u64) -> String {
    let entry = format!("/sys/dev/block/{}", number(device));
    let sequence = ["diskseq", "../diskseq"]
        .iter()
        .find_map(|file| fs::read_to_string(Path::new(&entry).join(file)).ok())
        .unwrap_or_default();
    format!("block {} disk {}", number(device), sequence.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_by_device_number() {
        let text = "24 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
                    25 24 0:22 / /proc rw - proc proc rw\n\
                    26 24 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n\
                    torn\n";
        let family = ["8:0".to_owned(), "8:1".to_owned()];
        assert_eq!(mounted(text, &family), ["mounted at /boot/efi"]);
        assert!(mounted(text, &["8:16".to_owned()]).is_empty());
    }

    #[test]
    fn a_busy_device_always_has_a_reason() {
        assert_eq!(
            of_device(nix::sys::stat::makedev(250, 250)),
            ["another program or driver has claimed it"]
        );
    }
}
