//! On a loop device with a root, a /boot and an EFI system partition of their own; without root, loop devices or mkfs there
//! is nothing to try.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use imprint_proto::agent::v1::FinishPlan;

use super::*;
use crate::finish::{
    partitions,
    tests::{Loop, Part, ext4, gpt_disk},
};

const ROOT: [u8; 16] = [0xa1; 16];
const BOOT: [u8; 16] = [0xb0; 16];
const ESP: [u8; 16] = [0xe5; 16];

fn shown(guid: [u8; 16]) -> String {
    uuid::Uuid::from_bytes_le(guid).to_string()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

struct Files {
    esp: &'static [(&'static str, &'static str)],
}

/// 96 MiB: an ESP of 16 MiB, a /boot of 16 MiB, a root of 32 MiB.
fn disk(folder: &Path, files: &Files) -> Option<(Loop, WrittenDisk)> {
    let (root, boot, esp) = (shown(ROOT), shown(BOOT), shown(ESP));
    let tree = folder.join("root");
    put(&tree, "etc/os-release", "ID=debian\nPRETTY_NAME=test\n");
    fs::create_dir_all(tree.join("usr")).unwrap();
    let fstab = format!(
        "PARTUUID={root} / ext4 defaults 0 1\nPARTUUID={boot} /boot ext4 defaults 0 2\nPARTUUID={} /boot/efi vfat\n",
        esp.to_uppercase()
    );
    put(&tree, "etc/fstab", &fstab);
    put(
        &tree,
        "etc/crypttab",
        &format!("swap /dev/disk/by-partuuid/{root} /dev/urandom swap\n"),
    );
    put(&tree, "etc/kernel/cmdline", &format!("root=PARTUUID={root} ro\n"));
    put(
        &tree,
        "etc/default/grub",
        "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n",
    );
    let boot_tree = folder.join("boot");
    put(
        &boot_tree,
        "grub/grub.cfg",
        &format!("linux /vmlinuz root=PARTUUID={root} ro\n"),
    );
    put(
        &boot_tree,
        "loader/entries/one.conf",
        &format!("options root=PARTUUID={root}\n"),
    );
    put(&boot_tree, "other.txt", &format!("{root}\n"));
    // Not FAT: that is a module which not every machine that builds has.
    let esp_tree = folder.join("esp");
    put(
        &esp_tree,
        "EFI/test/grub.cfg",
        &format!("search.partuuid {root} root\n"),
    );
    for (path, text) in files.esp {
        put(&esp_tree, path, &text.replace("ROOT", &root));
    }
    let at = |name: &str| folder.join(name);
    ext4(&at("root.img"), 32, &tree, &[])?;
    ext4(&at("boot.img"), 16, &boot_tree, &[])?;
    ext4(&at("esp.img"), 16, &esp_tree, &[])?;
    let (root, boot, esp) = (at("root.img"), at("boot.img"), at("esp.img"));
    let part = |number, kind, unique, first_mib, mib, content| Part {
        number,
        kind,
        unique,
        first_mib,
        mib,
        content,
    };
    let parts = [
        part(1, table::ESP_TYPE, ESP, 1, 16, &*esp),
        part(2, [4; 16], BOOT, 17, 16, &*boot),
        part(3, [4; 16], ROOT, 33, 32, &*root),
    ];
    gpt_disk(&folder.join("disk.img"), 512, (96, 96), &parts)
}

fn places(folder: &Path) -> Places {
    Places {
        mounts: folder.join("mnt"),
        ..Places::below(Path::new("/"), folder)
    }
}

/// Reads a file of one of the partitions.
fn read(places: &Places, layout: &Layout, number: u32, path: &str) -> String {
    let node = layout
        .partitions
        .iter()
        .find(|node| node.number == number)
        .unwrap();
    let point = places.mounts.join("probe");
    let mount = mount_node(&point, node, FileSystem::Ext4, None, true).unwrap();
    let text = fs::read_to_string(mount.point().join(path)).unwrap();
    unmount(mount).unwrap();
    text
}

#[test]
fn two_machines_of_one_image_share_no_identifier_and_all_files_name_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let Some((device, written)) = disk(folder.path(), &Files { esp: &[] }) else {
        return;
    };
    let places = places(folder.path());
    let mut before = Vec::new();
    for round in 0..2 {
        let (layout, done) = partitions(&places, &written, &FinishPlan::default()).unwrap();
        let mut file = fs::File::open(&device.0).unwrap();
        let Some(table::Identity::Gpt { disk, partitions }) = table::identity(&mut file, 512).unwrap() else {
            panic!("no GPT")
        };
        let all: Vec<_> = std::iter::once(disk)
            .chain(partitions.iter().map(|(_, guid)| *guid))
            .collect();
        assert!(
            all.iter()
                .all(|guid| ![[0xd1; 16], ROOT, BOOT, ESP].contains(guid))
        );
        assert_eq!(round == 0, done.detail.contains("fresh"), "{}", done.detail);
        assert!(round == 0 || before == all, "a second time changes nothing");
        before = all;
        let new = |number: u32| shown(partitions.iter().find(|(found, _)| *found == number).unwrap().1);
        assert_eq!(
            read(&places, &layout, 3, "etc/fstab"),
            format!(
                "PARTUUID={} / ext4 defaults 0 1\nPARTUUID={} /boot ext4 defaults 0 2\nPARTUUID={} /boot/efi vfat\n",
                new(3),
                new(2),
                new(1).to_uppercase()
            )
        );
        for (number, path) in [
            (3, "etc/crypttab"),
            (3, "etc/kernel/cmdline"),
            (2, "grub/grub.cfg"),
            (2, "loader/entries/one.conf"),
            (1, "EFI/test/grub.cfg"),
        ] {
            let text = read(&places, &layout, number, path);
            assert!(
                text.contains(&new(3)) && !text.contains(&shown(ROOT)),
                "{path}: {text}"
            );
        }
        // Nobody starts from this one.
        assert_eq!(
            read(&places, &layout, 2, "other.txt"),
            format!("{}\n", shown(ROOT))
        );
        // The kernel knows the new ones too.
        let node = Path::new("/sys/class/block")
            .join(format!("{}p3", written.name))
            .join("uevent");
        let uevent = fs::read_to_string(node).unwrap();
        assert!(
            !uevent.contains("PARTUUID=") || uevent.contains(&new(3)),
            "{uevent}"
        );
    }
}

