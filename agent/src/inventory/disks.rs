//! Disks with their stable names.
//!
//! What identifies a disk differs by its bus: virtio has a serial of at most 20 characters in `serial`, NVMe a padded
//! one in `device/serial` and its NGUID or EUI-64 beside `wwid`, SCSI and SATA a WWN in `device/wwid` and the serial
//! in VPD page 0x80.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, Transport};

use super::{contents, disk_path, processors, sysfs};

const MAX_DISKS: usize = 1024;
/// Not disks of their own: memory, files, optical drives, floppies, and what is made out of disks.
const NOT_WHOLE: [&str; 9] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock"];

/// All whole disks below a root folder, by kernel name.
pub fn read(root: &Path) -> Vec<Disk> {
    let block = root.join("sys/block");
    let names = sysfs::names(&block)
        .into_iter()
        .filter(|name| is_whole_disk(name, &block));
    let around = Around {
        mounts: Mounts::read(root),
        is_virtual_machine: processors::is_virtual_machine(root),
    };
    let by_path = by_path(root);
    names
        .take(MAX_DISKS)
        .map(|name| {
            let mut disk = disk(root, &name, &around, by_path.get(&name));
            contents::look(root, &mut disk);
            disk
        })
        .collect()
}

fn is_whole_disk(name: &str, block: &Path) -> bool {
    if NOT_WHOLE.iter().any(|prefix| name.starts_with(prefix)) || is_nvme_path(name) {
        return false;
    }
    // Card readers without a card, and boot partitions of an eMMC.
    sysfs::number(block.join(name).join("size")).is_some_and(|size| size > 0)
        && !name.contains("boot")
        && !name.contains("rpmb")
}

/// `nvme0c0n1` is one path to a multipath namespace; the usable device is `nvme0n1`.
fn is_nvme_path(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|rest| {
        let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        rest.starts_with('c')
    })
}

/// What is read once for all disks.
#[derive(Debug)]
struct Around {
    mounts: Mounts,
    is_virtual_machine: bool,
}

fn disk(root: &Path, name: &str, around: &Around, by_path: Option<&String>) -> Disk {
    let folder = root.join("sys/block").join(name);
    let device = folder.join("device");
    let path = disk_path::hardware(&folder);
    let nvme = name.starts_with("nvme");
    let nguid = ["nguid", "eui"].map(|id| {
        if nvme {
            hex_id(&sysfs::value(folder.join(id)))
        } else {
            String::new()
        }
    });
    let wwn = [folder.join("wwid"), device.join("wwid")]
        .into_iter()
        .map(|path| sysfs::value(path).to_lowercase());
    let transport = transport(name, &path, &device);
    let serial = serial(&folder, &device);
    let wwn = wwn
        .into_iter()
        .find(|wwn| {
            ["naa.", "t10.", "eui.", "uuid."]
                .iter()
                .any(|kind| wwn.starts_with(kind))
        })
        .unwrap_or_default();
    let [nguid, eui64] = nguid;
    Disk {
        kernel_name: name.to_owned(),
        by_path: by_path.cloned().unwrap_or_default(),
        volume_id: disk_path::volume_id(&folder, &path, transport, &serial, around.is_virtual_machine),
        serial,
        // What the kernel makes up of vendor, serial and model when a namespace has no name is no world-wide name.
        wwn_vendor_extension: vendor_extension(&wwn),
        wwn,
        nguid: if nguid.is_empty() { eui64.clone() } else { nguid },
        eui64,
        hctl: disk_path::hctl(&device),
        model: sysfs::value(device.join("model")),
        vendor: vendor(&device),
        firmware_revision: first_value(&[device.join("firmware_rev"), device.join("rev")]),
        transport: transport as i32,
        driver: disk_path::driver(&path, &device),
        numa_node: sysfs::numa_node(&path),
        rotational: sysfs::flag(folder.join("queue/rotational")),
        size_bytes: sysfs::number(folder.join("size"))
            .unwrap_or(0)
            .saturating_mul(512),
        logical_sector_bytes: sector(&folder, "logical_block_size"),
        physical_sector_bytes: sector(&folder, "physical_block_size"),
        pci_address: sysfs::pci_address(&path),
        read_only: sysfs::flag(folder.join("ro")),
        removable: sysfs::flag(folder.join("removable")),
        holders: holders(&folder, name, &around.mounts),
        multipath: multipath(&folder),
        content_summary: content(&folder, name),
        ..Disk::default()
    }
}

