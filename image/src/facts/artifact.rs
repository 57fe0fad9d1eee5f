//! A stored artifact read at any place, so that the facts of an image can be read from what the store holds.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::ReadAt;
use crate::read::{ChunkReader, ReadChunk};
use crate::{CHUNK_BYTES, Manifest};

/// Chunks that are kept decoded: 16 MiB.
const CACHED_CHUNKS: usize = 16;

/// The disk that `manifest` describes. Chunks are fetched, proven and decoded when they are needed; holes of either
/// kind read as zeros.
#[derive(Debug)]
pub struct ArtifactDisk<'a> {
    manifest: &'a Manifest,
    state: Mutex<State<'a>>,
}

#[derive(Debug)]
struct State<'a> {
    chunks: Box<dyn ReadChunk + Send + 'a>,
    /// The decoded chunks, the one that was used last in front.
    cached: VecDeque<(u64, Arc<Vec<u8>>)>,
}

impl<'a> ArtifactDisk<'a> {
    /// Reads the artifact whose packs lie in `dir/packs`.
    pub fn new(dir: &Path, manifest: &'a Manifest) -> io::Result<Self> {
        Ok(Self::over(manifest, ChunkReader::new(dir, manifest)?))
    }

    /// Reads the artifact whose chunks come from somewhere else.
    #[must_use]
    pub fn over(manifest: &'a Manifest, chunks: impl ReadChunk + Send + 'a) -> Self {
        Self {
            manifest,
            state: Mutex::new(State {
                chunks: Box::new(chunks),
                cached: VecDeque::with_capacity(CACHED_CHUNKS),
            }),
        }
    }

    /// The plain bytes of chunk `index`; nothing when it is a hole.
    fn chunk(&self, index: u64) -> io::Result<Option<Arc<Vec<u8>>>> {
        let Ok(found) = self
            .manifest
            .chunks
            .binary_search_by_key(&index, |chunk| chunk.index)
        else {
            return Ok(None);
        };
        // A reader that panicked leaves at worst a chunk that is not cached.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.cached.iter().position(|(cached, _)| *cached == index) {
            let entry = state.cached.remove(at).expect("it was found there");
            state.cached.push_front(entry.clone());
            return Ok(Some(entry.1));
        }
        let mut plain = vec![0; CHUNK_BYTES as usize];
        let plain_len = state
            .chunks
            .read_chunk(&self.manifest.chunks[found], &mut plain)?;
        plain.truncate(plain_len);
        let plain = Arc::new(plain);
        state.cached.truncate(CACHED_CHUNKS - 1);
        state.cached.push_front((index, Arc::clone(&plain)));
        Ok(Some(plain))
    }
}

impl ReadAt for ArtifactDisk<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.manifest.disk_size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut offset, mut out) = (offset, out);
        while !out.is_empty() {
            let index = offset / u64::from(CHUNK_BYTES);
            let range = self.manifest.chunk_range(index);
            let left = usize::try_from(range.end - offset).expect("less than a chunk");
            let (now, later) = out.split_at_mut(left.min(out.len()));
            match self.chunk(index)? {
                Some(plain) => {
                    let at = usize::try_from(offset - range.start).expect("less than a chunk");
                    now.copy_from_slice(&plain[at..at + now.len()]);
                }
                None => now.fill(0),
            }
            offset += now.len() as u64;
            out = later;
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.manifest.disk_size_bytes
    }
}
