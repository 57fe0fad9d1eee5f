//! Turns a disk image into an artifact: packs in a sink and a manifest.
//!
//! Three kinds of threads share a fixed pool of buffers, so memory is bounded whatever the image's size:
//!
//! * one *reader* takes chunks from the source in disk order and drops those that are all zero;
//! * the *workers*, one for each core, hash chunks and later compress those that are new;
//! * the caller's thread *packs*: it decides in disk order which chunks are new, asks the caller's lookup, and puts
//!   frames into packs in that order; a fourth thread hands full packs to the sink.
//!
//! Deciding and packing in disk order makes the result independent of timing: the same source, level and lookup
//! give the same packs.

mod packer;
mod pipeline;
mod reader;
mod sink;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

pub use sink::{DirSink, PackSink};

use crate::seal::Seal;
use crate::source::ImageSource;
use crate::{Digest, Manifest, ManifestError};

/// A chunk that the store holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChunk {
    /// The pack that holds its frame.
    pub pack: Digest,
    /// The size of that pack.
    pub pack_bytes: u64,
    /// Where the frame begins in it.
    pub offset: u64,
    /// BLAKE3 of the frame.
    pub frame: Digest,
    /// Length of the frame.
    pub frame_bytes: u32,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportProgress {
    /// Bytes of the disk that are dealt with.
    pub disk_bytes: u64,
    /// Size of the disk, when the source knows it beforehand.
    pub disk_size_bytes: Option<u64>,
    /// Bytes of these in chunks that are not all zero.
    pub data_bytes: u64,
    /// Bytes of frames that were new and went into packs.
    pub new_frame_bytes: u64,
    /// Chunks that the store or this image had already.
    pub deduplicated_chunks: u64,
}

/// How to import. Begin with `WriteOptions::default()`.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// zstd level.
    pub level: i32,
    /// Threads that hash and compress; 0 takes all cores, at most 32.
    pub threads: usize,
    /// Finds a chunk that the store holds, by its plain digest. Called in disk order from the caller's thread.
    pub known: &'a dyn Fn(&Digest) -> Option<KnownChunk>,
    /// Encrypts the image. Equal chunks are then found within the image alone: `known` is not asked, because no other
    /// image's frames open with this key.
    pub seal: Option<&'a Seal>,
    /// Told about progress after every chunk, from the caller's thread.
    pub progress: Option<&'a dyn Fn(&ImportProgress)>,
    /// Ends the import with [`ImportError::Cancelled`] once it is true. A read that blocks is not interrupted.
    pub cancel: Option<&'a AtomicBool>,
    /// Sector size of the disk; found out from its GPT when it is not given.
    pub logical_sector_bytes: Option<u32>,
    /// A source that gives more bytes is refused.
    pub max_disk_bytes: u64,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self {
            level: 3,
            threads: 0,
            known: &|_| None,
            seal: None,
            progress: None,
            cancel: None,
            logical_sector_bytes: None,
            max_disk_bytes: crate::source::DEFAULT_MAX_DISK_BYTES,
        }
    }
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions")
            .field("level", &self.level)
            .field("threads", &self.threads)
            .field("seal", &self.seal)
            .field("logical_sector_bytes", &self.logical_sector_bytes)
            .field("max_disk_bytes", &self.max_disk_bytes)
            .finish_non_exhaustive()
    }
}

/// An import that did not succeed. Packs that reached the sink are sound, but no manifest names them.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source failed. What it says names the place.
    #[error("cannot read the image at byte {offset} of the disk")]
    Read {
        /// How many bytes were read before.
        offset: u64,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The source has nothing in it.
    #[error("the image is empty: 0 bytes; upload a disk image")]
    Empty,
    /// The source ended before the disk did.
    #[error("the image is cut off: its disk has {expected} bytes, it ended after {got}; upload it again")]
    Truncated {
        /// Size of the disk.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The disk is larger than allowed.
    #[error(
        "the image's disk is larger than the limit of {limit} bytes; raise the limit if it is meant to be"
    )]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The stream turned out to be a fixed VHD: a raw disk with a footer that would be written as part of it.
    #[error(
        "the image ends with the footer of a VHD file; declare it as vhd, or convert it: qemu-img convert -f vpc -O raw IN OUT"
    )]
    VhdFooter,
    /// The sink failed.
    #[error("cannot store pack {pack}")]
    Sink {
        /// The pack.
        pack: Digest,
        /// What the sink said.
        #[source]
        source: io::Error,
    },
    /// The compressor failed.
    #[error("cannot compress chunk {index}")]
    Compress {
        /// Which chunk.
        index: u64,
        /// What the compressor said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the threads of an import")]
    Threads(#[source] io::Error),
    /// Cancelled through [`WriteOptions::cancel`].
    #[error("the import was cancelled")]
    Cancelled,
    /// The manifest is not valid; the lookup for known chunks gave something impossible.
    #[error("the import gives no valid manifest")]
    Manifest(#[from] ManifestError),
}

/// Imports disk images into a sink.
#[derive(Debug)]
pub struct ArtifactWriter<'a, S> {
    sink: S,
    options: WriteOptions<'a>,
}

impl<'a, S: PackSink> ArtifactWriter<'a, S> {
    /// A writer that puts packs into `sink`.
    pub fn new(sink: S, options: WriteOptions<'a>) -> Self {
        Self { sink, options }
    }

    /// Imports all of `source`. Blocks; uses threads of its own until it returns.
    ///
    /// A size that is no multiple of the sector size is padded with zeros to the next sector.
    pub fn import(&mut self, source: &mut dyn ImageSource) -> Result<Manifest, ImportError> {
        pipeline::run(source, &mut self.sink, &self.options)
    }

    /// Imports a plain stream of the disk's bytes.
    pub fn import_stream(&mut self, stream: &mut (dyn Read + Send)) -> Result<Manifest, ImportError> {
        self.import(&mut crate::source::Stream::new(stream))
    }

    /// Gives the sink back.
    pub fn into_sink(self) -> S {
        self.sink
    }
}
