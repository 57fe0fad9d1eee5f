//! The way out: an artifact written as one image file of a format that others read.
//!
//! Every format is written strictly from its first byte to its last, so that a file can go straight into a socket or an
//! object of a bucket. What the tables in front of a file have to say follows from the manifest alone: which chunks of
//! the disk hold data, and how long their frames are. So most lengths are known before a byte is written:
//!
//! | format | what a chunk becomes | length known |
//! |---|---|---|
//! | `raw` | its bytes | yes |
//! | `raw.zst` | its frame, as the store has it | yes |
//! | `qcow2` | 16 clusters of 64 KiB | yes |
//! | `qcow2-zstd` | one compressed cluster of 1 MiB: its frame, as the store has it | yes |
//! | `vhd` | half a block of 2 MiB | yes |
//! | `vmdk` | up to 16 compressed grains of 64 KiB (streamOptimized) | no |
//!
//! The same manifest gives the same bytes every time: ids in the files come from the image's digest, times are left
//! out. Every frame and every chunk is proven on the way; a file is never written on with bytes that are wrong.

mod disk;
mod error;
mod fields;
mod format;
mod frames;
mod output;
mod payload;
mod pipeline;
mod qcow2;
mod raw;
mod raw_zstd;
mod sum;
#[cfg(test)]
mod tests;
mod vhd;
mod vmdk;

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

pub use disk::ArtifactSource;
pub use error::ExportError;
pub use format::{ExportFormat, ParseExportFormatError};
pub use frames::{DirFrames, Frames};
pub use sum::{Sha256, sum_line};

use crate::seal::OVERHEAD_BYTES;
use crate::{Chunk, Manifest};
use output::Output;
use payload::{Payload, Wanted};

/// Changes whenever a format's bytes change for the same manifest, so that halves of two versions are never joined.
pub const EXPORT_REVISION: u32 = 1;

/// What an export may use and whom it tells.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Threads that fetch, prove, decode and compress; 0 takes all cores, at least 4 and at most 16.
    pub threads: usize,
    /// The first byte of the file that is wanted; what is before it is not written, and mostly not even fetched.
    pub from: u64,
    /// Told how many bytes of the disk are dealt with, from the caller's thread.
    pub progress: Option<&'a dyn Fn(u64)>,
    /// Ends the export with [`ExportError::Cancelled`] once it is true.
    pub cancel: Option<&'a AtomicBool>,
    /// Leaves out the digest of the file, which costs time for the holes of the disk too.
    pub without_sum: bool,
}

impl fmt::Debug for ExportOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportOptions")
            .field("threads", &self.threads)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// A file that was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Length of the whole file.
    pub file_bytes: u64,
    /// SHA-256 of the whole file; none when its beginning was left out, or nobody asked for it.
    pub sha256: Option<Sha256>,
}

/// A file as it is going to be.
pub struct ExportPlan<'a> {
    manifest: &'a Manifest,
    format: ExportFormat,
    writer: Box<dyn FileWriter + 'a>,
}

impl<'a> ExportPlan<'a> {
    /// Lays out the file; refuses a disk that the format cannot hold.
    pub fn new(manifest: &'a Manifest, format: ExportFormat) -> Result<Self, ExportError> {
        let writer: Box<dyn FileWriter + 'a> = match format {
            ExportFormat::Raw => Box::new(raw::Raw::new(manifest)),
            ExportFormat::RawZstd => Box::new(raw_zstd::RawZstd::new(manifest)?),
            ExportFormat::Qcow2 => Box::new(qcow2::Plain::new(manifest)),
            ExportFormat::Qcow2Zstd => Box::new(qcow2::Zstd::new(manifest)),
            ExportFormat::Vmdk => Box::new(vmdk::Vmdk::new(manifest)?),
            ExportFormat::Vhd => Box::new(vhd::Vhd::new(manifest)?),
        };
        Ok(Self {
            manifest,
            format,
            writer,
        })
    }

    /// Length of the file, where it is known before it is written.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        self.writer.file_bytes()
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> ExportFormat {
        self.format
    }

    /// Writes the file. Blocks; uses threads of its own until it returns.
    pub fn write(
        mut self,
        frames: &dyn Frames,
        out: &mut dyn Write,
        options: &ExportOptions<'_>,
    ) -> Result<Exported, ExportError> {
        let mut out = Output::new(out, options);
        pipeline::run(self.manifest, self.writer.as_mut(), frames, &mut out, options)?;
        Ok(out.finish())
    }
}

impl fmt::Debug for ExportPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportPlan")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Puts one file together, in order.
trait FileWriter: Send {
    /// What it wants of each chunk.
    fn wanted(&self) -> Wanted;

    /// Length of the file, if it is known.
    fn file_bytes(&self) -> Option<u64>;

    /// Where what becomes of the `nth` data chunk begins, if it is known.
    fn place(&self, nth: usize) -> Option<u64>;

    /// What comes before the first chunk.
    fn begin(&mut self, out: &mut Output<'_>) -> io::Result<()>;

    /// The next data chunk.
    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()>;

    /// What comes behind the last one.
    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()>;
}

/// Length of the zstd frame in a chunk's frame: what is exported is not encrypted.
fn zstd_bytes(manifest: &Manifest, chunk: &Chunk) -> u64 {
    let sealing = manifest.seal.as_ref().map_or(0, |_| OVERHEAD_BYTES);
    u64::from(chunk.frame_bytes - sealing)
}
