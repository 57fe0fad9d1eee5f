//! On loop devices: a LUKS that cryptsetup made, and partitions that hold nothing known. cloud-init's own code reads what is
//! written. Needs root and loop devices; where the machine has none there is nothing to try.

use std::{fs, process::Command};

use imprint_proto::agent::v1::{CloudInitSeed, DiskContent};
use serde_json::Value;

use super::*;
use crate::finish::{
    clear_mounts, erase_secrets,
    guest::Traces,
    table,
    tests::{Loop, MIB, Part, gpt_disk, run, unpacked},
};

const USER: &str = "#cloud-config\npassword: secret-of-the-user-data\n";
const V2: &str = "version: 2\nethernets: {lan0: {match: {macaddress: '52:54:00:00:00:01'}, set-name: lan0, addresses: [192.0.2.5/24]}}\n";
const DHCP: &str = "version: 2\nethernets: {lan0: {match: {macaddress: '52:54:00:00:00:01'}, set-name: lan0, dhcp4: true, dhcp-identifier: mac}}\n";
const NETWORK_DATA: &str = r#"{"links": [{"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}],
    "networks": [{"id": "n", "type": "ipv4", "link": "l", "ip_address": "192.0.2.5", "netmask": "255.255.255.0"}],
    "services": []}"#;

fn plan(layout: SeedLayout, network: &str) -> FinishPlan {
    let meta_data = match layout {
        SeedLayout::ConfigDrive => r#"{"uuid":"01AB","hostname":"db1","name":"db1"}"#,
        _ => "instance-id: 01AB\nlocal-hostname: db1\n",
    };
    FinishPlan {
        grow_root: true,
        seed_partition: true,
        seed_layout: layout.into(),
        seed: Some(CloudInitSeed {
            meta_data: meta_data.into(),
            user_data: USER.into(),
            vendor_data: Vec::new(),
            network_config: network.into(),
        }),
        ..FinishPlan::default()
    }
}

fn program(root: &Path, name: &str) -> Command {
    let libraries = ["lib", "usr/lib"]
        .map(|lib| format!("{}/{lib}/{}-linux-gnu", root.display(), std::env::consts::ARCH));
    let mut command = Command::new(name);
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}

/// A LUKS of 20 MiB: cryptsetup's where it is unpacked, else the beginning of one.
fn luks(path: &Path) {
    fs::File::create(path).unwrap().set_len(20 * MIB).unwrap();
    if let Some(root) = unpacked().filter(|root| root.join("sbin/cryptsetup").exists()) {
        let cryptsetup = root.join("sbin/cryptsetup");
        let key = path.with_extension("key");
        fs::write(&key, "secret").unwrap();
        let done = program(&root, cryptsetup.to_str().unwrap())
            .args([
                "luksFormat",
                "-q",
                "--pbkdf",
                "pbkdf2",
                "--pbkdf-force-iterations",
                "1000",
            ])
            .args([path, &key])
            .status()
            .unwrap();
        assert!(done.success());
    } else {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(b"LUKS\xba\xbe\x00\x02", 0).unwrap();
    }
}

fn places(folder: &Path) -> Places {
    Places {
        mounts: folder.join("mnt"),
        guest: folder.join("guest"),
        ..Places::below(Path::new("/"), folder)
    }
}

/// 64 MiB with an image of 32: /boot that is no root, and a LUKS.
fn disk(folder: &Path, sector: u64) -> Option<(Loop, WrittenDisk)> {
    let (root, boot) = (folder.join("luks"), folder.join("boot"));
    luks(&root);
    fs::create_dir_all(folder.join("tree/grub")).unwrap();
    crate::finish::tests::ext4(&boot, 8, &folder.join("tree"), &["-b", "4096"])?;
    let parts = [Part::new(1, 1, 8, &boot), Part::new(3, 9, 20, &root)];
    gpt_disk(&folder.join("image"), sector, (32, 64), &parts)
}

