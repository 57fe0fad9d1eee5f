//! On file systems that real tools made, with Debian's programs; where the kernel or the programs are missing there is nothing
//! to try.

use std::{fs, path::PathBuf};

use imprint_proto::agent::v1::FinishPlan;

use super::*;
use crate::finish::{
    partitions,
    tests::{MIB, Part, ext4, gpt_disk, tool_folder},
    unmount,
};

const BOOT: &str = "11111111-2222-4333-8444-000000000001";
const ROOT: &str = "11111111-2222-4333-8444-000000000002";

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn uuid_of(node: &PartitionNode) -> String {
    inventory::volume(&File::open(&node.path).unwrap(), node.size_bytes)
        .unwrap()
        .uuid
}

#[test]
fn file_systems_get_their_own_and_all_files_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let Some(tools) = tool_folder(folder.path(), &["sbin/e2fsck", "sbin/tune2fs"]) else {
        return;
    };
    put(&at("root"), "etc/os-release", "ID=debian\nPRETTY_NAME=test\n");
    put(&at("root"), "usr/lib/systemd/systemd", "");
    put(
        &at("root"),
        "etc/fstab",
        &format!(
            "UUID={ROOT} / ext4\nUUID={BOOT} /boot ext4\nUUID=22222222-2222-4333-8444-000000000002 none swap\n"
        ),
    );
    put(
        &at("boot"),
        "grub/grub.cfg",
        &format!("search --fs-uuid {BOOT}\nlinux /v root=UUID={ROOT}\n"),
    );
    // The stub on the EFI system partition.
    put(
        &at("boot"),
        "EFI/debian/grub.cfg",
        &format!("search.fs_uuid {BOOT} root\n"),
    );
    let (root, boot) = (at("root.img"), at("boot.img"));
    let made = ext4(&root, 32, &at("root"), &["-U", ROOT])
        .and_then(|()| ext4(&boot, 16, &at("boot"), &["-U", BOOT]));
    let parts = [Part::new(1, 1, 16, &boot), Part::new(2, 17, 32, &root)];
    let Some((_device, written)) = made.and_then(|()| gpt_disk(&at("disk"), 512, (64, 64), &parts)) else {
        return;
    };
    let places = Places {
        mounts: at("state/mnt"),
        tools,
        ..Places::below(Path::new("/"), folder.path())
    };
    let plan = FinishPlan {
        fresh_uuids: true,
        grow_root: true,
        ..FinishPlan::default()
    };
    let mut before = Vec::new();
    for round in 0..2 {
        let (layout, done) = partitions(&places, &written, &plan).unwrap();
        let uuids: Vec<String> = layout.partitions.iter().map(uuid_of).collect();
        assert!(
            !uuids.contains(&BOOT.to_owned()) && !uuids.contains(&ROOT.to_owned()),
            "{done:?}"
        );
        assert_eq!(done.detail.contains("fresh UUIDs of 2"), round == 0, "{done:?}");
        assert!(round == 0 || before == uuids, "a second time changes nothing");
        let read = |node: &PartitionNode, path: &str| {
            let mount =
                crate::finish::mount_node(&places.mounts.join("probe"), node, FileSystem::Ext4, None, true)
                    .unwrap();
            let text = fs::read_to_string(mount.point().join(path)).unwrap();
            unmount(mount).unwrap();
            text
        };
        let [boot, root] = [&uuids[0], &uuids[1]];
        let fstab = read(&layout.partitions[1], "etc/fstab");
        assert!(
            fstab.starts_with(&format!("UUID={root} / ext4\nUUID={boot} /boot ext4\n")),
            "{fstab}"
        );
        for path in ["grub/grub.cfg", "EFI/debian/grub.cfg"] {
            let text = read(&layout.partitions[0], path);
            assert!(
                text.contains(boot.as_str()) && !text.contains(BOOT) && !text.contains(ROOT),
                "{text}"
            );
        }
        before = uuids;
    }
}

