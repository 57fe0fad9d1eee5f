//! What is known of an image. The names here are those of the JSON form and stay as they are.

use serde::{Deserialize, Serialize};

use crate::PartitionSummary;

/// The version of [`Facts`]; it rises when a field changes its meaning.
pub const FACTS_VERSION: u32 = 1;

/// A value that was read, or why it could not be. Nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// It was read.
    Known(T),
    /// It could not be read, for this reason.
    Unknown(String),
}

impl<T> Fact<T> {
    /// The value, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// Everything that is read from an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`FACTS_VERSION`].
    pub version: u32,
    /// What the disk was looked at as.
    #[serde(default)]
    pub kind: DiskKind,
    /// How large the disk is.
    pub disk_size_bytes: u64,
    /// The logical sector size that the disk was made for.
    pub logical_sector_bytes: u32,
    /// Bytes in use in all file systems.
    pub used_bytes: Fact<u64>,
    /// The partition table.
    pub partitions: PartitionSummary,
    /// What the partitions hold. A disk without a partition table has at most one, without a number.
    pub volumes: Vec<VolumeFacts>,
    /// How the image can be started.
    pub firmware: Firmware,
    /// The machine that its programs are made for: `x86_64`, `aarch64` and the like.
    pub architecture: Fact<String>,
    /// From os-release.
    pub distribution: Fact<Distribution>,
    /// The kernels in `/boot` and below `/lib/modules`.
    pub kernels: Fact<Vec<Kernel>>,
    /// The kernel command lines that the boot loader is told to use.
    pub command_lines: Fact<Vec<CommandLine>>,
    /// `/etc/fstab`.
    pub fstab: Fact<Vec<FstabEntry>>,
    /// cloud-init; known and `null` when the image has none.
    pub cloud_init: Fact<Option<CloudInit>>,
    /// What configures the network.
    pub network: Fact<Vec<NetworkStack>>,
    /// Whether `/opt/imprint` is there.
    pub guest_plugin: Fact<bool>,
    /// What an image must not hand on to every machine made from it.
    pub identity: Fact<Identity>,
    /// The packages that are installed.
    pub packages: Fact<Packages>,
    /// What was left out.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// A machine starts from it.
    #[default]
    System,
    /// It holds data only. Nothing of an operating system is looked for.
    Data,
}

/// What a partition, or a whole disk, holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFacts {
    /// The partition's number.
    pub partition: Option<u32>,
    /// `ext4`, `fat32`, `xfs`, `luks` and so on; `null` when the content is not known, or there is none.
    pub kind: Option<String>,
    /// Its label, if any.
    pub label: String,
    /// Its UUID or serial number as `fstab` would name it, if any.
    pub uuid: String,
    /// Where it is in the file tree: `/`, `/boot`, `/boot/efi`.
    pub mounted_at: Option<String>,
    /// How large its partition is.
    pub size_bytes: u64,
    /// Bytes in use.
    pub used_bytes: Fact<u64>,
    /// It was in use when the image was made. What its journal holds was read as if it were in its place.
    #[serde(default)]
    pub unclean: bool,
}

/// How the image can be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// The EFI system partition; known and `null` when there is none.
    pub uefi: Fact<Option<EfiPartition>>,
    /// What BIOS firmware would run.
    pub bios: Fact<Bios>,
}

/// An EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EfiPartition {
    /// Its number; `null` when the whole disk is one file system.
    pub partition: Option<u32>,
    /// The programs on it.
    pub loaders: Vec<Loader>,
}

/// A program for UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loader {
    /// Its path as it stands there, from the partition's root.
    pub path: String,
    /// What it is.
    pub kind: LoaderKind,
    /// The machine that it is made for.
    pub architecture: Fact<String>,
    /// Whether it carries a signature. Whose, and whether it holds, is not checked.
    pub signed: Fact<bool>,
    /// Whether it is where firmware looks without being told: `EFI/BOOT/BOOTX64.EFI` and the like.
    pub removable_path: bool,
}

