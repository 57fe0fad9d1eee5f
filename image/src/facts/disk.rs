//! A disk that is read at any place: a file, an artifact, or bytes in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// The one seam under the readers of this module.
pub trait ReadAt: fmt::Debug {
    /// Fills all of `out` with the bytes at `offset`, or fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// How large the disk is.
    fn size_bytes(&self) -> u64;
}

/// A raw disk image in a file, or a block device.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    /// Reads `file`, whose size does not change from now on.
    pub fn new(mut file: File) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }
}

impl ReadAt for FileDisk {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn size_bytes(&self) -> u64 {
        self.size
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }
}

/// Reads a disk from a place that moves, for the readers that want it so.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    disk: &'a dyn ReadAt,
    position: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(disk: &'a dyn ReadAt) -> Self {
        Self { disk, position: 0 }
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.size_bytes().saturating_sub(self.position);
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.disk.read_at(self.position, &mut out[..now])?;
        self.position += now as u64;
        Ok(now)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.disk.size_bytes().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
