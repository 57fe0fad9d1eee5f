//! Where the parts of an image's disk lie, and how its own files name them: p1 GRUB's core image for BIOS, p2 EFI system
//! partition, then `/boot` if it is one of its own, and root, last so that it can grow.

use super::variant::{Root, Variant};

pub const MIB: u64 = 1 << 20;
/// Where GRUB's core image lies, and its size.
pub const CORE_AT: u64 = MIB;
pub const CORE_MIB: u64 = 1;
/// Where the EFI system partition begins, and its size.
pub const ESP_AT: u64 = 2 * MIB;
pub const ESP_MIB: u64 = 64;
/// Where what follows begins.
pub const AFTER_ESP_MIB: u64 = 1 + CORE_MIB + ESP_MIB;
const BOOT_MIB: u64 = 192;

/// LVM's names of the root volume. The hyphen is doubled in the name of the device.
pub const GROUP: &str = "lab-vg";
pub const VOLUME: &str = "root";
const VOLUME_DEVICE: &str = "/dev/mapper/lab--vg-root";

/// Identifiers of file systems. All copies of an image have the same, as it is with images.
pub const ROOT_UUID: &str = "6d1a5c0e-2f0b-4a51-9f3b-0c5e7a1b2d31";
pub const BOOT_UUID: &str = "1f6c9e52-7b7e-4f64-8a5d-90b1c2d3e4f5";
const ESP_ID: &str = "1AB0-0077";
const ROOT_LABEL: &str = "rootfs";
const BOOT_LABEL: &str = "boot";
/// Subvolumes of a btrfs and where they are mounted, the root first.
pub const SUBVOLUMES: &[(&str, &str)] = &[("@rootfs", "/"), ("@home", "/home"), ("@var", "/var")];

/// The disk of an image.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    variant: Variant,
}

impl Layout {
    pub fn of(variant: &Variant) -> Self {
        Self { variant: *variant }
    }

    /// Where the root partition begins.
    pub fn root_at(&self) -> u64 {
        let boot = self.boot().map_or(0, |(_, mib)| mib);
        (AFTER_ESP_MIB + boot) * MIB
    }

    /// Where the partition of `/boot` begins, and its size in MiB.
    pub fn boot(&self) -> Option<(u64, u64)> {
        self.variant
            .boot_partition
            .then_some((AFTER_ESP_MIB * MIB, BOOT_MIB))
    }

    /// Size of the disk: one MiB at the end is for the backup partition table.
    pub fn size(&self) -> u64 {
        self.root_at() + (self.variant.root_mib + 1) * MIB
    }

