//! What there is to choose between: the lab's images, as a table.

/// The file that Debian's releases are called by, and what differs between them for the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Release {
    /// The mirror's name for it.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// `VERSION_ID` of its os-release.
    pub fn version(self) -> &'static str {
        match self {
            Self::Bookworm => "12",
            Self::Trixie => "13",
        }
    }

    /// Folder of the cache with its packages.
    pub fn debs(self) -> &'static str {
        match self {
            Self::Bookworm => "debs",
            Self::Trixie => "debs-trixie",
        }
    }
}

/// What brings up the network of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// systemd-networkd by itself.
    Networkd,
    /// ifupdown with ISC's DHCP client, Debian's own.
    Ifupdown,
    /// NetworkManager.
    NetworkManager,
    /// netplan before systemd-networkd.
    Netplan,
}

impl Stack {
    /// Packages beside the lab's list.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Networkd => &[],
            Self::Ifupdown => &["ifupdown", "isc-dhcp-client"],
            Self::NetworkManager => &["network-manager"],
            Self::Netplan => &["netplan.io"],
        }
    }

    /// The unit that is enabled for it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Networkd | Self::Netplan => "systemd-networkd.service",
            Self::Ifupdown => "networking.service",
            Self::NetworkManager => "NetworkManager.service",
        }
    }

    /// cloud-init's name for it.
    pub fn renderer(self) -> &'static str {
        match self {
            Self::Networkd => "networkd",
            Self::Ifupdown => "eni",
            Self::NetworkManager => "network-manager",
            Self::Netplan => "netplan",
        }
    }
}

/// What holds the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// ext4 in a partition.
    Ext4,
    /// XFS in a partition.
    Xfs,
    /// btrfs in a partition, with subvolumes for `/`, `/home` and `/var`.
    Btrfs,
    /// ext4 on a logical volume.
    Lvm,
}

impl Root {
    /// Packages that the image needs to mount it, beside the lab's list.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &[],
            Self::Xfs => &["xfsprogs"],
            Self::Btrfs => &["btrfs-progs"],
            Self::Lvm => &["lvm2"],
        }
    }
}

/// One of the lab's images.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// What files of the cache and scenarios call it.
    pub name: &'static str,
    /// Debian's release.
    pub release: Release,
    /// What brings up its network.
    pub stack: Stack,
    /// What holds its root file system.
    pub root: Root,
    /// Whether `/boot` is a partition of its own.
    pub boot_partition: bool,
    /// Whether file systems are called by their UUID, as installers do it, instead of by a label.
    pub by_uuid: bool,
    /// Size of the root partition. Holes are not written: larger is not slower.
    pub root_mib: u64,
}

/// The lab's everyday image: small, since every scenario streams it. With 957 MiB for the root the disk has 1 GiB, the
/// least that an import takes for a system disk.
pub const DEBIAN12: Variant = Variant {
    name: "debian12",
    release: Release::Bookworm,
    stack: Stack::Networkd,
    root: Root::Ext4,
    boot_partition: false,
    by_uuid: false,
    root_mib: 957,
};

/// All of them. Names never begin with another's name and a hyphen.
pub const ALL: &[Variant] = &[
    DEBIAN12,
    Variant {
        name: "deb12-lvm",
        root: Root::Lvm,
        by_uuid: true,
        root_mib: 1100,
        ..DEBIAN12
    },
    Variant {
        name: "deb12-ifupdown-boot",
        stack: Stack::Ifupdown,
        boot_partition: true,
        by_uuid: true,
        root_mib: 1100,
        ..DEBIAN12
    },
    Variant {
        name: "deb12-nm-xfs",
        stack: Stack::NetworkManager,
        root: Root::Xfs,
        by_uuid: true,
        root_mib: 1400,
        ..DEBIAN12
    },
    Variant {
        name: "deb12-netplan-btrfs",
        stack: Stack::Netplan,
        root: Root::Btrfs,
        by_uuid: true,
        root_mib: 1400,
        ..DEBIAN12
    },
    Variant {
        name: "trixie",
        release: Release::Trixie,
        by_uuid: true,
        root_mib: 1800,
        ..DEBIAN12
    },
];

/// The image of a name.
pub fn find(name: &str) -> Option<&'static Variant> {
    ALL.iter().find(|variant| variant.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_anothers_beginning() {
        for one in ALL {
            for other in ALL.iter().filter(|other| other.name != one.name) {
                assert!(!other.name.starts_with(&format!("{}-", one.name)));
            }
            assert!(find(one.name).is_some_and(|found| found.name == one.name));
        }
    }
}
