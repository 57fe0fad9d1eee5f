pub(crate) mod fixture;
mod mutation;

use std::fs::File;
use std::path::{Path, PathBuf};

use fixture::{GPT, MIB, System, VERSION, disk, elf, esp, ext, folder};

use super::*;
use crate::write::{ArtifactWriter, DirSink, WriteOptions};

fn facts(disk: &[u8]) -> Facts {
    read(&disk.to_vec(), None).unwrap()
}

#[test]
fn everything_is_read_from_a_sound_system() {
    let facts = facts(&System::sound().disk());
    assert_eq!(facts.partitions.partitions.len(), 3);
    assert_eq!(facts.logical_sector_bytes, 512);
    let kinds: Vec<_> = facts
        .volumes
        .iter()
        .map(|volume| (volume.kind.as_deref(), volume.mounted_at.as_deref()))
        .collect();
    assert_eq!(
        kinds,
        [
            (None, None),
            (Some("fat12"), Some("/boot/efi")),
            (Some("ext4"), Some("/"))
        ]
    );
    assert_eq!(facts.volumes[2].label, "root");
    let used = *facts.used_bytes.known().unwrap();
    assert!(used > 1 << 20 && used < 32 << 20, "{used}");

    assert_eq!(facts.architecture, Fact::Known("x86_64".to_owned()));
    let distribution = facts.distribution.known().unwrap();
    assert_eq!(distribution.id, "debian");
    assert_eq!(distribution.version_id.as_deref(), Some("12"));

    let efi = facts.firmware.uefi.known().unwrap().as_ref().unwrap();
    let loaders: Vec<_> = efi
        .loaders
        .iter()
        .map(|loader| (loader.path.as_str(), loader.kind, loader.removable_path))
        .collect();
    assert_eq!(
        loaders,
        [
            ("EFI/BOOT/BOOTX64.EFI", LoaderKind::Shim, true),
            ("EFI/BOOT/fbx64.efi", LoaderKind::Fallback, false),
            ("EFI/debian/grubx64.efi", LoaderKind::Grub, false),
        ]
    );
    assert!(efi.loaders.iter().all(|loader| loader.signed == Fact::Known(true)
        && loader.architecture == Fact::Known("x86_64".to_owned())));
    let bios = facts.firmware.bios.known().unwrap();
    assert!(bios.boot_code && bios.grub && bios.boot_partition_filled);
    assert_eq!(bios.boot_partition, Some(1));

    let [kernel] = &facts.kernels.known().unwrap()[..] else {
        panic!("{:?}", facts.kernels);
    };
    assert_eq!(kernel.version, VERSION);
    assert_eq!(kernel.modules, Fact::Known(true));
    assert_eq!(
        kernel.builtin.known().unwrap(),
        &["ext4".to_owned(), "sd_mod".to_owned()]
    );
    let initramfs = kernel.initramfs.known().unwrap().as_ref().unwrap();
    assert_eq!(initramfs.compression, ["none", "zstd"]);
    assert_eq!(initramfs.microcode, ["intel"]);
    assert_eq!(initramfs.made_by.as_deref(), Some("initramfs-tools"));
    assert_eq!(initramfs.firmware, ["bnx2/bnx2-mips-09.fw"]);
    assert!(initramfs.modules.contains(&"nvme".to_owned()));

    let cloud_init = facts.cloud_init.known().unwrap().as_ref().unwrap();
    assert_eq!(cloud_init.version, Fact::Known("22.4.2-1".to_owned()));
    assert_eq!(facts.network.known().unwrap(), &[NetworkStack::Netplan]);
    assert_eq!(facts.guest_plugin, Fact::Known(false));
    assert_eq!(facts.packages.known().unwrap().packages.len(), 1);
    assert_eq!(lint(&facts), [], "a sound system has no findings");
}

