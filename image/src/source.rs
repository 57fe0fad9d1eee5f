//! Foreign disk images: which format a file has, and readers that give the disk's bytes in order.
//!
//! A format is told from the content alone. What the caller declares must agree; content that fits two formats is
//! refused, because what one program takes for a raw disk another would open as a container that names other files.
//! All readers are safe Rust over bounded tables; no external program and no file but the one given is touched.

mod compressed;
mod container;
mod detect;
mod error;
mod qcow2;
mod ratio;
mod raw;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};

pub use compressed::CompressedReader;
pub use container::ContainerError;
pub use detect::{Format, ParseFormatError, detect, detect_file};
pub use error::SourceError;
pub use qcow2::{Qcow2Error, Qcow2Reader};
pub use raw::RawFile;

/// Largest disk that is read when the caller does not say otherwise: 2 TiB.
pub const DEFAULT_MAX_DISK_BYTES: u64 = 2 << 40;

/// How many bytes of data one byte of a compressed file may become when the caller does not say otherwise.
pub const DEFAULT_MAX_RATIO: u64 = 1000;

/// What an image file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest disk.
    pub max_disk_bytes: u64,
    /// How many bytes that are not zero one byte of the file may become. Blocks of zeros are not counted: they cost
    /// nothing in an artifact, and an honest image of an empty disk compresses without bound. Looked at only after
    /// the first 256 MiB of data.
    pub max_ratio: u64,
}

impl Limits {
    /// Refuses a disk that is empty or too large.
    fn admit(&self, disk_bytes: u64) -> Result<(), SourceError> {
        if disk_bytes == 0 {
            return Err(SourceError::Empty);
        }
        if disk_bytes > self.max_disk_bytes {
            return Err(SourceError::TooLarge {
                got: disk_bytes,
                limit: self.max_disk_bytes,
            });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_disk_bytes: DEFAULT_MAX_DISK_BYTES,
            max_ratio: DEFAULT_MAX_RATIO,
        }
    }
}

/// A disk that can be read once, from its first byte to its last.
pub trait ImageSource: Read + Send {
    /// Size of the disk, when it is known before all is read.
    fn disk_size_bytes(&self) -> Option<u64> {
        None
    }

    /// Skips what is known to be zero from here on and tells how many bytes that was: a multiple of
    /// [`crate::CHUNK_BYTES`], or less at the end of the disk. Called only at a multiple of it.
    fn skip_zeros(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}

/// An image file that was opened.
pub struct Opened {
    /// Its format.
    pub format: Format,
    /// The disk in it.
    pub source: Box<dyn ImageSource>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Opens an image file whose format is `declared`, or found out.
pub fn open(mut file: File, declared: Option<Format>, limits: &Limits) -> Result<Opened, SourceError> {
    let format = detect_file(&mut file)?;
    if let Some(declared) = declared.filter(|declared| *declared != format) {
        return Err(SourceError::Mismatch {
            declared,
            detected: format,
        });
    }
    let source: Box<dyn ImageSource> = match format {
        Format::Raw => Box::new(RawFile::new(file, limits)?),
        Format::RawGzip | Format::RawXz | Format::RawZstd | Format::RawBzip2 => {
            Box::new(CompressedReader::new(file, format, limits)?)
        }
        Format::Qcow2 => Box::new(Qcow2Reader::new(file, limits)?),
        other => container::open(file, other, limits)?,
    };
    Ok(Opened { format, source })
}

/// A plain stream of a disk's bytes as a source.
pub struct Stream<'a>(&'a mut (dyn Read + Send));

impl<'a> Stream<'a> {
    /// Reads the disk from `stream`.
    pub fn new(stream: &'a mut (dyn Read + Send)) -> Self {
        Self(stream)
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl ImageSource for Stream<'_> {}