#[test]
fn the_seed_of_a_luks_is_found_by_cloud_init_and_made_once() {
    for (sector, layout, network, source, label) in [
        (512, SeedLayout::NoCloud, V2, "NoCloud", "CIDATA"),
        (4096, SeedLayout::NoCloud, V2, "NoCloud", "CIDATA"),
        (
            512,
            SeedLayout::ConfigDrive,
            NETWORK_DATA,
            "ConfigDrive",
            "config-2",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some((device, written)) = disk(folder.path(), sector) else {
            return;
        };
        let places = places(folder.path());
        let plan = plan(layout, network);
        let closed = System::prepare(&places, &written, &FinishPlan::default()).unwrap_err();
        assert!(closed.to_string().contains("p3 (luks)"), "{closed}");
        assert!(closed.remedy().contains("seed_partition"), "{}", closed.remedy());
        // Nothing but a backup GPT that is in its place has come of that; each round is that of an agent that was killed.
        let mut numbers = Vec::new();
        for round in 0..3 {
            let (system, done) = System::prepare(&places, &written, &plan).unwrap();
            assert!(!system.reports());
            assert_eq!(
                done.detail.contains("of 4 MiB made"),
                round == 0,
                "{}",
                done.detail
            );
            assert!(
                done.notes.iter().any(|note| note.contains("keeps its size")),
                "{done:?}"
            );
            if round == 1 {
                // Killed between table and file system: what an older disk had there is no seed.
                let System::Closed(found) = &system else {
                    panic!("{system:?}")
                };
                assert_eq!(erase(&places, &written, found).unwrap(), 1);
            }
            let system = System::find(&places, &written, &plan).unwrap();
            let done = system.seed(&places, &written, &plan).unwrap();
            assert!(
                done.detail.contains("partition 2") && done.detail.contains(label),
                "{done:?}"
            );
            let told = done.notes.join("; ");
            assert!(told.contains("can be read by whoever reads the disk"), "{told}");
            let done = system.guest(&places, &plan, &Traces::default()).unwrap();
            assert!(done.detail.contains("will not report"), "{done:?}");
            if !places.sys.join("firmware/efi").is_dir() {
                let (entry, _) = system.boot_entry(&places, &written, &plan, &[]).unwrap();
                assert_eq!(entry, "");
            }
            clear_mounts(&places).unwrap();
            let System::Closed(found) = &system else {
                panic!("{system:?}")
            };
            let part = found
                .table
                .partitions
                .iter()
                .find(|part| part.number == 2)
                .unwrap();
            assert_eq!(part.first_lba * sector, 59 * MIB);
            assert_eq!(found.table.partitions[1].unique, part.unique);
            assert_eq!(found.table.partitions.len(), 3);
            numbers.push(part.unique);
        }
        assert!(numbers.iter().all(|unique| *unique == numbers[0]), "{numbers:?}");
        // The table keeps what the image has.
        let mut file = fs::File::open(&device.0).unwrap();
        let table = table::read(&mut file, sector).unwrap();
        assert_eq!(table.partitions[2].unique, [3; 16]);
        let node = format!("{}p2", device.0);
        let said = run("blkid", &["-p", "-o", "export", &node]).unwrap();
        assert!(
            said.contains(&format!("LABEL={label}\n")) && said.contains("TYPE=vfat"),
            "{said}"
        );
        if sector == 512 {
            cloud_init_reads(&node, source);
        }
        // A disk that is not wanted tells nothing.
        let image = folder.path().join("image");
        let holds = || {
            fs::read(&image)
                .unwrap()
                .windows(USER.len())
                .any(|bytes| bytes == USER.as_bytes())
        };
        assert!(holds());
        assert_eq!(erase_secrets(&places, &written).unwrap(), 1);
        assert!(!holds());
    }
}

fn cloud_init_reads(node: &str, source: &str) {
    let Some(packages) =
        unpacked().filter(|root| root.join("usr/lib/python3/dist-packages/cloudinit").exists())
    else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/finish/closed/oracle.py");
    let output = program(&packages, "/usr/bin/python3")
        .arg(script)
        .args([node, source])
        .env("PYTHONPATH", packages.join("usr/lib/python3/dist-packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&read["instance"], &read["host"]),
        (&"01AB".into(), &"db1".into())
    );
    assert_eq!(read["user"], USER);
    let network = read["network"].as_str().unwrap();
    assert!(
        network.contains("192.0.2.5") && network.contains("lan0"),
        "{network}"
    );
}

#[test]
fn an_mbr_and_what_nobody_knows_get_one_too_and_a_whole_disk_none() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let mut bytes = vec![0; 64 << 20];
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&40960_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[1 << 20..2 << 20].fill(0xa7);
    fs::write(&image, &bytes).unwrap();
    let Some(device) = run("losetup", &["--find", "--show", "-P", image.to_str().unwrap()]).map(Loop) else {
        return;
    };
    run("blockdev", &["--setrw", &device.0]).unwrap();
    let written = WrittenDisk {
        name: device.0.strip_prefix("/dev/").unwrap().to_owned(),
        sector_bytes: 512,
        size_bytes: 64 * MIB,
    };
    let places = places(folder.path());
    let plan = plan(SeedLayout::NoCloud, "");
    for _ in 0..2 {
        let (system, done) = System::prepare(&places, &written, &plan).unwrap();
        assert!(done.detail.contains("no known file system"), "{}", done.detail);
        system.seed(&places, &written, &plan).unwrap();
    }
    let System::Closed(found) = System::find(&places, &written, &plan).unwrap() else {
        panic!("it has no root");
    };
    assert_eq!(found.table.partitions.len(), 2);
    assert_eq!(found.table.partitions[1].first_lba, 60 << 11);
    assert!(
        fs::read(&image).unwrap()[1 << 20..2 << 20]
            .iter()
            .all(|byte| *byte == 0xa7)
    );
    // An image that brings a partition for it, empty or with its builder's seed, has that one written.
    let mut owned = found.clone();
    owned.table.partitions.clear();
    assert_eq!(
        seed_node(&places, &written, &owned)
            .unwrap()
            .map(|node| node.number),
        Some(2)
    );

    let file = fs::File::options().write(true).open(&device.0).unwrap();
    file.write_all_at(&[0; 512], 0).unwrap();
    settle::reread(&file).unwrap();
    drop(file);
    let error = System::prepare(&places, &written, &plan).unwrap_err();
    let said = crate::session::backoff::chain(&error);
    assert!(
        said.contains("no partition table") && error.remedy().contains("8 MiB"),
        "{said}"
    );
}

#[test]
fn what_has_no_place_is_refused_or_told() {
    let of = |layout, network| contents(&plan(layout, network));
    let names = |contents: &Contents| -> Vec<String> {
        contents.files.iter().map(|(name, _)| name.clone()).collect()
    };
    let found = of(SeedLayout::NoCloud, "").unwrap();
    assert_eq!(names(&found), ["user-data", "meta-data"]);
    let found = of(SeedLayout::NoCloud, V2).unwrap();
    assert_eq!(names(&found), ["network-config", "user-data", "meta-data"]);
    let found = of(SeedLayout::NoCloud, NETWORK_DATA).unwrap();
    assert!(String::from_utf8_lossy(&found.files[0].1).contains("192.0.2.5/24"));
    let found = of(SeedLayout::ConfigDrive, NETWORK_DATA).unwrap();
    assert_eq!(found.files[0].0, "openstack/latest/network_data.json");
    let found = of(SeedLayout::ConfigDrive, DHCP).unwrap();
    assert_eq!((found.files.len(), found.notes.len()), (2, 1));
    let refused = of(SeedLayout::ConfigDrive, V2).unwrap_err();
    assert!(matches!(refused, ClosedError::Network) && refused.remedy().contains("network_data.json"));
    // Before anything is looked at.
    let none = WrittenDisk {
        name: "no-such-disk".into(),
        sector_bytes: 512,
        size_bytes: 0,
    };
    for change in [
        |plan: &mut FinishPlan| plan.remove_image_keys = true,
        |plan: &mut FinishPlan| plan.lock_image_passwords = true,
    ] {
        let mut plan = plan(SeedLayout::NoCloud, "");
        change(&mut plan);
        let refused = partitions(&places(Path::new("/nowhere")), &none, &plan).unwrap_err();
        assert!(
            matches!(refused, FinishError::Closed(ClosedError::Users)),
            "{refused}"
        );
    }
}

#[test]
fn other_seeds_of_the_machine_are_told() {
    let disk = |name: &str, contents: &[(u32, &str)]| Disk {
        kernel_name: name.into(),
        contents: contents
            .iter()
            .map(|(partition, label)| DiskContent {
                partition: Some(*partition).filter(|number| *number > 0),
                label: (*label).to_owned(),
                ..DiskContent::default()
            })
            .collect(),
        ..Disk::default()
    };
    let disks = [
        disk("sda", &[(1, "boot"), (2, "CIDATA"), (5, "cidata")]),
        disk("sdb", &[(0, "CONFIG-2"), (1, "data")]),
    ];
    let told = others(&disks, "sda", 2);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("sda, partition 5, has the label cidata"),
        "{told:?}"
    );
    assert!(told[1].starts_with("sdb has the label CONFIG-2"), "{told:?}");
}
