//! Whole machines: trees captured from virtual ones, and made by hand after real servers (`agent/tests/fixtures`).
//!
//! A line is `path = text`, `path += text` (more of it; `\n` and `\t` stand for themselves), `path # hex` or
//! `path -> link`, below the folder that the last `[folder]` names.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::super::*;

/// Lays a tree out below a folder.
fn lay(tree: &str, root: &Path) {
    let mut folder = PathBuf::new();
    for line in tree
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            folder = root.join(name);
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (name, sign) = (words.next().unwrap(), words.next().unwrap());
        let value = words.next().unwrap_or_default();
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match sign {
            "=" => fs::write(path, format!("{value}\n")).unwrap(),
            "+=" => {
                let mut file = fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .unwrap();
                let text = value.replace("\\n", "\n").replace("\\t", "\t");
                file.write_all(text.as_bytes()).unwrap();
            }
            "#" => fs::write(path, hex::decode(value).unwrap()).unwrap(),
            "->" => symlink(value, path).unwrap(),
            other => panic!("{other} in {line}"),
        }
    }
}

fn inventory_of(tree: &str) -> Inventory {
    let root = tempfile::tempdir().unwrap();
    lay(tree, root.path());
    let mut inventory = read(root.path(), &Live::default());
    // It would change with each release.
    inventory.agent_version = "0".to_owned();
    inventory
}

/// The JSON that programs get, and the lines that people get.
macro_rules! shows {
    ($name:ident, $file:literal) => {
        #[test]
        fn $name() {
            let inventory = inventory_of(include_str!(concat!(
                "../../../tests/fixtures/",
                $file,
                ".txt"
            )));
            let json = serde_json::to_string_pretty(&to_json(&inventory)).unwrap();
            insta::assert_snapshot!(concat!($file, "-json"), json);
            insta::assert_snapshot!($file, to_text(&inventory));
        }
    };
}

shows!(qemu_with_uefi_and_nvme, "qemu-q35-uefi-nvme");
shows!(qemu_with_bios_and_virtio, "qemu-pc-bios-virtio");
shows!(qemu_with_sata, "qemu-q35-sata");
shows!(qemu_with_scsi_and_raid, "qemu-q35-scsi");
shows!(nvme_and_mellanox, "handmade-nvme-mellanox");
shows!(raid_controller_and_broadcom, "handmade-raid-broadcom");
shows!(volumes_of_a_dpu, "handmade-sdi-dpu");

/// What the snapshots show, in the facts that decisions hang on: a snapshot is easily accepted unread.
#[test]
fn facts_that_rules_hang_on() {
    let nvme = inventory_of(include_str!("../../../tests/fixtures/handmade-nvme-mellanox.txt"));
    let two_ports = nvme
        .disks
        .iter()
        .find(|disk| disk.kernel_name == "nvme1n1")
        .unwrap();
    assert_eq!(
        (
            two_ports.pci_address.as_str(),
            two_ports.driver.as_str(),
            two_ports.numa_node
        ),
        ("0000:39:00.0", "nvme", Some(1)),
        "a namespace with two ports hangs on its first controller"
    );
    assert_eq!(nvme.disks.len(), 2, "one of its paths is no disk");
    let gpu = nvme.pci.iter().find(|device| device.class == "030200").unwrap();
    assert_eq!(
        (gpu.driver.as_str(), gpu.modalias_modules.as_slice()),
        ("", &["nouveau".to_owned(), "nvidia_drm".to_owned()][..])
    );
    assert!(nvme.disks.iter().all(|disk| disk.volume_id.is_empty()));

    let raid = inventory_of(include_str!("../../../tests/fixtures/handmade-raid-broadcom.txt"));
    let drive = &raid.disks[0];
    assert_eq!(
        (
            drive.hctl.as_str(),
            drive.driver.as_str(),
            drive.wwn_vendor_extension.as_str()
        ),
        ("0:2:0:0", "megaraid_sas", "0x270ba1b209a40e61")
    );
    let paths: Vec<&str> = raid
        .disks
        .iter()
        .filter(|disk| disk.multipath == "mpatha")
        .map(|disk| disk.kernel_name.as_str())
        .collect();
    assert_eq!(paths, ["sdd", "sde"]);
    assert_eq!(raid.bmc.unwrap().address, "169.254.1.1");

    let dpu = inventory_of(include_str!("../../../tests/fixtures/handmade-sdi-dpu.txt"));
    let volumes: Vec<&str> = dpu.disks.iter().map(|disk| disk.volume_id.as_str()).collect();
    assert_eq!(volumes, ["9d1c2b3a-4f5e-4d6c-8b7a-0f1e2d3c4b5a", "vol-7f3a9c21"]);
}

/// What devices and neighbours tell completes an inventory, and leaves what they do not know.
#[test]
fn what_is_learned_later_completes_it() {
    use imprint_proto::agent::v1::{Bmc, DiskHealth, HealthStatus, LldpNeighbour};

    let mut inventory = inventory_of(include_str!("../../../tests/fixtures/qemu-q35-uefi-nvme.txt"));
    assert_eq!(
        inventory.bmc,
        Some(Bmc::default()),
        "SMBIOS says that there is one, and not where"
    );
    let before = inventory.clone();
    Live::default().complete(&mut inventory);
    assert_eq!(inventory, before);

    let health = DiskHealth {
        status: HealthStatus::Ok as i32,
        ..DiskHealth::default()
    };
    let neighbour = LldpNeighbour {
        system_name: "leaf-07a".to_owned(),
        ..LldpNeighbour::default()
    };
    let bmc = Bmc {
        address: "10.9.8.7".to_owned(),
        ..Bmc::default()
    };
    let live = Live {
        health: [
            ("nvme0n1".to_owned(), health.clone()),
            ("sdz".to_owned(), health.clone()),
        ]
        .into(),
        neighbours: [("eth0".to_owned(), neighbour.clone())].into(),
        bmc: Some(bmc.clone()),
        ..Live::default()
    };
    live.complete(&mut inventory);
    assert_eq!(inventory.disks[0].health, Some(health));
    assert_eq!(inventory.nics[0].lldp, Some(neighbour));
    assert_eq!(inventory.bmc, Some(bmc));
}
