//! A regular file in the place of a disk.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    num::NonZeroU32,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    sync::LazyLock,
};

use super::{
    ALIGNMENT, AlignedBuf, DeviceId, Direct, OpenError, Operation, Target, WriteError, Zeroed,
    whole::write_whole,
};
use crate::sys::block;

const SECTOR: NonZeroU32 = NonZeroU32::new(512).expect("512 is not zero");

/// A regular file. Written past the page cache where its file system can do that, else through it.
#[derive(Debug)]
pub struct FileTarget {
    id: DeviceId,
    // Two views of one file: direct I/O takes only aligned pieces, so odd ends go through the cache.
    cached: File,
    direct: Option<File>,
    len: u64,
    logical_block: NonZeroU32,
}

impl FileTarget {
    /// Opens or makes the file at `path`. One that is missing or empty becomes `len` bytes long; any other keeps its
    /// size. The file is locked for as long as this value lives.
    ///
    /// # Errors
    /// When it can't be opened or lengthened, or when another process writes it as a target.
    pub fn open(path: &Path, len: Option<u64>) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let cached = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match cached.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let held_by = vec!["another process writes to it".to_owned()];
                return Err(OpenError::Busy {
                    path: path.to_owned(),
                    held_by,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut size = cached.metadata().map_err(failed)?.len();
        if let (0, Some(len)) = (size, len) {
            cached.set_len(len).map_err(failed)?;
            size = len;
        }
        let direct = block::open_direct(path).ok();
        Ok(FileTarget {
            id: DeviceId::of(path),
            cached,
            direct,
            len: size,
            logical_block: SECTOR,
        })
    }

    /// The same file with other sectors: a file has none of its own.
    #[must_use]
    pub fn with_logical_block(self, logical_block: NonZeroU32) -> Self {
        FileTarget {
            logical_block,
            ..self
        }
    }

    fn view(&self, offset: u64, len: usize) -> &File {
        let aligned = offset.is_multiple_of(ALIGNMENT as u64) && len.is_multiple_of(ALIGNMENT);
        self.direct.as_ref().filter(|_| aligned).unwrap_or(&self.cached)
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

impl Target for FileTarget {
    fn id(&self) -> &DeviceId {
        &self.id
    }

    fn identity(&self) -> String {
        match self.cached.metadata() {
            Ok(found) => format!("file {}:{}", found.dev(), found.ino()),
            Err(_) => format!("file {}", self.id),
        }
    }

    fn logical_block(&self) -> NonZeroU32 {
        self.logical_block
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn direct(&self) -> Option<Direct<'_>> {
        self.direct.as_ref().map(|file| Direct {
            file: file.as_fd(),
            alignment: ALIGNMENT as u64,
            len: self.len,
            largest_request: None,
        })
    }

    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        // A disk image of an odd size ends within a block: the padding is not part of the file.
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = &buffer[..buffer.len().min(room)];
        let failed = self.failed(Operation::Write, offset, buffer.len() as u64);
        let file = self.view(offset, bytes.len());
        write_whole(bytes, offset, |bytes, at| file.write_at(bytes, at)).map_err(failed)
    }

    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let len = buffer.len();
        let room = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(len);
        let failed = self.failed(Operation::Read, offset, len as u64);
        self.view(offset, room)
            .read_exact_at(&mut buffer[..room], offset)
            .map_err(failed)?;
        buffer[room..].fill(0);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        let len = len.min(self.len.saturating_sub(offset));
        match block::punch_zeroes(self.cached.as_fd(), offset, len) {
            Ok(()) => return Ok(Zeroed::ByCommand),
            Err(error) if block::is_unsupported(&error) => {}
            Err(error) => return Err(self.failed(Operation::Zero, offset, len)(error)),
        }
        write_zeroes(&self.cached, offset, len).map_err(self.failed(Operation::Zero, offset, len))?;
        Ok(Zeroed::ByWriting)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.cached
            .sync_all()
            .map_err(self.failed(Operation::Flush, 0, self.len))
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

static ZEROES: LazyLock<AlignedBuf> = LazyLock::new(|| AlignedBuf::new(1 << 20));

/// Writes zeroes over a range, a MiB at a time.
pub(super) fn write_zeroes(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = offset;
    while at < end {
        let step = (end - at).min(ZEROES.len() as u64);
        let zeroes = &ZEROES[..usize::try_from(step).expect("a step is at most a MiB")];
        write_whole(zeroes, at, |bytes, at| file.write_at(bytes, at))?;
        at += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_takes_the_size_of_the_image_and_an_old_one_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert_eq!(FileTarget::open(&path, Some(10_000)).unwrap().len(), 10_000);
        assert_eq!(FileTarget::open(&path, Some(20_000)).unwrap().len(), 10_000);
    }

    #[test]
    fn two_writers_of_one_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let first = FileTarget::open(&path, Some(4096)).unwrap();
        assert!(matches!(
            FileTarget::open(&path, None),
            Err(OpenError::Busy { .. })
        ));
        drop(first);
        FileTarget::open(&path, None).unwrap();
    }

    #[test]
    fn odd_ends_are_written_zeroed_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let target = FileTarget::open(&path, Some(10_000)).unwrap();
        let mut buffer = AlignedBuf::new(4096);
        buffer.fill(7);
        for offset in [0, 4096, 8192] {
            target.write_at(&buffer, offset).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 10_000]);
        target.zero(4096, 5904).unwrap();
        target.flush().unwrap();
        target.read_at(&mut buffer, 8192).unwrap();
        assert!(buffer.iter().all(|&byte| byte == 0));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 10_000);
    }

    #[test]
    fn zeroes_can_be_written_where_no_command_exists() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![9; 3 << 20], 0).unwrap();
        write_zeroes(&file, 512, (2 << 20) + 512).unwrap();
        let mut read = vec![0; 3 << 20];
        file.read_exact_at(&mut read, 0).unwrap();
        let zeroed = 512..(2 << 20) + 1024;
        assert!(
            read.iter()
                .enumerate()
                .all(|(at, &byte)| (byte == 0) == zeroed.contains(&at))
        );
    }
}