/// 512 for what no disk has: nothing may divide by it.
fn sector(folder: &Path, name: &str) -> u32 {
    sysfs::number(folder.join("queue").join(name))
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| bytes.is_power_of_two() && (512..=1 << 20).contains(bytes))
        .unwrap_or(512)
}

fn first_value(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(sysfs::value)
        .find(|value| !value.is_empty())
        .unwrap_or_default()
}

fn serial(folder: &Path, device: &Path) -> String {
    let plain = first_value(&[folder.join("serial"), device.join("serial")]);
    if !plain.is_empty() {
        return plain;
    }
    // SCSI: unit serial number, VPD page 0x80: four bytes of head, then text.
    let page = sysfs::bytes(device.join("vpd_pg80")).unwrap_or_default();
    let text = page.get(4..).unwrap_or_default();
    let length = page.get(2..4).map_or(0, |length| {
        usize::from(u16::from_be_bytes([length[0], length[1]]))
    });
    sysfs::clean(&String::from_utf8_lossy(&text[..length.min(text.len())]))
}

/// PCI vendors show as numbers ("0x1af4"): those are no names.
fn vendor(device: &Path) -> String {
    let vendor = sysfs::value(device.join("vendor"));
    if vendor.starts_with("0x") {
        String::new()
    } else {
        vendor
    }
}

/// "00000000-…" and "00 00 …" are how the kernel says that there is none.
fn hex_id(text: &str) -> String {
    let digits: String = text
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect::<String>()
        .to_lowercase();
    if digits.chars().all(|digit| digit == '0') {
        String::new()
    } else {
        digits
    }
}

fn transport(name: &str, path: &Path, device: &Path) -> Transport {
    let folders: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
    let has = |prefix: &str| {
        folders.iter().any(|folder| {
            folder
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
        })
    };
    match name {
        _ if name.starts_with("nvme") => return Transport::Nvme,
        _ if name.starts_with("mmcblk") => return Transport::Mmc,
        _ if name.starts_with("vd") => return Transport::Virtio,
        _ => {}
    }
    if has("usb") {
        Transport::Usb
    } else if has("session") {
        Transport::Iscsi
    } else if sysfs::value(device.join("vendor")) == "ATA" || has("ata") {
        Transport::Sata
    } else if has("end_device-") || has("port-") {
        Transport::Sas
    } else if is_raid_driver(path) {
        Transport::Raid
    } else if name.starts_with("sd") {
        // Among others a disk behind virtio-scsi.
        Transport::Scsi
    } else {
        Transport::Unspecified
    }
}

/// Logical drives of RAID controllers, by the driver of the PCI device above the disk.
fn is_raid_driver(path: &Path) -> bool {
    const DRIVERS: [&str; 7] = [
        "megaraid_sas",
        "aacraid",
        "hpsa",
        "smartpqi",
        "arcmsr",
        "3w-9xxx",
        "3w-sas",
    ];
    path.ancestors()
        .any(|folder| DRIVERS.contains(&sysfs::link_name(folder.join("driver")).as_str()))
}

