use super::*;
use crate::facts::DiskHealth;

fn judged(
    disk: Disk,
    text: &str,
    needs: Option<Needs>,
    policy: &Policy,
) -> (Vec<&'static str>, Vec<&'static str>) {
    let verdict = match choose(&rule(text), needs, policy, &[disk]) {
        Ok(choice) => choice.verdicts.into_iter().next().unwrap(),
        Err(error) => error.verdicts.into_iter().next().unwrap(),
    };
    let codes = |reasons: Vec<crate::Reason>| reasons.into_iter().map(|reason| reason.code).collect();
    (codes(verdict.reasons), codes(verdict.warnings))
}

fn holding(contents: Vec<Content>) -> Disk {
    Disk {
        contents,
        ..disk("A", 100, "sata")
    }
}

#[test]
fn what_must_not_be_written_is_refused_and_said() {
    let needs = Some(Needs {
        size_bytes: 100,
        logical_sector_bytes: 512,
    });
    let change = |change: &dyn Fn(&mut Disk)| {
        let mut disk = disk("A", 100, "sata");
        change(&mut disk);
        disk
    };
    for (disk, codes) in [
        (change(&|_| {}), &[][..]),
        (
            change(&|disk| disk.holders = vec!["mounted at /".into()]),
            &["mounted"],
        ),
        (
            change(&|disk| disk.holders = vec!["used as swap".into()]),
            &["mounted"],
        ),
        (
            change(&|disk| disk.holders = vec!["dm-0 (vg0-root)".into(), "mounted at /x".into()]),
            &["mounted", "held"],
        ),
        (
            change(&|disk| disk.multipath = "mpatha".into()),
            &["multipath-member"],
        ),
        (change(&|disk| disk.read_only = true), &["read-only"]),
        (change(&|disk| disk.removable = true), &["removable"]),
        (
            change(&|disk| disk.transport = "usb".into()),
            &["usb-not-asked-for"],
        ),
        (change(&|disk| disk.volume_id = "V".into()), &["volume"]),
        (change(&|disk| disk.size_bytes = 99), &["too-small"]),
        (
            change(&|disk| disk.logical_sector_bytes = 4096),
            &["sector-size-differs"],
        ),
    ] {
        // No wipe lifts what is not content.
        let wipe = Policy {
            wipe: vec!["A".to_owned()],
            ..Policy::default()
        };
        assert_eq!(
            judged(disk.clone(), "serial=A", needs, &Policy::default()).0,
            codes
        );
        assert_eq!(judged(disk, "serial=A", needs, &wipe).0, codes);
    }
    let usb = change(&|disk| disk.transport = "usb".into());
    assert!(
        judged(usb.clone(), "transport=usb|sata", needs, &Policy::default())
            .0
            .is_empty()
    );
    assert_eq!(
        judged(usb, "not(transport=nvme|usb)", needs, &Policy::default()).0,
        ["rule-not-met", "usb-not-asked-for"]
    );
    let volume = change(&|disk| disk.volume_id = "V".into());
    assert!(judged(volume, "volume=V", needs, &Policy::default()).0.is_empty());
    let failing = change(&|disk| {
        disk.health = Some(DiskHealth {
            status: "failing".into(),
            ..DiskHealth::default()
        });
    });
    assert_eq!(
        judged(failing, "", needs, &Policy::default()),
        (vec![], vec!["disk-failing"])
    );
}