#[test]
fn a_signed_kernel_that_names_them_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        esp: &[("EFI/Linux/test.efi", "MZ root=PARTUUID=ROOT\0")],
    };
    let Some((device, written)) = disk(folder.path(), &files) else {
        return;
    };
    let places = places(folder.path());
    let (layout, done) = partitions(&places, &written, &FinishPlan::default()).unwrap();
    assert!(
        done.notes.iter().any(|note| note.contains("EFI/Linux/test.efi")),
        "{:?}",
        done.notes
    );
    let mut file = fs::File::open(&device.0).unwrap();
    let Some(table::Identity::Gpt { partitions, .. }) = table::identity(&mut file, 512).unwrap() else {
        panic!("no GPT")
    };
    assert!(partitions.contains(&(3, ROOT)));
    assert!(read(&places, &layout, 3, "etc/fstab").contains(&shown(ROOT)));
}

#[test]
fn files_keep_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "boot/grub/grubenv", "root=old\n");
    let path = folder.path().join("boot/grub/grubenv");
    let before = fs::metadata(&path).unwrap();
    let root = ConfinedRoot::open(folder.path()).unwrap();
    let edit = |text: &[u8]| (text == b"root=old\n").then(|| b"root=new\n".to_vec());
    assert!(root.rewrite("boot/grub/grubenv", 100, edit).unwrap());
    assert!(!root.rewrite("boot/grub/grubenv", 100, edit).unwrap());
    let after = fs::metadata(&path).unwrap();
    // GRUB finds it by its blocks.
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    assert!(root.rewrite("boot/grub/grubenv", 100, |_| Some(vec![1])).is_err());
    assert_eq!(fs::read_to_string(path).unwrap(), "root=new\n");
}