/// What a UEFI program is, by its sections and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoaderKind {
    /// shim, which proves what it starts.
    Shim,
    /// shim's key manager.
    MokManager,
    /// shim's fallback, which makes boot entries.
    Fallback,
    /// GRUB.
    Grub,
    /// systemd-boot.
    SystemdBoot,
    /// Kernel, initramfs and command line in one.
    UnifiedKernel,
    /// Anything else.
    Other,
}

/// What BIOS firmware would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bios {
    /// Whether the first sector holds boot code.
    pub boot_code: bool,
    /// Whether that is GRUB's.
    pub grub: bool,
    /// The BIOS boot partition of a GPT.
    pub boot_partition: Option<u32>,
    /// Whether that partition holds anything.
    pub boot_partition_filled: bool,
}

/// From os-release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`, `linux` if it is not given.
    pub id: String,
    /// `ID_LIKE`.
    pub id_like: Vec<String>,
    /// `VERSION_ID`; rolling distributions have none.
    pub version_id: Option<String>,
    /// `PRETTY_NAME`.
    pub pretty_name: Option<String>,
}

/// A kernel, or the modules of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its version, as file names have it.
    pub version: String,
    /// Its file; `null` when there are only modules.
    pub image: Option<String>,
    /// Whether its modules are below `/lib/modules`; known only with a root file system.
    pub modules: Fact<bool>,
    /// Modules that are part of the kernel itself, from `modules.builtin`.
    pub builtin: Fact<Vec<String>>,
    /// Its initramfs; known and `null` when there is none.
    pub initramfs: Fact<Option<Initramfs>>,
}

/// What an initramfs holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Initramfs {
    /// Its file.
    pub path: String,
    /// How large the file is.
    pub size_bytes: u64,
    /// The archives that it is made of, in order: `none`, `gzip`, `xz`, `lzma`, `zstd`, `lz4`.
    pub compression: Vec<String>,
    /// What made it, as far as it shows: `initramfs-tools`, `dracut`, `mkinitcpio`.
    pub made_by: Option<String>,
    /// Microcode in it: `amd`, `intel`.
    pub microcode: Vec<String>,
    /// Kernel modules, by name, sorted, with `_` for `-`.
    pub modules: Vec<String>,
    /// Firmware files, by their path below `lib/firmware`, sorted.
    pub firmware: Vec<String>,
    /// What is odd about it.
    pub notes: Vec<String>,
}

/// Arguments that a kernel gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The file that says so.
    pub path: String,
    /// The arguments.
    pub arguments: Vec<String>,
}

/// A line of `/etc/fstab`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FstabEntry {
    /// `UUID=…`, `LABEL=…`, `/dev/…`.
    pub device: String,
    /// Where it is mounted.
    pub path: String,
    /// The kind of file system.
    pub kind: String,
    /// The options.
    pub options: String,
}

/// cloud-init in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInit {
    /// Its version.
    pub version: Fact<String>,
    /// What keeps it from running.
    pub disabled_by: Vec<String>,
}

/// What configures the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkStack {
    /// netplan.
    Netplan,
    /// systemd-networkd, enabled.
    Networkd,
    /// NetworkManager.
    NetworkManager,
    /// ifupdown.
    Ifupdown,
    /// wicked.
    Wicked,
    /// The ifcfg files of older Red Hat systems.
    Sysconfig,
}

/// What an image must not hand on to every machine made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/etc/machine-id`.
    pub machine_id: MachineId,
    /// Host keys below `/etc/ssh`.
    pub ssh_host_keys: Vec<String>,
    /// udev rules that bind interface names to the machine that the image was made on.
    pub persistent_net_rules: Vec<String>,
    /// Configuration that the image's builder left behind, and that gets in the way of cloud-init.
    pub builder_leftovers: Vec<String>,
}

/// `/etc/machine-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineId {
    /// There is no such file.
    Absent,
    /// It is empty: every machine makes its own.
    Empty,
    /// It says `uninitialized`: every machine makes its own, and counts as booted for the first time.
    Uninitialized,
    /// It has an id, which all machines made from the image would share.
    Set,
}

/// The packages that are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// `dpkg` or `apk`.
    pub manager: String,
    /// The packages, by name.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; `all` and the like for those that fit every one.
    pub architecture: String,
}