#[test]
fn members_of_arrays_and_shared_file_systems_are_kept_unless_their_wipe_is_asked_for() {
    for (kind, code) in [
        ("lvm-pv", "lvm-member"),
        ("md-raid", "raid-member"),
        ("ddf", "raid-member"),
        ("imsm", "raid-member"),
        ("zfs", "zfs-member"),
        ("multipath", "multipath-member"),
        ("ceph-osd", "ceph-member"),
        ("vmfs", "shared-file-system"),
        ("gfs2", "shared-file-system"),
        ("ocfs2", "shared-file-system"),
        ("gpfs", "shared-file-system"),
        ("of-the-future", "group-member"),
    ] {
        let disk = holding(vec![
            content(None, "gpt", "", ""),
            content(Some(2), kind, "member", "vg0"),
        ]);
        let own = Policy {
            own: vec![identity(&disk)],
            ..Policy::default()
        };
        assert_eq!(judged(disk.clone(), "", None, &own).0, [code], "{kind}");
        let wipe = |name: &str| Policy {
            wipe: vec![name.to_owned()],
            ..Policy::default()
        };
        assert_eq!(
            judged(disk.clone(), "", None, &wipe("a")),
            (vec![], vec!["wiped"])
        );
        assert_eq!(judged(disk, "", None, &wipe("B")).0, [code]);
    }
    let kept = [holding(vec![content(Some(2), "lvm-pv", "member", "vg0")])];
    let error = pick("serial=A", &kept).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("partition 2 is an LVM physical volume of vg0"),
        "{error}"
    );
    assert!(error.remedy().contains("--wipe A"), "{}", error.remedy());
    assert_eq!(error.verdicts[0].on_it, ["p2 lvm-pv \"vg0\""]);
}

#[test]
fn other_systems_disks_are_told_or_refused() {
    let refuse = Policy {
        foreign_systems: ForeignSystems::Refuse,
        ..Policy::default()
    };
    let system = holding(vec![
        content(None, "gpt", "", ""),
        content(Some(1), "vfat", "system", "EFI"),
        content(Some(2), "ext4", "data", "root"),
    ]);
    let data = holding(vec![content(None, "xfs", "data", "backup")]);
    let table = holding(vec![content(None, "gpt", "", "")]);
    for (disk, code) in [(&system, "foreign-system"), (&data, "foreign-data")] {
        assert_eq!(
            judged(disk.clone(), "", None, &Policy::default()),
            (vec![], vec![code])
        );
        assert_eq!(judged(disk.clone(), "", None, &refuse), (vec![code], vec![]));
        let own = Policy {
            own: vec![identity(disk)],
            ..refuse.clone()
        };
        assert_eq!(judged(disk.clone(), "", None, &own), (vec![], vec![]));
        let wiped = Policy {
            wipe: vec!["A".to_owned()],
            ..refuse.clone()
        };
        assert_eq!(judged(disk.clone(), "", None, &wiped), (vec![], vec!["wiped"]));
    }
    assert_eq!(judged(table, "", None, &refuse), (vec![], vec![]));
    let unknown = Disk {
        contents_read: false,
        ..disk("A", 100, "sata")
    };
    assert_eq!(
        judged(unknown, "", None, &refuse),
        (vec![], vec!["content-unknown"])
    );
}

#[test]
fn a_wipe_by_a_name_that_two_disks_have_lifts_nothing() {
    let member = |name: &str, wwn: &str| Disk {
        kernel_name: name.to_owned(),
        wwn: wwn.to_owned(),
        ..holding(vec![content(None, "lvm-pv", "member", "vg0")])
    };
    let disks = [
        member("sdb", "naa.5000000000000002"),
        member("sda", "naa.5000000000000001"),
    ];
    let wipe = |name: &str| Policy {
        wipe: vec![name.to_owned()],
        ..Policy::default()
    };
    let only_first = rule("wwn=0x5000000000000001");
    let error = choose(&only_first, None, &wipe("A"), &disks).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the name given for the wipe is that of sda and sdb"),
        "{error}"
    );
    let choice = choose(&only_first, None, &wipe("0x5000000000000001"), &disks).unwrap();
    assert_eq!(choice.disk.kernel_name, "sda");
}

#[test]
fn two_paths_to_one_disk_are_told_apart_by_their_path_only() {
    let path = |name: &str, hctl: &str| Disk {
        kernel_name: name.to_owned(),
        wwn: "naa.600508b400105e210000900000490000".to_owned(),
        hctl: hctl.to_owned(),
        ..disk("A", 100, "scsi")
    };
    let disks = [path("sda", "1:0:0:0"), path("sdb", "2:0:0:0")];
    let error = pick("smallest", &disks).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("sda (QEMU NVMe Ctrl, serial A, 100 bytes): has the WWN of sdb too"),
        "{error}"
    );
    let choice = choose(&rule("hctl=2:0:0:0"), None, &Policy::default(), &disks).unwrap();
    assert_eq!(choice.disk.kernel_name, "sdb");
    assert_eq!(choice.warnings()[0].code, "multipath-member");
}
