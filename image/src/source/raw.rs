//! A raw file, whose holes are not read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::{ImageSource, Limits, SourceError};
use crate::CHUNK_BYTES;

/// The disk's bytes in a regular file.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    size: u64,
    position: u64,
    /// Cleared when the file system cannot tell holes.
    sparse: bool,
}

impl RawFile {
    /// Reads `file` from its beginning.
    pub fn new(file: File, limits: &Limits) -> Result<Self, SourceError> {
        let size = file.metadata()?.len();
        limits.admit(size)?;
        Ok(Self::of_length(file, size))
    }

    /// Reads so much from the beginning of `file`, which is at least so long.
    pub(super) fn of_length(file: File, size: u64) -> Self {
        Self {
            file,
            size,
            position: 0,
            sparse: true,
        }
    }

    /// Where the next data of the file begins.
    fn next_data(&mut self) -> u64 {
        let Ok(from) = i64::try_from(self.position) else {
            return self.position;
        };
        match lseek(&self.file, from, Whence::SeekData) {
            Ok(data) => u64::try_from(data).unwrap_or(self.position),
            // No data from here to the end.
            Err(Errno::ENXIO) => self.size,
            Err(_) => {
                self.sparse = false;
                self.position
            }
        }
    }
}

impl Read for RawFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let now = left.min(out.len());
        if now == 0 {
            return Ok(0);
        }
        let got = self.file.read_at(&mut out[..now], self.position)?;
        self.position += got as u64;
        Ok(got)
    }
}

impl ImageSource for RawFile {
    /// Its size at the time it was opened; a file that shrinks meanwhile is found out. The padding of the last
    /// sector is not counted.
    fn disk_size_bytes(&self) -> Option<u64> {
        Some(self.size)
    }

    fn skip_zeros(&mut self) -> io::Result<u64> {
        if !self.sparse || self.position == self.size {
            return Ok(0);
        }
        let data = self.next_data();
        let chunk = u64::from(CHUNK_BYTES);
        let to = if data >= self.size {
            self.size
        } else {
            data / chunk * chunk
        };
        let skipped = to.saturating_sub(self.position);
        self.position += skipped;
        Ok(skipped)
    }
}
