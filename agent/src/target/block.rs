//! A disk, claimed for this process alone.

use std::{
    fs::{self, File},
    io,
    num::{NonZeroU32, NonZeroUsize},
    os::{
        fd::AsFd,
        unix::fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use backon::{BlockingRetryable, ConstantBuilder};
use nix::libc;

use super::{
    AlignedBuf, DeviceId, Direct, OpenError, Operation, Target, WriteError, Zeroed, file::write_zeroes,
    holders, request, rotation, whole::write_whole,
};
use crate::sys::block;

/// A block device, opened with `O_EXCL` (nobody else mounts or claims it while this value lives) and `O_DIRECT`
/// (no dirty page cache: bounded memory, and an error belongs to the write that caused it).
#[derive(Debug)]
pub struct BlockDevice {
    id: DeviceId,
    file: File,
    identity: String,
    len: u64,
    logical_block: NonZeroU32,
    physical_block: NonZeroU32,
    punches: AtomicBool,
    rotates: bool,
    largest_request: Option<NonZeroUsize>,
}

/// What [`Target::identity`] of the block device at `path` would be; it is not opened for that.
///
/// # Errors
/// When nothing is there.
pub fn identity_of(path: &Path) -> io::Result<String> {
    Ok(holders::identity(fs::metadata(path)?.rdev()))
}

impl BlockDevice {
    /// Claims the device at `path`.
    ///
    /// # Errors
    /// When it or one of its partitions is in use, when it is read-only, or no block device.
    pub fn open_exclusive(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.file_type().is_block_device() {
            return Err(OpenError::NotADisk {
                path: path.to_owned(),
            });
        }
        let file = block::open_exclusive(path).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY) => OpenError::Busy {
                path: path.to_owned(),
                held_by: holders::of_device(metadata.rdev()),
            },
            Some(libc::EROFS | libc::EACCES) if holders::is_read_only(metadata.rdev()) => {
                OpenError::ReadOnly {
                    path: path.to_owned(),
                }
            }
            _ => failed(source),
        })?;

        let geometry = |source| OpenError::Geometry {
            path: path.to_owned(),
            source,
        };
        let fd = file.as_fd();
        if block::is_read_only(fd).map_err(geometry)? {
            return Err(OpenError::ReadOnly {
                path: path.to_owned(),
            });
        }
        let len = block::size_bytes(fd).map_err(geometry)?;
        let logical_block = block::logical_block(fd).map_err(geometry)?;
        let physical_block = block::physical_block(fd).map_err(geometry)?;
        // What an earlier program left dirty in the page cache must not be written over the image later on.
        block::flush_page_cache(fd).map_err(geometry)?;

        let identity = holders::identity(metadata.rdev());
        let punches = AtomicBool::new(true);
        Ok(BlockDevice {
            id: DeviceId::of(path),
            file,
            identity,
            len,
            logical_block,
            physical_block,
            punches,
            rotates: rotation::rotates(metadata.rdev()),
            largest_request: request::largest(metadata.rdev()),
        })
    }

    /// The unit that the disk writes without reading first.
    #[must_use]
    pub fn physical_block(&self) -> NonZeroU32 {
        self.physical_block
    }

    fn failed(&self, operation: Operation, offset: u64, len: u64) -> impl FnOnce(io::Error) -> WriteError {
        let device = self.id.clone();
        move |source| WriteError {
            device,
            operation,
            offset,
            len,
            source,
        }
    }
}

impl Target for BlockDevice {
    fn id(&self) -> &DeviceId {
        &self.id
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn logical_block(&self) -> NonZeroU32 {
        self.logical_block
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn direct(&self) -> Option<Direct<'_>> {
        Some(Direct {
            file: self.file.as_fd(),
            alignment: u64::from(self.logical_block.get()),
            len: self.len,
            largest_request: self.largest_request,
        })
    }

    fn rotates(&self) -> bool {
        self.rotates
    }

    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let failed = self.failed(Operation::Write, offset, buffer.len() as u64);
        write_whole(buffer, offset, |bytes, at| self.file.write_at(bytes, at)).map_err(failed)
    }

    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let failed = self.failed(Operation::Read, offset, buffer.len() as u64);
        self.file.read_exact_at(buffer, offset).map_err(failed)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        if self.punches.load(Ordering::Relaxed) {
            match block::punch_zeroes(self.file.as_fd(), offset, len) {
                Ok(()) => return Ok(Zeroed::ByCommand),
                Err(error) if block::is_unsupported(&error) => self.punches.store(false, Ordering::Relaxed),
                Err(error) => return Err(self.failed(Operation::Zero, offset, len)(error)),
            }
        }
        write_zeroes(&self.file, offset, len).map_err(self.failed(Operation::Zero, offset, len))?;
        Ok(Zeroed::ByWriting)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.file
            .sync_all()
            .map_err(self.failed(Operation::Flush, 0, self.len))
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        // udev opens a disk for a moment whenever its content changes, so "busy" is often over soon.
        let patience = ConstantBuilder::default()
            .with_delay(Duration::from_millis(100))
            .with_max_times(30);
        let asked = (|| block::reread_partitions(self.file.as_fd()))
            .retry(patience)
            .when(|error| error.raw_os_error() == Some(libc::EBUSY))
            .call();
        match asked {
            // A device that can't have partitions (a partition itself, a loop device without -P) has none to re-read.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            asked => asked.map_err(self.failed(Operation::RereadPartitions, 0, self.len)),
        }
    }
}

#[cfg(test)]
mod tests;
