//! Which of the machine's disks a volume is: network volumes come as disks like others, sometimes only in a while.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use imprint_hardware::facts::{self, shown_size};
use imprint_proto::agent::v1::{Disk, ExpectedVolume, Transport};
use tokio_util::sync::CancellationToken;

use super::disk::Trouble;

/// How long a volume has to appear: a hot-plugged PCI device takes seconds, a card that restarts a minute.
const APPEARANCE_LIMIT: Duration = Duration::from_secs(120);
/// After this long the PCI buses are looked at anew, once: not every slot tells of what was put into it.
const RESCAN_AFTER: Duration = Duration::from_secs(20);
/// What disks say as their serial number that have none of their own: an NVMe controller without one, and
/// qemu-storage-daemon's vhost-user-blk.
const NO_SERIALS: [&str; 3] = ["", "0", "vhost_user_blk"];
/// Disks that are told of.
const TOLD: usize = 8;
/// Volumes of one server that are looked for.
const MOST_VOLUMES: usize = 64;

/// Waits until the volume is there, as it should be.
pub(super) async fn wait<F: Future<Output = Result<Vec<Disk>, Trouble>>>(
    expected: &ExpectedVolume,
    root: &Path,
    mut read: impl FnMut() -> F,
    pause: Duration,
    cancel: &CancellationToken,
) -> Result<Disk, Trouble> {
    let began = Instant::now();
    let mut rescanned = false;
    loop {
        let disks = read().await?;
        let missing = match recognise(expected, &disks) {
            Ok(place) => return Ok(disks[place].clone()),
            Err(missing) => missing,
        };
        if began.elapsed() >= limit(pause) {
            return Err(missing.after(expected, began.elapsed()));
        }
        if !rescanned && began.elapsed() >= RESCAN_AFTER {
            rescanned = true;
            rescan(root);
        }
        tokio::select! {
            () = cancel.cancelled() => {
                return Err(Trouble::new("the deployment was cancelled", "deploy again when wanted"));
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tests don't pause, and don't wait.
fn limit(pause: Duration) -> Duration {
    if pause.is_zero() {
        Duration::ZERO
    } else {
        APPEARANCE_LIMIT
    }
}

/// `Documentation/ABI/testing/sysfs-bus-pci`: anything but 0 has the kernel look for devices on all buses.
fn rescan(root: &Path) {
    if let Err(error) = fs::write(root.join("sys/bus/pci/rescan"), "1") {
        tracing::debug!(%error, "the PCI buses were not looked at anew");
    }
}

/// Why no disk is the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// What the disks are that it might have been, or that there is none.
    pub seen: String,
    pub remedy: &'static str,
}

impl Missing {
    fn after(self, expected: &ExpectedVolume, waited: Duration) -> Trouble {
        let cause = format!(
            "the volume {} has not appeared within {} s: {}",
            expected.name,
            waited.as_secs(),
            self.seen
        );
        Trouble::new(cause, self.remedy)
    }
}

/// The place of the volume among the machine's disks.
///
/// A disk that says the volume's serial number (or WWN) is the volume, and has its size. A disk that has no serial number of its
/// own is it when it is of the kind asked for and has its exact size, and when it is the only such one, or the only such one
/// on the function asked for. A disk that says another serial number is another disk.
pub(super) fn recognise(expected: &ExpectedVolume, disks: &[Disk]) -> Result<usize, Missing> {
    let of_kind = |disk: &Disk| {
        expected.transport() == Transport::Unspecified || disk.transport() == expected.transport()
    };
    let candidates: Vec<(usize, &Disk)> = disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| of_kind(disk))
        .collect();
    let named: Vec<_> = candidates
        .iter()
        .filter(|(_, disk)| is_named(expected, disk))
        .collect();
    match named.as_slice() {
        [(place, disk)] if disk.size_bytes == expected.size_bytes => return Ok(*place),
        [(_, disk)] => {
            return Err(Missing {
                seen: format!(
                    "{} says its serial number, and has {} bytes where the volume has {}",
                    title(disk),
                    disk.size_bytes,
                    expected.size_bytes
                ),
                remedy: "make the volume known with its true size, or have the card show the right one, then deploy again",
            });
        }
        [] => {}
        several => {
            return Err(Missing {
                seen: format!(
                    "several disks say that they are it: {}",
                    titles(several.iter().map(|(_, disk)| *disk))
                ),
                remedy: "let one path lead to the volume, then deploy again",
            });
        }
    }
    let unnamed: Vec<_> = candidates
        .iter()
        .filter(|(_, disk)| can_be_unnamed(expected) && NO_SERIALS.contains(&disk.serial.as_str()))
        .filter(|(_, disk)| disk.size_bytes == expected.size_bytes)
        .collect();
    match unnamed.as_slice() {
        [(place, _)] => return Ok(*place),
        [] => {}
        several => {
            let on_function: Vec<_> = several
                .iter()
                .filter(|(_, disk)| {
                    expected.physical_function.is_some()
                        && function_of(&disk.pci_address) == expected.physical_function
                })
                .collect();
            if let [(place, _)] = on_function.as_slice() {
                return Ok(*place);
            }
            return Err(Missing {
                seen: format!(
                    "several disks have its size and no serial number of their own: {}",
                    titles(several.iter().map(|(_, disk)| *disk))
                ),
                remedy: "detach the volumes of the same size from this server, or have the card give them serial numbers, then deploy again",
            });
        }
    }
    Err(Missing {
        seen: match candidates.as_slice() {
            [] => format!("this machine has no {} at all", kind(expected)),
            others => format!(
                "its disk says {}; this machine has {}",
                what_it_says(expected),
                titles(others.iter().map(|(_, disk)| *disk))
            ),
        },
        remedy: "look at the card and at the storage behind the volume (imprint volume show), then deploy again",
    })
}

/// Names the disks that are volumes.
pub(super) fn mark(volumes: &[ExpectedVolume], disks: &mut [Disk]) {
    for volume in volumes.iter().take(MOST_VOLUMES) {
        if let Ok(place) = recognise(volume, disks) {
            disks[place].volume_id.clone_from(&volume.volume_id);
        }
    }
}

fn is_named(expected: &ExpectedVolume, disk: &Disk) -> bool {
    let serial = !expected.serial.is_empty() && disk.serial == expected.serial;
    let wwn = !expected.wwn.is_empty() && disk.wwn.eq_ignore_ascii_case(&expected.wwn);
    match (expected.serial.is_empty(), expected.wwn.is_empty()) {
        (false, false) => serial && wwn,
        _ => serial || wwn,
    }
}

/// Only a card's disk: one that was there before is known by its name alone.
fn can_be_unnamed(expected: &ExpectedVolume) -> bool {
    expected.transport() != Transport::Unspecified
}

/// The last digit of a PCI address, "0000:3b:00.1".
fn function_of(address: &str) -> Option<u32> {
    address.rsplit_once('.')?.1.parse().ok()
}

fn what_it_says(expected: &ExpectedVolume) -> String {
    let mut facts = Vec::new();
    if !expected.serial.is_empty() {
        facts.push(format!("serial {}", expected.serial));
    }
    if !expected.wwn.is_empty() {
        facts.push(format!("WWN {}", expected.wwn));
    }
    facts.push(shown_size(expected.size_bytes));
    facts.join(", ")
}

fn kind(expected: &ExpectedVolume) -> &'static str {
    match expected.transport() {
        Transport::Virtio => "virtio-blk disk",
        Transport::Nvme => "NVMe disk",
        _ => "disk",
    }
}

/// A disk for people, with its place.
pub(super) fn title(disk: &Disk) -> String {
    let title = facts::Disk::from(disk.clone()).title();
    if disk.pci_address.is_empty() {
        title
    } else {
        format!("{title} at {}", disk.pci_address)
    }
}

fn titles<'a>(disks: impl ExactSizeIterator<Item = &'a Disk>) -> String {
    let more = disks.len().saturating_sub(TOLD);
    let mut text = disks.take(TOLD).map(title).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 10 << 30;

    fn disk(name: &str, serial: &str, size_bytes: u64) -> Disk {
        Disk {
            kernel_name: name.into(),
            serial: serial.into(),
            size_bytes,
            transport: Transport::Virtio as i32,
            pci_address: "0000:3b:00.0".into(),
            ..Disk::default()
        }
    }

    fn on_card() -> ExpectedVolume {
        ExpectedVolume {
            volume_id: "01JD3Y6N9M1V9S1M6V1M3B3W5T".into(),
            name: "boot".into(),
            serial: "v01jd3y6n9m1v9s1m6v1".into(),
            size_bytes: SIZE,
            transport: Transport::Virtio as i32,
            physical_function: Some(0),
            ..ExpectedVolume::default()
        }
    }

    #[test]
    fn the_serial_number_tells_first() {
        let mut nvme = disk("nvme0n1", "v01jd3y6n9m1v9s1m6v1", SIZE);
        nvme.transport = Transport::Nvme as i32;
        let disks = [
            nvme,
            disk("vda", "", SIZE),
            disk("vdb", "v01jd3y6n9m1v9s1m6v1", SIZE),
        ];
        assert_eq!(recognise(&on_card(), &disks), Ok(2));
    }

    #[test]
    fn a_disk_without_a_serial_number_is_known_by_kind_size_and_function() {
        for none in NO_SERIALS {
            let disks = [disk("vda", none, SIZE + 512), disk("vdb", none, SIZE)];
            assert_eq!(recognise(&on_card(), &disks), Ok(1));
        }
        let mut second = disk("vdb", "", SIZE);
        second.pci_address = "0000:3b:00.1".into();
        let disks = [second.clone(), disk("vda", "", SIZE)];
        assert_eq!(recognise(&on_card(), &disks), Ok(1));
        let mut unclear = on_card();
        unclear.physical_function = None;
        let missing = recognise(&unclear, &disks).unwrap_err();
        assert!(
            missing.seen.contains("several disks have its size") && missing.seen.contains("00.1"),
            "{missing:?}"
        );
    }

    #[test]
    fn what_says_another_name_or_size_is_not_it() {
        let wrong = [disk("vda", "v01jd3y6n9m1v9s1m6zzz", SIZE)];
        let missing = recognise(&on_card(), &wrong).unwrap_err();
        assert!(
            missing.seen.contains("serial v01jd3y6n9m1v9s1m6v1"),
            "{missing:?}"
        );
        assert!(
            missing.seen.contains("serial v01jd3y6n9m1v9s1m6zzz"),
            "{missing:?}"
        );
        let wrong = [disk("vda", "v01jd3y6n9m1v9s1m6v1", SIZE - 512)];
        let missing = recognise(&on_card(), &wrong).unwrap_err();
        assert!(
            missing
                .seen
                .contains("10737417728 bytes where the volume has 10737418240"),
            "{missing:?}"
        );
        let none = recognise(&on_card(), &[]).unwrap_err();
        assert!(none.seen.contains("no virtio-blk disk at all"), "{none:?}");
        let twice = [wrong[0].clone(), wrong[0].clone()];
        assert!(
            recognise(&on_card(), &twice)
                .unwrap_err()
                .seen
                .contains("several")
        );
    }

    #[test]
    fn volumes_are_marked_and_other_disks_are_not() {
        let mut disks = [
            disk("vda", "LOCAL", SIZE),
            disk("vdb", "v01jd3y6n9m1v9s1m6v1", SIZE),
        ];
        mark(&[on_card()], &mut disks);
        let marks = disks.map(|disk| disk.volume_id);
        assert_eq!(marks, [String::new(), on_card().volume_id]);
    }

    #[test]
    fn a_disk_that_was_there_before_is_known_by_its_names_alone() {
        let mut there = on_card();
        there.transport = 0;
        there.serial = "S3X".into();
        there.wwn = "eui.01".into();
        let mut lun = disk("sda", "S3X", SIZE);
        lun.wwn = "EUI.01".into();
        assert_eq!(recognise(&there, &[disk("sdb", "S3X", SIZE), lun]), Ok(1));
        assert!(recognise(&there, &[disk("sdb", "", SIZE)]).is_err());
    }

    #[tokio::test]
    async fn what_does_not_appear_is_told_with_what_is_there() {
        let never = CancellationToken::new();
        let read = || std::future::ready(Ok(vec![disk("vda", "OTHER", SIZE)]));
        let trouble = wait(&on_card(), Path::new("/nowhere"), read, Duration::ZERO, &never)
            .await
            .unwrap_err();
        assert!(
            trouble.cause.contains("the volume boot has not appeared") && trouble.cause.contains("OTHER"),
            "{trouble:?}"
        );
        assert!(trouble.remedy.contains("imprint volume show"), "{trouble:?}");
        let there = || std::future::ready(Ok(vec![disk("vda", "v01jd3y6n9m1v9s1m6v1", SIZE)]));
        let found = wait(&on_card(), Path::new("/nowhere"), there, Duration::ZERO, &never).await;
        assert_eq!(found.unwrap().kernel_name, "vda");
    }
}
