use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, Transport};

use super::*;

/// A machine made of files, as QEMU shows one.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn files(&self, folder: &str, files: &[(&str, &str)]) {
        for (name, content) in files {
            self.file(&format!("{folder}/{name}"), format!("{content}\n"));
        }
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// A disk below `devices`, linked from /sys/block, with a size in GiB.
    fn disk(&self, name: &str, device: &str, gib: u64, files: &[(&str, &str)]) {
        let folder = format!("sys/devices/{device}/block/{name}");
        let size = (gib << 21).to_string();
        self.files(
            &folder,
            &[
                ("size", &size),
                ("ro", "0"),
                ("removable", "0"),
                ("queue/logical_block_size", "512"),
            ],
        );
        self.files(
            &folder,
            &[("queue/physical_block_size", "4096"), ("queue/rotational", "0")],
        );
        self.files(&folder, files);
        self.link(
            &format!("sys/block/{name}"),
            &format!("../devices/{device}/block/{name}"),
        );
    }

    fn read(&self) -> Inventory {
        read(
            self.0.path(),
            &Live {
                addresses: [("enp1s0".to_owned(), vec!["10.0.0.5/24".to_owned()])].into(),
                ..Live::default()
            },
        )
    }
}

fn find<'a>(inventory: &'a Inventory, name: &str) -> &'a Disk {
    inventory
        .disks
        .iter()
        .find(|disk| disk.kernel_name == name)
        .unwrap()
}

fn qemu() -> Machine {
    let machine = Machine::new();
    machine.disk(
        "vda",
        "pci0000:00/0000:00:03.0/virtio1",
        10,
        &[("serial", "root-disk-0001"), ("device/vendor", "0x1af4")],
    );
    machine.disk(
        "nvme0n1",
        "pci0000:00/0000:00:04.0/nvme/nvme0",
        20,
        &[
            ("device/serial", "NV01              "),
            ("device/model", "QEMU NVMe Ctrl    "),
            ("device/firmware_rev", "8.0"),
            ("wwid", "nvme.1b36-4e563031-51454d55-00000001"),
            ("nguid", "00000000-0000-0000-0000-000000000000"),
            ("eui", "52 54 00 aa bb cc dd 01"),
            ("queue/logical_block_size", "4096"),
        ],
    );
    machine.disk("nvme0c0n1", "pci0000:00/0000:00:04.0/nvme/nvme0/path", 20, &[]);
    let sata = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0";
    machine.disk(
        "sda",
        sata,
        30,
        &[
            ("device/wwid", "naa.5000C500A1B2C3D4"),
            ("device/vendor", "ATA     "),
            ("device/model", "QEMU HARDDISK"),
            ("device/rev", "2.5+"),
            ("queue/rotational", "1"),
            ("dev", "8:0"),
            ("sda1/partition", "1"),
            ("sda1/size", "2048"),
            ("sda1/dev", "8:1"),
            ("sda2/partition", "2"),
            ("sda2/dev", "8:2"),
            ("sda2/holders/dm-0/dm/name", "vg-root"),
        ],
    );
    machine.file(
        &format!("sys/devices/{sata}/block/sda/device/vpd_pg80"),
        b"\x00\x80\x00\x08  QM0001trailing",
    );
    machine.disk(
        "sdb",
        "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0",
        1,
        &[("removable", "1")],
    );
    for (name, gib) in [
        ("loop0", 1),
        ("ram0", 1),
        ("sr0", 1),
        ("dm-0", 1),
        ("md127", 1),
        ("zram0", 1),
        ("sdc", 0),
    ] {
        machine.disk(name, &format!("virtual/{name}"), gib, &[]);
    }
    machine.link("dev/disk/by-path/pci-0000:00:03.0", "../../vda");
    machine.link("dev/disk/by-path/pci-0000:00:03.0-part1", "../../vda1");
    machine.file(
        "proc/self/mountinfo",
        "25 1 8:1 / /boot rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
    );
    machine.file(
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
    );

    let nic = "sys/devices/pci0000:00/0000:00:02.0";
    machine.files(
        nic,
        &[
            ("vendor", "0x1af4"),
            ("device", "0x1041"),
            ("virtio0/vendor", "0x1af4"),
            ("virtio0/device", "0x0001"),
        ],
    );
    machine.files(
        &format!("{nic}/virtio0"),
        &[("modalias", "virtio:d00000001v00001AF4")],
    );
    let net = format!("{nic}/virtio0/net/enp1s0");
    machine.files(
        &net,
        &[
            ("address", "52:54:00:12:34:56"),
            ("type", "1"),
            ("carrier", "1"),
            ("speed", "-1"),
        ],
    );
    machine.link(&format!("{net}/device"), "../../../virtio0");
    machine.link(
        &format!("{nic}/virtio0/driver"),
        "../../../../bus/virtio/drivers/virtio_net",
    );
    machine.link(
        "sys/class/net/enp1s0",
        "../../devices/pci0000:00/0000:00:02.0/virtio0/net/enp1s0",
    );
    machine.files(
        "sys/class/net/lo",
        &[("address", "00:00:00:00:00:00"), ("type", "772")],
    );
    machine.files(
        "sys/class/net/bond0",
        &[("address", "52:54:00:12:34:56"), ("type", "1")],
    );
    machine.file("proc/cmdline", "initrd=initrd.img BOOTIF=01-52-54-00-12-34-56\n");

    machine.files(
        "sys/class/dmi/id",
        &[
            ("sys_vendor", "QEMU"),
            ("product_serial", " S-1 "),
            ("product_uuid", "AABB-CC"),
        ],
    );
    machine.file(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        [6, 0, 0, 0, 0],
    );
    machine.file("proc/meminfo", "MemTotal:         786432 kB\nMemFree: 1 kB\n");
    machine.file(
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Test CPU\nphysical id\t: 0\ncore id\t: 0\n\nprocessor\t: 1\nmodel name\t: Test CPU\nphysical id\t: 0\ncore id\t: 0\n\n",
    );
    machine
}

