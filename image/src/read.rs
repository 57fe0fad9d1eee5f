//! The way back: an artifact in a folder read as the disk that it describes.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::frame::{self, Decoder, FrameError};
use crate::{CHUNK_BYTES, Chunk, Manifest};

/// A disk cannot be read from its artifact. Wrapped into an [`io::Error`] by [`ArtifactReader`].
#[derive(Debug, thiserror::Error)]
pub enum ReadArtifactError {
    /// A pack cannot be read where the frame should be.
    #[error("cannot read {bytes} bytes at {offset} of pack {path}")]
    Pack {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// How long it is.
        bytes: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A frame is not what the manifest says.
    #[error("pack {path} is damaged")]
    Frame {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
}

/// Fetches, proves and decodes single chunks of an artifact, wherever it lies.
pub trait ReadChunk: fmt::Debug {
    /// Decodes `chunk` into the beginning of `plain`, which has room for any; says how long it is.
    ///
    /// # Errors
    /// When its frame cannot be had, or is not what the manifest says.
    fn read_chunk(&mut self, chunk: &Chunk, plain: &mut [u8]) -> io::Result<usize>;
}

/// Packs that are kept open.
const OPEN_PACKS: usize = 64;

/// Reads single chunks of the artifact in a folder, and proves them.
#[derive(Debug)]
pub(crate) struct ChunkReader<'a> {
    packs: PathBuf,
    manifest: &'a Manifest,
    decoder: Decoder,
    frame: Vec<u8>,
    open: HashMap<u32, File>,
}

impl<'a> ChunkReader<'a> {
    pub fn new(dir: &Path, manifest: &'a Manifest) -> io::Result<Self> {
        Ok(Self {
            packs: dir.join("packs"),
            manifest,
            decoder: Decoder::of(manifest)?,
            frame: Vec::new(),
            open: HashMap::new(),
        })
    }

    /// Decodes `chunk` into the beginning of `plain`, which has room for any; says how long it is.
    pub fn read(&mut self, chunk: &Chunk, plain: &mut [u8]) -> Result<usize, ReadArtifactError> {
        let digest = &self.manifest.packs[chunk.pack as usize].digest;
        let path = self.packs.join(digest.to_string());
        let fault = |source| ReadArtifactError::Pack {
            path: path.clone(),
            offset: chunk.offset,
            bytes: chunk.frame_bytes,
            source,
        };
        if !self.open.contains_key(&chunk.pack) {
            if self.open.len() >= OPEN_PACKS {
                self.open.clear();
            }
            let file = File::open(&path).map_err(fault)?;
            self.open.insert(chunk.pack, file);
        }
        let file = self.open.get(&chunk.pack).expect("it was opened above");
        self.frame.resize(chunk.frame_bytes as usize, 0);
        file.read_exact_at(&mut self.frame, chunk.offset).map_err(fault)?;
        let range = self.manifest.chunk_range(chunk.index);
        let plain_len = usize::try_from(range.end - range.start).expect("not longer than a chunk");
        frame::verify_and_decode(&mut self.frame, chunk, plain_len, plain, &mut self.decoder)
            .map_err(|source| ReadArtifactError::Frame { path, source })?;
        Ok(plain_len)
    }
}

impl ReadChunk for ChunkReader<'_> {
    fn read_chunk(&mut self, chunk: &Chunk, plain: &mut [u8]) -> io::Result<usize> {
        self.read(chunk, plain).map_err(io::Error::other)
    }
}

/// Reads `dir/packs/<digest>` as the disk that `manifest` describes, and proves every chunk on the way.
/// Holes of either kind read as zeros.
pub fn read_artifact<'a>(dir: &Path, manifest: &'a Manifest) -> io::Result<ArtifactReader<'a>> {
    Ok(ArtifactReader {
        chunks: ChunkReader::new(dir, manifest)?,
        plain: vec![0; CHUNK_BYTES as usize],
        loaded: None,
        next_chunk: 0,
        position: 0,
    })
}

/// What [`read_artifact`] gives.
#[derive(Debug)]
pub struct ArtifactReader<'a> {
    chunks: ChunkReader<'a>,
    plain: Vec<u8>,
    /// The index of the chunk that `plain` holds.
    loaded: Option<u64>,
    /// Which of the manifest's chunks is the next that is not loaded yet.
    next_chunk: usize,
    position: u64,
}

impl Read for ArtifactReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let chunk_bytes = u64::from(CHUNK_BYTES);
        let index = self.position / chunk_bytes;
        let manifest = self.chunks.manifest;
        let range = manifest.chunk_range(index);
        let within = usize::try_from(self.position - index * chunk_bytes).expect("less than a chunk");
        let left = usize::try_from(range.end.saturating_sub(self.position)).expect("less than a chunk");
        let now = left.min(out.len());
        if now == 0 {
            return Ok(0);
        }
        let next = manifest.chunks.get(self.next_chunk);
        if let Some(chunk) = next.filter(|chunk| chunk.index == index && self.loaded != Some(index)) {
            // What was there before is not whole any more when this fails.
            self.loaded = None;
            self.chunks
                .read(chunk, &mut self.plain)
                .map_err(io::Error::other)?;
            self.loaded = Some(index);
            self.next_chunk += 1;
        }
        if self.loaded == Some(index) {
            out[..now].copy_from_slice(&self.plain[within..within + now]);
        } else {
            out[..now].fill(0);
        }
        self.position += now as u64;
        Ok(now)
    }
}