/// Who uses the disk or a partition of it.
fn holders(folder: &Path, name: &str, mounts: &Mounts) -> Vec<String> {
    let mut found = Vec::new();
    for (name, folder) in
        std::iter::once((name.to_owned(), folder.to_path_buf())).chain(partitions(folder, name))
    {
        let number = sysfs::value(folder.join("dev"));
        found.extend(mounts.users(&number, &name));
        // A dm or md device says its own name, the kernel's is of use to nobody else.
        for holder in sysfs::names(folder.join("holders")) {
            let label = sysfs::value(folder.join("holders").join(&holder).join("dm/name"));
            found.push(if label.is_empty() {
                holder
            } else {
                format!("{holder} ({label})")
            });
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The name of the device-mapper map that has the whole disk as one of its paths.
fn multipath(folder: &Path) -> String {
    let holders = folder.join("holders");
    let maps = sysfs::names(&holders)
        .into_iter()
        .map(|name| holders.join(name).join("dm"));
    maps.filter(|map| sysfs::value(map.join("uuid")).starts_with("mpath-"))
        .map(|map| sysfs::value(map.join("name")))
        .next()
        .unwrap_or_default()
}

/// The second half of a name of 16 bytes ("naa.6…").
fn vendor_extension(wwn: &str) -> String {
    let digits = wwn.strip_prefix("naa.").unwrap_or_default();
    match digits.get(16..) {
        Some(extension) if digits.len() == 32 => format!("0x{extension}"),
        _ => String::new(),
    }
}

fn partitions(folder: &Path, disk: &str) -> Vec<(String, PathBuf)> {
    sysfs::names(folder)
        .into_iter()
        .filter(|name| name.starts_with(disk) && folder.join(name).join("partition").exists())
        .map(|name| (name.clone(), folder.join(name)))
        .collect()
}

fn content(folder: &Path, disk: &str) -> String {
    let parts: Vec<String> = partitions(folder, disk)
        .into_iter()
        .map(|(_, folder)| {
            let number = sysfs::value(folder.join("partition"));
            let mebibytes = sysfs::number(folder.join("size")).unwrap_or(0) >> 11;
            format!("p{number} {mebibytes} MiB")
        })
        .collect();
    parts.join(", ")
}

fn by_path(root: &Path) -> BTreeMap<String, String> {
    let folder = root.join("dev/disk/by-path");
    let links = sysfs::names(&folder)
        .into_iter()
        .filter(|name| !name.contains("-part"));
    let mut found = BTreeMap::new();
    for link in links {
        // Of two links to one disk the first by name stays, so that the answer is the same each time.
        found.entry(sysfs::link_name(folder.join(&link))).or_insert(link);
    }
    found
}

/// Mounted file systems and swap, by device number and by device file.
#[derive(Debug, Default)]
struct Mounts {
    by_number: Vec<(String, String)>,
    by_name: Vec<(String, String)>,
}

impl Mounts {
    fn read(root: &Path) -> Self {
        let mut mounts = Self::default();
        let table = sysfs::text(root.join("proc/self/mountinfo")).unwrap_or_default();
        for line in table.lines() {
            let columns: Vec<&str> = line.split(' ').collect();
            let (Some(number), Some(point)) = (columns.get(2), columns.get(4)) else {
                continue;
            };
            mounts.by_number.push(((*number).to_owned(), (*point).to_owned()));
            // btrfs shows a number of its own; its source names the device.
            let source = columns
                .iter()
                .position(|column| *column == "-")
                .and_then(|dash| columns.get(dash + 2));
            if let Some(name) = source.and_then(|source| source.strip_prefix("/dev/")) {
                mounts
                    .by_name
                    .push((name.to_owned(), format!("mounted at {point}")));
            }
        }
        for line in sysfs::text(root.join("proc/swaps"))
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            if let Some(name) = line
                .split_whitespace()
                .next()
                .and_then(|path| path.strip_prefix("/dev/"))
            {
                mounts.by_name.push((name.to_owned(), "used as swap".to_owned()));
            }
        }
        mounts
    }

    fn users(&self, number: &str, name: &str) -> Vec<String> {
        let numbered = self
            .by_number
            .iter()
            .filter(|(found, _)| !number.is_empty() && found == number);
        let named = self.by_name.iter().filter(|(found, _)| found == name);
        numbered
            .map(|(_, point)| format!("mounted at {point}"))
            .chain(named.map(|(_, user)| user.clone()))
            .collect()
    }
}