#[test]
fn reads_the_disks_of_each_bus() {
    let inventory = qemu().read();
    let names: Vec<&str> = inventory
        .disks
        .iter()
        .map(|disk| disk.kernel_name.as_str())
        .collect();
    assert_eq!(
        names,
        ["nvme0n1", "sda", "sdb", "vda"],
        "no paths, loops, optical drives, mappings or empty readers"
    );

    let virtio = find(&inventory, "vda");
    assert_eq!(
        (virtio.serial.as_str(), virtio.transport()),
        ("root-disk-0001", Transport::Virtio)
    );
    assert_eq!(
        (virtio.by_path.as_str(), virtio.pci_address.as_str()),
        ("pci-0000:00:03.0", "0000:00:03.0")
    );
    assert_eq!((virtio.size_bytes, virtio.vendor.as_str()), (10 << 30, ""));

    let nvme = find(&inventory, "nvme0n1");
    assert_eq!(
        (nvme.serial.as_str(), nvme.model.as_str(), nvme.transport()),
        ("NV01", "QEMU NVMe Ctrl", Transport::Nvme)
    );
    assert_eq!(
        (nvme.nguid.as_str(), nvme.wwn.as_str()),
        ("525400aabbccdd01", ""),
        "a made-up wwid is no name"
    );
    assert_eq!(
        (nvme.logical_sector_bytes, nvme.physical_sector_bytes),
        (4096, 4096)
    );

    let sata = find(&inventory, "sda");
    assert_eq!(
        (sata.wwn.as_str(), sata.serial.as_str()),
        ("naa.5000c500a1b2c3d4", "QM0001")
    );
    assert_eq!((sata.transport(), sata.rotational), (Transport::Sata, true));
    assert_eq!(
        sata.holders,
        ["dm-0 (vg-root)", "mounted at /boot", "used as swap"]
    );
    let usb = find(&inventory, "sdb");
    assert_eq!((usb.transport(), usb.removable), (Transport::Usb, true));
}

#[test]
fn reads_the_machine_around_them() {
    let inventory = qemu().read();
    let nic = &inventory.nics[0];
    assert_eq!(inventory.nics.len(), 1, "no loopback, no bond");
    assert_eq!(
        (nic.mac.as_str(), nic.driver.as_str()),
        ("52:54:00:12:34:56", "virtio_net")
    );
    assert_eq!(
        (nic.pci_id.as_str(), nic.pci_address.as_str()),
        ("1af4:1041", "0000:00:02.0")
    );
    assert!(nic.boot_interface && nic.link_up);
    assert_eq!(
        (nic.speed_mbps, nic.addresses.as_slice()),
        (None, &["10.0.0.5/24".to_owned()][..])
    );
    let fingerprint = inventory.fingerprint.unwrap();
    assert_eq!(
        (
            fingerprint.smbios_uuid.as_str(),
            fingerprint.smbios_serial.as_str()
        ),
        ("aabb-cc", "S-1")
    );
    assert_eq!(fingerprint.macs, ["52:54:00:12:34:56"]);
    let firmware = inventory.firmware.unwrap();
    assert_eq!(
        (firmware.mode(), firmware.secure_boot),
        (FirmwareMode::Uefi, Some(false))
    );
    let cpu = inventory.cpu.unwrap();
    assert_eq!(
        (cpu.sockets, cpu.cores, cpu.threads, cpu.model.as_str()),
        (1, 1, 2, "Test CPU")
    );
    assert_eq!(inventory.memory.unwrap().total_bytes, 768 << 20);
}

#[test]
fn an_empty_tree_is_a_machine_without_facts() {
    let inventory = read(Path::new("/nonexistent"), &Live::default());
    assert!(inventory.disks.is_empty() && inventory.nics.is_empty());
    assert_eq!(inventory.firmware.unwrap().mode(), FirmwareMode::Bios);
}

#[test]
fn texts_of_the_firmware_are_bounded_and_cleaned() {
    let machine = Machine::new();
    machine.file(
        "sys/class/dmi/id/product_name",
        format!("evil\x1b[2J{}", "x".repeat(5000)),
    );
    let product = machine.read().system.unwrap().product;
    assert!(product.starts_with("evil[2J") && product.len() <= 256);
}

#[test]
fn is_shown_with_the_names_of_the_contract() {
    let inventory = qemu().read();
    let json = to_json(&inventory);
    assert_eq!(json["disks"][1]["transport"], "sata");
    assert_eq!(json["disks"][3]["serial"], "root-disk-0001");
    assert_eq!(json["firmware"]["mode"], "uefi");
    assert_eq!(json["nics"][0]["addresses"][0], "10.0.0.5/24");
    assert!(
        to_text(&inventory).contains("vda (serial root-disk-0001, 10.7 GB), virtio, sectors of 512, free")
    );
}

#[test]
fn the_boot_interface_is_missed_until_its_driver_is_loaded() {
    let machine = Machine::new();
    assert!(
        boot_interface_is_there(machine.0.path()),
        "no command line, nothing to wait for"
    );
    machine.file("proc/cmdline", "BOOTIF=01-52-54-00-12-34-56\n");
    assert!(!boot_interface_is_there(machine.0.path()));
    machine.files(
        "sys/class/net/eth0",
        &[
            ("address", "52:54:00:12:34:56"),
            ("type", "1"),
            ("device/vendor", "0x8086"),
        ],
    );
    assert!(boot_interface_is_there(machine.0.path()));
}

mod fixtures;
