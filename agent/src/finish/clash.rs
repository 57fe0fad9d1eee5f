//! Names that the written disk shares with others: what starts by UUID or label may take the wrong one. Pure.

use imprint_proto::agent::v1::{Disk, DiskContent};

/// A volume group of the written disk whose name a group of another disk has, and that disk: LVM starts neither, or the
/// wrong one.
#[must_use]
pub fn group(disks: &[Disk], written: &str, groups: &[&str]) -> Option<(String, String)> {
    let others = disks.iter().filter(|disk| disk.kernel_name != written);
    let members = others.flat_map(|disk| disk.contents.iter().map(move |content| (disk, content)));
    members
        .filter(|(_, content)| content.kind == "lvm-pv")
        .find(|(_, content)| groups.contains(&content.group.as_str()))
        .map(|(disk, content)| (content.group.clone(), title(disk)))
}

/// "sdb (serial S1)".
fn title(disk: &Disk) -> String {
    if disk.serial.is_empty() {
        disk.kernel_name.clone()
    } else {
        format!("{} (serial {})", disk.kernel_name, disk.serial)
    }
}

/// A sentence for each name that a file system of the written disk and one of another disk have.
#[must_use]
pub fn notes(disks: &[Disk], written: &str) -> Vec<String> {
    let own = disks.iter().filter(|disk| disk.kernel_name == written);
    let own: Vec<&DiskContent> = own.flat_map(|disk| &disk.contents).collect();
    let mut notes = Vec::new();
    for disk in disks.iter().filter(|disk| disk.kernel_name != written) {
        for content in &disk.contents {
            let same = |name: fn(&DiskContent) -> &String| {
                let theirs = name(content);
                !theirs.is_empty()
                    && own
                        .iter()
                        .any(|own| name(own) == theirs && own.kind == content.kind)
            };
            let (what, name) = if same(|content| &content.uuid) {
                ("UUID", &content.uuid)
            } else if same(|content| &content.label) && content.role != "member" {
                ("label", &content.label)
            } else {
                continue;
            };
            let place = content.partition.map_or_else(
                || disk.kernel_name.clone(),
                |number| format!("{}, partition {number},", disk.kernel_name),
            );
            let serial = if disk.serial.is_empty() {
                String::new()
            } else {
                format!(" (serial {})", disk.serial)
            };
            notes.push(format!(
                "{place}{serial} has the {what} {name} too: a system that starts by it may take the wrong one; wipe that \
                 disk or take it out"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, contents: &[(Option<u32>, &str, &str, &str)]) -> Disk {
        Disk {
            kernel_name: name.to_owned(),
            serial: name.to_uppercase(),
            contents: contents
                .iter()
                .map(|(partition, kind, label, uuid)| DiskContent {
                    partition: *partition,
                    kind: (*kind).to_owned(),
                    label: (*label).to_owned(),
                    uuid: (*uuid).to_owned(),
                    ..DiskContent::default()
                })
                .collect(),
            ..Disk::default()
        }
    }

    #[test]
    fn a_group_of_the_same_name_on_another_disk_is_found() {
        let member = |name: &str, group: &str| {
            let mut disk = disk(name, &[(Some(2), "lvm-pv", "", "u")]);
            disk.contents[0].group = group.to_owned();
            disk
        };
        let disks = [member("sda", "vg0"), member("sdb", "vg0"), member("sdc", "data")];
        assert_eq!(
            group(&disks, "sda", &["vg0"]),
            Some(("vg0".into(), "sdb (serial SDB)".into()))
        );
        assert_eq!(group(&disks, "sdc", &["data"]), None);
        assert_eq!(group(&disks[..1], "sda", &["vg0"]), None);
        assert_eq!(group(&disks, "sda", &[]), None, "its root is on none");
    }

    #[test]
    fn a_second_copy_is_told() {
        let written = disk(
            "sda",
            &[
                (None, "gpt", "", ""),
                (Some(1), "ext4", "root", "u-1"),
                (Some(2), "vfat", "EFI", ""),
            ],
        );
        for (other, expected) in [
            (disk("sdb", &[(Some(3), "ext4", "root", "u-1")]), Some("UUID u-1")),
            (disk("sdb", &[(None, "ext4", "root", "u-2")]), Some("label root")),
            (disk("sdb", &[(None, "xfs", "root", "u-2")]), None),
            (
                disk("sdb", &[(None, "gpt", "", ""), (Some(1), "ext4", "", "u-3")]),
                None,
            ),
        ] {
            let notes = notes(&[written.clone(), other], "sda");
            assert_eq!(notes.len(), usize::from(expected.is_some()), "{notes:?}");
            if let Some(expected) = expected {
                assert!(
                    notes[0].contains(expected) && notes[0].contains("serial SDB"),
                    "{notes:?}"
                );
            }
        }
        assert!(notes(&[written], "sda").is_empty());
    }
}
