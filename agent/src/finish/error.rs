//! Why a finishing step fails, and what the operator can do.

use std::{io, path::PathBuf};

use super::{closed::ClosedError, confined::ConfinedError, efi, guest, table::TableError, tool::ToolError};

/// A finishing step failed.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The disk can't be opened alone, or its table not read by the kernel.
    #[error("the kernel does not take the partition table of {disk}")]
    Kernel {
        /// The disk.
        disk: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's list of partitions can't be read.
    #[error("cannot list the partitions of the disk")]
    Settle {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A partition of the table doesn't show up.
    #[error("the kernel does not show partition {number} within {seconds} s")]
    PartitionMissing {
        /// Its number.
        number: u32,
        /// How long was waited.
        seconds: u64,
    },
    /// The table is damaged.
    #[error("the partition table cannot be used")]
    Table(#[from] TableError),
    /// A partition can't be mounted.
    #[error("cannot mount {device} ({system})")]
    Mount {
        /// Its device file.
        device: PathBuf,
        /// Its file system.
        system: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A partition can't be unmounted.
    #[error("cannot unmount {point}")]
    Unmount {
        /// Where it is mounted.
        point: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no root.
    #[error("no partition of the image holds a root file system that can be edited: {seen}")]
    NoRoot {
        /// What was looked at.
        seen: String,
    },
    /// There is none that can be written, and the seed has no other place.
    #[error("the root of the image cannot be written")]
    Closed(#[from] ClosedError),
    /// More than one root.
    #[error("the image holds more than one root file system: {seen}")]
    ManyRoots {
        /// Which.
        seen: String,
    },
    /// Two groups of one name on a machine: which of them starts is left to chance.
    #[error("{disk} has a volume group {group} too, as the written disk")]
    GroupTwice {
        /// The group.
        group: String,
        /// The other disk.
        disk: String,
    },
    /// Logical volumes.
    #[error("the logical volumes of the disk cannot be used")]
    Volumes(#[source] ToolError),
    /// A UUID of its own for a file system.
    #[error("{device} ({system}) does not take a UUID of its own")]
    Uuid {
        /// Its device file.
        device: PathBuf,
        /// The file system.
        system: &'static str,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// What we would write on the root would be hidden.
    #[error("the installed system keeps {points} on a file system of its own that is not found on this disk")]
    Separate {
        /// Mount points.
        points: String,
    },
    /// Keys are to go, and can't be looked for.
    #[error(
        "the keys of the image's users are to be removed, and /home is on a file system that is not found on this disk"
    )]
    Homes,
    /// A file of the installed system.
    #[error("the installed system cannot be edited")]
    File(#[from] ConfinedError),
    /// What is overwritten stays where it was.
    #[error("{system} keeps what is overwritten until its space is needed")]
    CopyOnWrite {
        /// The file system.
        system: &'static str,
    },
    /// The guest plugin.
    #[error(transparent)]
    Guest(#[from] guest::GuestError),
    /// The boot entry.
    #[error(transparent)]
    Efi(#[from] efi::EfiError),
}

impl FinishError {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoRoot { .. } => {
                "use an image with its root on ext4, XFS or btrfs outside of LUKS; or put cloud-init's seed on a partition of its \
                 own (--seed-partition, API: seed_partition), without a report of the first boot; or deploy it without finishing \
                 (finish: false)"
            }
            Self::Closed(error) => error.remedy(),
            Self::Separate { .. } => {
                "use an image with its root, /usr, /opt and /var on ext4, XFS or btrfs outside of LUKS, named in fstab by UUID, \
                 LABEL, PARTUUID or logical volume, or deploy it without finishing (finish: false)"
            }
            Self::Uuid { .. } => {
                "check that the file system of the image is sound (fsck), or deploy it without fresh UUIDs"
            }
            Self::GroupTwice { .. } => "wipe that disk or take it out, then deploy again",
            Self::Volumes(_) => {
                "look at the kernel's messages on the machine's console, and check the image's volume group (vgck)"
            }
            Self::ManyRoots { .. } => {
                "use an image with one system in it, or deploy it without finishing (finish: false)"
            }
            Self::Homes => {
                "use an image whose /home is on this disk, or deploy it with --image-users keep or lock-passwords"
            }
            Self::Table(_) => "check the image with `imprint image show`; import it again from a sound file",
            Self::Guest(guest::GuestError::NoSystemd) => {
                "use an image with systemd, or deploy it without finishing (finish: false)"
            }
            Self::Guest(guest::GuestError::Ramdisk { .. }) => {
                "build the ramdisk again (`cargo xtask ramdisk`), or give the machine more RAM if its check found defects"
            }
            Self::Efi(error) => error.remedy(),
            Self::Kernel { .. } | Self::Settle { .. } | Self::PartitionMissing { .. } => {
                "look at the kernel's messages on the machine's console for faults of the disk, then deploy again"
            }
            Self::CopyOnWrite { .. } => "erase the disk before it leaves your hands",
            Self::Mount { .. } | Self::Unmount { .. } | Self::File(_) | Self::Guest(_) => {
                "check that the file system of the image is sound (fsck) and has free space, import it again and deploy again"
            }
        }
    }
}