    /// What sfdisk reads.
    pub fn partitions(&self) -> String {
        let mut text = format!(
            "label: gpt\n\
             start=1MiB, size={CORE_MIB}MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios\n\
             start=2MiB, size={ESP_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP\n"
        );
        if let Some((start, mib)) = self.boot() {
            text.push_str(&format!(
                "start={}MiB, size={mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=boot\n",
                start / MIB
            ));
        }
        let (kind, name) = match self.variant.root {
            Root::Lvm => ("E6D6D379-F507-44C2-A23C-238F2A3DF928", "lvm"),
            Root::Ext4 | Root::Xfs | Root::Btrfs => ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "root"),
        };
        text.push_str(&format!(
            "start={}MiB, size={}MiB, type={kind}, name={name}\n",
            self.root_at() / MIB,
            self.variant.root_mib
        ));
        text
    }

    /// Label of the root file system.
    pub fn root_label(&self) -> &'static str {
        ROOT_LABEL
    }

    /// Label of the file system of `/boot`.
    pub fn boot_label(&self) -> &'static str {
        BOOT_LABEL
    }

    /// mkfs.vfat's arguments that name the EFI system partition.
    pub fn esp_names(&self) -> Vec<String> {
        let mut names = vec!["-n".to_owned(), "ESP".to_owned()];
        if self.variant.by_uuid {
            names.extend(["-i".to_owned(), ESP_ID.replace('-', "")]);
        }
        names
    }

    pub fn fstab(&self) -> String {
        let named = |label: &str, uuid: &str| {
            if self.variant.by_uuid {
                format!("UUID={uuid}")
            } else {
                format!("LABEL={label}")
            }
        };
        let root = named(ROOT_LABEL, ROOT_UUID);
        let mut text = match self.variant.root {
            Root::Ext4 => format!("{root} / ext4 errors=remount-ro 0 1\n"),
            Root::Lvm => format!("{VOLUME_DEVICE} / ext4 errors=remount-ro 0 1\n"),
            Root::Xfs => format!("{root} / xfs defaults 0 0\n"),
            Root::Btrfs => SUBVOLUMES
                .iter()
                .map(|(name, place)| format!("{root} {place} btrfs defaults,subvol={name} 0 0\n"))
                .collect(),
        };
        if self.variant.boot_partition {
            text.push_str(&format!(
                "{} /boot ext4 defaults 0 2\n",
                named(BOOT_LABEL, BOOT_UUID)
            ));
        }
        text.push_str(&format!(
            "{} /boot/efi vfat umask=0077,nofail,x-systemd.automount 0 2\n",
            named("ESP", ESP_ID)
        ));
        text
    }

    /// GRUB's first words, in the core image and on the EFI system partition: find `/boot`, go on there.
    pub fn grub_early(&self) -> String {
        format!(
            "search --no-floppy {} --set=root\nset prefix=($root){}/grub\nconfigfile $prefix/grub.cfg\n",
            self.search(),
            self.boot_folder()
        )
    }

    /// GRUB's menu: one system, at once. `no_timer_check`: an emulated timer on a busy machine may miss what the kernel
    /// waits for, which then stops for good.
    pub fn grub_menu(&self, kernel: &str) -> String {
        let boot = self.boot_folder();
        let root = match (self.variant.root, self.variant.by_uuid) {
            (Root::Lvm, _) => format!("root={VOLUME_DEVICE}"),
            (Root::Btrfs, _) => format!("root=UUID={ROOT_UUID} rootflags=subvol={}", SUBVOLUMES[0].0),
            (_, true) => format!("root=UUID={ROOT_UUID}"),
            (_, false) => format!("root=LABEL={ROOT_LABEL}"),
        };
        format!(
            "set timeout=0\nsearch --no-floppy {} --set=root\n\
             linux {boot}/vmlinuz-{kernel} {root} ro console=tty0 console=ttyS0,115200 net.ifnames=1 no_timer_check\n\
             initrd {boot}/initrd.img-{kernel}\nboot\n",
            self.search()
        )
    }

    /// Modules that GRUB's core image needs to read `/boot`, beside those it always has.
    pub fn grub_modules(&self) -> &'static [&'static str] {
        match self.variant.root {
            Root::Ext4 => &[],
            Root::Xfs => &["xfs"],
            Root::Btrfs => &["btrfs"],
            Root::Lvm => &["lvm"],
        }
    }

    /// `/boot` as GRUB sees it.
    fn boot_folder(&self) -> String {
        match self.variant.root {
            _ if self.variant.boot_partition => String::new(),
            Root::Btrfs => format!("/{}/boot", SUBVOLUMES[0].0),
            Root::Ext4 | Root::Xfs | Root::Lvm => "/boot".to_owned(),
        }
    }

    /// How GRUB finds the file system of `/boot`.
    fn search(&self) -> String {
        let (label, uuid) = if self.variant.boot_partition {
            (BOOT_LABEL, BOOT_UUID)
        } else {
            (ROOT_LABEL, ROOT_UUID)
        };
        if self.variant.by_uuid {
            format!("--fs-uuid {uuid}")
        } else {
            format!("--label {label}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::variant::{self, DEBIAN12};

    #[test]
    fn the_everyday_disk_has_one_gib() {
        let layout = Layout::of(&DEBIAN12);
        assert_eq!(layout.size(), 1 << 30);
        assert_eq!(layout.root_at(), 66 * MIB);
        assert!(layout.grub_menu("6.1").contains("root=LABEL=rootfs ro"));
    }

    #[test]
    fn grub_looks_where_boot_is() {
        let of = |name| Layout::of(variant::find(name).unwrap());
        let early = of("deb12-netplan-btrfs").grub_early();
        assert!(early.contains("($root)/@rootfs/boot/grub"), "{early}");
        let boot = of("deb12-ifupdown-boot");
        assert!(boot.grub_early().contains(BOOT_UUID));
        let menu = boot.grub_menu("6.1");
        assert!(menu.contains("linux /vmlinuz-6.1 root=UUID="), "{menu}");
        assert!(
            of("deb12-lvm")
                .grub_menu("6.1")
                .contains("root=/dev/mapper/lab--vg-root ro")
        );
        assert_eq!(boot.root_at(), (66 + BOOT_MIB) * MIB);
    }

    #[test]
    fn fstab_names_what_is_there() {
        let of = |name| Layout::of(variant::find(name).unwrap()).fstab();
        assert!(of("debian12").starts_with("LABEL=rootfs / ext4"));
        assert!(of("deb12-netplan-btrfs").contains("/var btrfs defaults,subvol=@var"));
        assert!(of("deb12-ifupdown-boot").contains(" /boot ext4"));
        assert!(of("deb12-lvm").starts_with("/dev/mapper/lab--vg-root / ext4"));
    }
}
