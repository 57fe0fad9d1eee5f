//! A disk, what is on it, and how it feels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Disk {
    /// The kernel's name at that time; never a name to choose a disk by.
    pub kernel_name: String,
    /// Link below `/dev/disk/by-path`.
    pub by_path: String,
    /// Serial number; with virtio at most 20 characters of what the host gave it.
    pub serial: String,
    /// World wide name.
    pub wwn: String,
    /// The second half of a world wide name of 16 bytes, as 16 hex digits after `0x`; empty when there is none.
    pub wwn_vendor_extension: String,
    /// NVMe NGUID, or the EUI-64 of a namespace that has none.
    pub nguid: String,
    /// NVMe EUI-64.
    pub eui64: String,
    /// SCSI address: host, channel, target and LUN, `0:2:0:0`.
    pub hctl: String,
    /// Model.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Firmware revision.
    pub firmware_revision: String,
    /// `nvme`, `sata`, `sas`, `scsi`, `virtio`, `usb`, `raid`, `iscsi`, `mmc` or empty.
    pub transport: String,
    /// Driver of the controller it hangs on.
    pub driver: String,
    /// Whether it turns.
    pub rotational: bool,
    /// Size.
    pub size_bytes: u64,
    /// Logical sector size.
    pub logical_sector_bytes: u32,
    /// Physical sector size.
    pub physical_sector_bytes: u32,
    /// PCI address of the controller it hangs on.
    pub pci_address: String,
    /// NUMA node of its controller; unset when the machine has only one or does not say.
    pub numa_node: Option<u32>,
    /// Volume of an SDI card that this disk presents; empty for any other disk.
    pub volume_id: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Can be taken out.
    pub removable: bool,
    /// Who holds it; empty for a free disk.
    pub holders: Vec<String>,
    /// Name of the dm-multipath map that this is a path of; empty for any other disk.
    pub multipath: String,
    /// Unset when the disk was not asked or does not say.
    pub health: Option<DiskHealth>,
    /// Partitions in short.
    pub content_summary: String,
    /// What is written on it, by its signatures.
    pub contents: Vec<Content>,
    /// Whether it was read for signatures: without, no `contents` does not mean blank.
    pub contents_read: bool,
}

/// What a disk says of itself (NVMe health log, ATA SMART).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DiskHealth {
    /// `ok`, `warning` (works, with something worn or counted), `failing` (says itself that it fails).
    pub status: String,
    /// What it complains about; empty with `ok`.
    pub reasons: Vec<String>,
    /// Temperature.
    pub temperature_celsius: Option<i32>,
    /// How much of its life is used, as the maker counts it; above 100 when it is older than meant.
    pub used_percent: Option<u32>,
    /// Spare blocks that are left.
    pub spare_percent: Option<u32>,
    /// Errors of its medium that could not be corrected, or sectors that it gave up.
    pub media_errors: Option<u64>,
    /// Hours with power.
    pub power_on_hours: Option<u64>,
}

/// One signature on a disk or on a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Content {
    /// Number of the partition; unset for the whole disk.
    pub partition: Option<u32>,
    /// `gpt`, `mbr`, `ext4`, `xfs`, `btrfs`, `vfat`, `ntfs`, `swap`, `lvm-pv`, `md-raid`, `zfs`, `luks`, `vmfs`,
    /// `gfs2`, `ocfs2`, `gpfs`, `multipath` and others.
    pub kind: String,
    /// Label of the file system or name of the partition.
    pub label: String,
    /// UUID as the signature has it.
    pub uuid: String,
    /// `system` (an operating system starts from it), `data`, `member` (of an array, group or pool) or empty.
    pub role: String,
    /// Volume group, array or pool that it is a member of.
    pub group: String,
}

impl Disk {
    /// "nvme0n1 (SAMSUNG MZ7, serial S3X, 480 GB)", for messages.
    #[must_use]
    pub fn title(&self) -> String {
        let mut facts = Vec::new();
        if !self.model.is_empty() {
            facts.push(self.model.clone());
        }
        if !self.serial.is_empty() {
            facts.push(format!("serial {}", self.serial));
        }
        facts.push(shown_size(self.size_bytes));
        format!("{} ({})", self.kernel_name, facts.join(", "))
    }
}

/// Bytes for people, with three digits.
#[must_use]
pub fn shown_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1000),
    ];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let tenths = u128::from(bytes) * 10 / u128::from(factor);
            return if tenths >= 1000 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}