#[test]
fn facts_survive_their_json_form() {
    let facts = facts(&System::sound().disk());
    let json = serde_json::to_string(&facts).unwrap();
    assert!(json.contains(r#""architecture":{"known":"x86_64"}"#), "{json}");
    assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
}

#[test]
fn a_stored_artifact_has_the_same_facts_as_its_disk() {
    let disk = System::sound().disk();
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = ArtifactWriter::new(DirSink::new(folder.path()).unwrap(), WriteOptions::default());
    let manifest = writer
        .import(&mut crate::source::Stream::new(&mut &disk[..]))
        .unwrap();
    let artifact = ArtifactDisk::new(folder.path(), &manifest).unwrap();
    assert_eq!(
        read(&artifact, Some(manifest.logical_sector_bytes)).unwrap(),
        facts(&disk)
    );
    let mut out = vec![1; 3 * MIB];
    artifact.read_at(MIB as u64 / 2, &mut out).unwrap();
    assert_eq!(out, disk[MIB / 2..MIB / 2 + 3 * MIB]);
    artifact
        .read_at(artifact.size_bytes() - 1, &mut [0; 2])
        .unwrap_err();
}

#[test]
fn a_system_of_another_machine_on_a_dos_table() {
    let mut system = System::sound();
    system
        .with("usr/bin/dash", &elf(183))
        .with("usr/lib/cloud/x", b"")
        .without("var/lib/dpkg/status")
        .with("var/lib/rpm/rpmdb.sqlite", b"SQLite format 3");
    for generation in ["ext2", "ext3"] {
        let root = system.root(&["-t", generation, "-b", "1024"]);
        let facts = facts(&disk(
            "label: dos\nstart=1MiB, size=24MiB, type=83, bootable\n",
            30,
            &[(1, &root)],
        ));
        assert_eq!(facts.volumes[0].kind.as_deref(), Some(generation));
        assert_eq!(facts.volumes[0].mounted_at.as_deref(), Some("/"));
        assert_eq!(facts.architecture, Fact::Known("aarch64".to_owned()));
        assert_eq!(facts.firmware.uefi, Fact::Known(None));
        let Fact::Unknown(why) = &facts.packages else {
            panic!("{:?}", facts.packages);
        };
        assert!(why.contains("rpm database (sqlite)"), "{why}");
        let initramfs = facts.kernels.known().unwrap()[0].initramfs.known().unwrap();
        assert!(initramfs.as_ref().unwrap().modules.contains(&"ahci".to_owned()));
    }
}

#[test]
fn a_root_that_cannot_be_read_is_named_and_everything_in_it_unknown() {
    let mut xfs = vec![0; MIB];
    xfs[..4].copy_from_slice(b"XFSB");
    xfs[108..112].copy_from_slice(b"main");
    let boot = ext(
        &["-t", "ext4"],
        folder(&[
            ("vmlinuz-5.14.0", b"kernel"),
            ("initramfs-5.14.0.img", &fixture::initramfs(&["nvme"])),
            (
                "loader/entries/a.conf",
                b"title a\noptions root=UUID=1 console=ttyS0\n",
            ),
        ])
        .path(),
        4 * MIB,
    );
    let script = "label: gpt\nstart=1MiB, size=4MiB\nstart=5MiB, size=1MiB\n";
    let facts = facts(&disk(script, 8, &[(1, &boot), (5, &xfs)]));
    let xfs = &facts.volumes[1];
    assert_eq!((xfs.kind.as_deref(), xfs.label.as_str()), (Some("xfs"), "main"));
    let Fact::Unknown(why) = &facts.distribution else {
        panic!("{:?}", facts.distribution);
    };
    assert!(
        why.contains("partition 2 (xfs): there is no reader for xfs"),
        "{why}"
    );
    assert!(matches!(facts.used_bytes, Fact::Unknown(_)));
    // What the boot partition tells is known all the same.
    let kernel = &facts.kernels.known().unwrap()[0];
    assert_eq!(kernel.version, "5.14.0");
    assert!(matches!(kernel.modules, Fact::Unknown(_)));
    assert_eq!(
        kernel.initramfs.known().unwrap().as_ref().unwrap().modules,
        ["nvme"]
    );
    assert_eq!(facts.command_lines.known().unwrap()[0].arguments.len(), 2);
}

#[test]
fn a_boot_partition_is_found_by_fstab_and_an_unreadable_one_hides_the_kernels() {
    let mut system = System::sound();
    system
        .with(
            "etc/fstab",
            b"PARTLABEL=system / ext4 defaults\nLABEL=kernels /boot ext4 defaults\n",
        )
        .without(&format!("boot/vmlinuz-{VERSION}"));
    let root = system.root(&["-t", "ext4"]);
    let boot = ext(
        &["-t", "ext4", "-L", "kernels"],
        folder(&[("vmlinuz-7.0", b"kernel")]).path(),
        2 * MIB,
    );
    let script = format!("{GPT}start=34MiB, size=2MiB\n");
    let mut image = disk(&script, 40, &[(2, &esp()), (10, &root), (34, &boot)]);
    let found = facts(&image);
    assert_eq!(found.volumes[3].mounted_at.as_deref(), Some("/boot"));
    let versions: Vec<_> = found
        .kernels
        .known()
        .unwrap()
        .iter()
        .map(|kernel| (kernel.version.as_str(), kernel.image.is_some()))
        .collect();
    assert_eq!(versions, [(VERSION, false), ("7.0", true)]);

    image[34 * MIB..36 * MIB].fill(0);
    let Fact::Unknown(why) = facts(&image).kernels else {
        panic!("kernels of a boot partition that is gone");
    };
    assert!(
        why.contains("no partition of the image is LABEL=kernels"),
        "{why}"
    );
}

#[test]
fn an_empty_disk_has_nothing_and_says_so() {
    let facts = facts(&vec![0; MIB]);
    assert!(facts.volumes.is_empty());
    assert_eq!(facts.firmware.uefi, Fact::Known(None));
    assert!(matches!(facts.used_bytes, Fact::Unknown(_)));
    assert_eq!(
        facts.distribution,
        Fact::Unknown("no file system that can be read holds an operating system".to_owned())
    );
}

#[test]
fn what_is_not_read_is_named() {
    for (offset, magic, kind) in [
        (0, &b"LUKS\xBA\xBE"[..], "luks"),
        (512, b"LABELONE", "lvm2"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (4086, b"SWAPSPACE2", "swap"),
        (3, b"NTFS    ", "ntfs"),
    ] {
        let mut part = vec![0; MIB];
        part[offset..offset + magic.len()].copy_from_slice(magic);
        let facts = facts(&disk("label: gpt\nstart=1MiB, size=1MiB\n", 4, &[(1, &part)]));
        assert_eq!(facts.volumes[0].kind.as_deref(), Some(kind));
        assert!(
            matches!(facts.volumes[0].used_bytes, Fact::Unknown(_)),
            "{kind} must stay unknown"
        );
    }
}

#[test]
fn a_system_that_was_running_is_read_through_its_journal() {
    let before = System::sound().root(&["-t", "ext4", "-L", "root"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &before).unwrap();
    // A transaction that writes the label anew: the superblock, which says "root" on the disk, says "live" after it.
    let block = tempfile::NamedTempFile::new().unwrap();
    let bytes = 1024 << before[1024 + 0x18];
    let number = if bytes == 1024 { 1 } else { 0 };
    let mut superblock = before[number * bytes..(number + 1) * bytes].to_vec();
    superblock[1024 - number * bytes + 0x78..][..4].copy_from_slice(b"live");
    std::fs::write(block.path(), &superblock).unwrap();
    let commands = format!("jo -c -v 3\njw -b {number} {}\njc\n", block.path().display());
    fixture::run("debugfs", &["-w", file.path().to_str().unwrap()], &commands);
    let root = std::fs::read(file.path()).unwrap();
    let found = facts(&disk(GPT, 40, &[(2, &esp()), (10, &root)]));
    assert_eq!(
        (found.volumes[2].label.as_str(), found.volumes[2].unclean),
        ("live", true)
    );
    assert_eq!(found.distribution.known().unwrap().id, "debian");
    assert!(found.used_bytes.known().is_some());
    let codes: Vec<_> = lint(&found).into_iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"unclean_file_system".to_owned()), "{codes:?}");
}

#[test]
fn a_disk_of_data_is_not_looked_into() {
    let disk = System::sound().disk();
    let found = read_as(DiskKind::Data, &disk, None).unwrap();
    let system = facts(&disk);
    assert_eq!(
        (&found.partitions, &found.used_bytes),
        (&system.partitions, &system.used_bytes)
    );
    assert_eq!(found.volumes[2].kind.as_deref(), Some("ext4"));
    assert_eq!(
        found.distribution,
        Fact::Unknown("it is a disk of data".to_owned())
    );
    assert!(found.kernels.known().is_none() && found.firmware.uefi.known().is_none());
    assert_eq!(lint(&found), []);
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["kind"], "data");
}

/// The Debian image that the lab installs, where it was prepared.
fn lab_image() -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab-cache");
    let found = std::fs::read_dir(&cache).ok()?.flatten().find(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("debian12-") && name.ends_with(".raw")
    });
    found.map(|entry| entry.path())
}

#[test]
fn the_debian_image_of_the_lab() {
    let Some(path) = lab_image() else {
        eprintln!("skipped: there is no target/lab-cache/debian12-*.raw; the lab makes it");
        return;
    };
    let disk = FileDisk::new(File::open(path).unwrap()).unwrap();
    let facts = read(&disk, None).unwrap();
    assert_eq!(facts.architecture, Fact::Known("x86_64".to_owned()));
    let distribution = facts.distribution.known().unwrap();
    assert_eq!(
        (distribution.id.as_str(), distribution.version_id.as_deref()),
        ("debian", Some("12"))
    );
    let efi = facts.firmware.uefi.known().unwrap().as_ref().unwrap();
    assert!(efi.loaders.iter().any(|loader| loader.removable_path));
    let kernels = facts.kernels.known().unwrap();
    assert!(!kernels.is_empty());
    for kernel in kernels {
        let initramfs = kernel.initramfs.known().unwrap().as_ref().unwrap();
        assert!(!initramfs.modules.is_empty(), "{}", initramfs.path);
    }
    assert!(facts.packages.known().unwrap().packages.len() > 100);
    let used = *facts.used_bytes.known().unwrap();
    assert!(used > 100 << 20 && used < facts.disk_size_bytes);
}