#[test]
fn what_may_start_by_an_old_one_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    put(&at("root"), "etc/os-release", "ID=debian\nPRETTY_NAME=test\n");
    put(&at("root"), "usr/x", "");
    put(&at("boot"), "grub/i386-pc/core.img", "packed");
    put(
        &at("esp"),
        "EFI/debian/grubx64.efi",
        &format!("MZ search.fs_uuid {ROOT} root"),
    );
    let (root, boot, esp) = (at("root.img"), at("boot.img"), at("esp.img"));
    let made = ext4(&root, 32, &at("root"), &["-U", ROOT])
        .and_then(|()| ext4(&boot, 16, &at("boot"), &["-U", BOOT]))
        .and_then(|()| ext4(&esp, 16, &at("esp"), &[]));
    let parts = [
        Part::new(1, 1, 16, &boot),
        Part::new(2, 17, 16, &esp),
        Part::new(3, 33, 32, &root),
    ];
    let Some((_device, written)) = made.and_then(|()| gpt_disk(&at("disk"), 512, (80, 80), &parts)) else {
        return;
    };
    fs::create_dir_all(at("sys")).unwrap();
    std::os::unix::fs::symlink("/sys/class", at("sys/class")).unwrap();
    let places = Places {
        // A machine with a BIOS.
        sys: at("sys"),
        mounts: at("state/mnt"),
        tools: at("nowhere"),
        ..Places::below(Path::new("/"), folder.path())
    };
    let plan = FinishPlan {
        fresh_uuids: true,
        ..FinishPlan::default()
    };
    let (layout, done) = partitions(&places, &written, &plan).unwrap();
    let notes = done.notes.join("\n");
    assert!(
        notes.contains("p1 keeps its UUID: GRUB may start by it"),
        "{notes}"
    );
    assert!(notes.contains("EFI/debian/grubx64.efi names one"), "{notes}");
    assert_eq!(uuid_of(&layout.partitions[0]), BOOT);
    assert_eq!(uuid_of(&layout.partitions[2]), ROOT);
}

#[test]
fn the_programs_change_xfs_and_btrfs_too() {
    for (name, system, program) in [
        ("xfs-labelled", FileSystem::Xfs, "usr/sbin/xfs_db"),
        ("btrfs-subvolumes", FileSystem::Btrfs, "bin/btrfstune"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some(tools) = tool_folder(folder.path(), &[program]) else {
            return;
        };
        let (content, size) = crate::finish::extras::tests::content(folder.path(), name);
        let node = PartitionNode {
            number: 0,
            path: content.clone(),
            first_byte: 0,
            size_bytes: size,
        };
        let old = uuid_of(&node);
        let new = names::renamed(&old, b"s", "x").unwrap().new;
        set(&tools, &content, system, &new).unwrap();
        assert_eq!(uuid_of(&node), new, "{name}");
        set(&tools, &content, system, &old).unwrap();
        assert_eq!(uuid_of(&node), old, "{name}");
        assert!(set(&tools, Path::new("/dev/null"), system, &new).is_err());
    }
}

#[test]
fn fat_has_its_number_in_two_places() {
    let folder = tempfile::tempdir().unwrap();
    for (width, mib) in [("12", 4), ("16", 16), ("32", 64)] {
        let path: PathBuf = folder.path().join(width);
        File::create(&path).unwrap().set_len(mib * MIB).unwrap();
        let made = crate::finish::tests::run(
            "mkfs.vfat",
            &["-F", width, "-i", "1ab00077", path.to_str().unwrap()],
        );
        if made.is_none() {
            return;
        }
        set(folder.path(), &path, FileSystem::Vfat, "be5a-0001").unwrap();
        let node = PartitionNode {
            number: 0,
            path: path.clone(),
            first_byte: 0,
            size_bytes: mib * MIB,
        };
        assert_eq!(uuid_of(&node), "BE5A-0001", "FAT{width}");
        let bytes = fs::read(&path).unwrap();
        let copies = bytes
            .windows(4)
            .filter(|bytes| *bytes == 0xbe5a_0001_u32.to_le_bytes())
            .count();
        assert_eq!(copies, if width == "32" { 2 } else { 1 });
    }
    let none = folder.path().join("none");
    File::create(&none).unwrap().set_len(MIB).unwrap();
    assert!(set(folder.path(), &none, FileSystem::Vfat, "be5a-0001").is_err());
}
