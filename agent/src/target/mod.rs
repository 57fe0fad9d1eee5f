//! Where an image is written to: the one seam under the data path.
//!
//! [`BlockDevice`] is a disk, claimed for this process and written past the page cache; [`FileTarget`] is a regular
//! file, for tests and for people who build disk images; [`faulty::FaultyTarget`] fails on purpose. All of them take
//! whole, aligned buffers at given offsets from any number of threads at once.

mod aligned;
mod block;
mod ends;
pub mod faulty;
mod file;
mod holders;
#[cfg(test)]
pub(crate) mod loop_device;
mod request;
mod rotation;
mod whole;

use std::{
    fmt, fs, io,
    num::{NonZeroU32, NonZeroUsize},
    os::{fd::BorrowedFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use aligned::{ALIGNMENT, AlignedBuf};
pub use block::{BlockDevice, identity_of};
pub use ends::{END_BYTES, clear_ends, clear_head};
pub use file::FileTarget;
use nix::libc;

/// A disk, or what stands for one.
pub trait Target: Send + Sync + fmt::Debug {
    /// The name for messages.
    fn id(&self) -> &DeviceId;
    /// What tells this disk from every other one for as long as the machine runs; a resumed write must find it equal.
    fn identity(&self) -> String;
    /// The smallest unit that can be addressed. All offsets and lengths must be multiples of it.
    fn logical_block(&self) -> NonZeroU32;
    /// Size in bytes.
    fn len(&self) -> u64;
    /// Whether there is no room at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The file behind it, if whole aligned buffers can be given to the kernel past the page cache.
    fn direct(&self) -> Option<Direct<'_>> {
        None
    }
    /// Whether it has heads that have to move: then one writer goes over it in ascending order.
    fn rotates(&self) -> bool {
        false
    }
    /// Writes the whole buffer.
    ///
    /// # Errors
    /// When not all of it was accepted by the disk.
    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError>;
    /// Fills the whole buffer from the disk itself, not from a cache of the kernel.
    ///
    /// # Errors
    /// When not all of it could be read.
    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError>;
    /// Makes a range read as zeroes, by whatever means, for certain.
    ///
    /// # Errors
    /// When that isn't certain.
    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError>;
    /// Returns once all that was written would survive a loss of power.
    ///
    /// # Errors
    /// When the disk didn't confirm it.
    fn flush(&self) -> Result<(), WriteError>;
    /// Has the kernel read the partition table again.
    ///
    /// # Errors
    /// When a partition is in use.
    fn reread_partitions(&self) -> Result<(), WriteError>;
}

/// A file that takes direct I/O, and the limits of that.
#[derive(Debug, Clone, Copy)]
pub struct Direct<'a> {
    /// Open for writing with `O_DIRECT`.
    pub file: BorrowedFd<'a>,
    /// Offsets and lengths must be multiples of it.
    pub alignment: u64,
    /// No byte may lie past it.
    pub len: u64,
    /// Bytes that the disk takes as one request, where that is known.
    pub largest_request: Option<NonZeroUsize>,
}

/// How a range became zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroed {
    /// The device or file system has a command for it, which succeeds or fails but does nothing by halves.
    ByCommand,
    /// Zeroes were written.
    ByWriting,
}

/// A disk's name for people: its path as the operator or the disk rule gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// The name of the device at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        DeviceId(path.display().to_string().into())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Write data.
    Write,
    /// Make it zero.
    Zero,
    /// Read data.
    Read,
    /// Flush caches.
    Flush,
    /// Read the partition table again.
    RereadPartitions,
}

/// The disk refused.
#[derive(Debug, thiserror::Error)]
pub struct WriteError {
    /// Which disk.
    pub device: DeviceId,
    /// What was asked of it.
    pub operation: Operation,
    /// Where.
    pub offset: u64,
    /// How much.
    pub len: u64,
    /// What it answered.
    #[source]
    pub source: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteError {
            device, offset, len, ..
        } = self;
        match self.operation {
            Operation::Write => write!(f, "cannot write {len} bytes at {offset} of {device}"),
            Operation::Zero => write!(f, "cannot zero {len} bytes at {offset} of {device}"),
            Operation::Read => write!(f, "cannot read {len} bytes at {offset} of {device}"),
            Operation::Flush => write!(f, "cannot flush the cache of {device}"),
            Operation::RereadPartitions => {
                write!(f, "the kernel cannot read the partition table of {device} again")
            }
        }
    }
}

impl WriteError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => {
                "make room: the disk, or the file system below the target, is full"
            }
            Some(libc::ENODEV | libc::ENXIO | libc::ENOMEDIUM) => {
                "the disk is gone: check its seating, cable, controller or volume, then deploy again"
            }
            Some(libc::EROFS | libc::EPERM | libc::EACCES) => {
                "the disk refuses writes: lift its write protection or choose another disk"
            }
            Some(libc::EBUSY) => "a partition of the disk is in use: unmount it or stop what holds it",
            _ => {
                "the disk is probably failing: look at its SMART data and the kernel log, replace it, deploy again"
            }
        }
    }
}

/// A disk can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Opening failed.
    #[error("cannot open {}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else uses it.
    #[error("{} is in use: {}", path.display(), held_by.join(", "))]
    Busy {
        /// The disk.
        path: PathBuf,
        /// Mounts, holders and swaps, each in words.
        held_by: Vec<String>,
    },
    /// Write protected.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The disk.
        path: PathBuf,
    },
    /// A directory, a character device…
    #[error("{} is neither a block device nor a regular file", path.display())]
    NotADisk {
        /// What it is called.
        path: PathBuf,
    },
    /// The device doesn't tell its size or block size.
    #[error("cannot learn the size of {}", path.display())]
    Geometry {
        /// The disk.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            OpenError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path of the target; disks are listed by `lsblk`"
            }
            OpenError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root"
            }
            OpenError::Open { .. } => "check that the disk is there and works; the kernel log tells more",
            OpenError::Busy { .. } => {
                "unmount or stop what uses the disk, or choose another one; nothing was written"
            }
            OpenError::ReadOnly { .. } => "lift the write protection or choose another disk",
            OpenError::NotADisk { .. } => "name a disk or a regular file",
            OpenError::Geometry { .. } => {
                "the disk doesn't answer as it should: check its controller and the kernel log"
            }
        }
    }
}

/// Opens what `path` names: a block device exclusively, anything else as a regular file. A file that is missing or
/// empty becomes `len` bytes long; an older file is overwritten in place and keeps its size, like a disk. A file has
/// no sectors of its own, so it takes those of the image (`logical_block`).
///
/// # Errors
/// When the target is in use, read-only, no disk, or can't be opened.
pub fn open(
    path: &Path,
    len: Option<u64>,
    logical_block: Option<NonZeroU32>,
) -> Result<Arc<dyn Target>, OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.file_type().is_block_device() => Ok(Arc::new(BlockDevice::open_exclusive(path)?)),
        Ok(found) if !found.is_file() => Err(OpenError::NotADisk {
            path: path.to_owned(),
        }),
        _ => {
            let file = FileTarget::open(path, len)?;
            Ok(Arc::new(match logical_block {
                Some(size) => file.with_logical_block(size),
                None => file,
            }))
        }
    }
}
