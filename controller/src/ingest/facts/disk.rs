//! A disk that lies in the store, read at any place.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::TryStreamExt;
use imprint_image::{
    CHUNK_BYTES, Chunk, Manifest,
    facts::ReadAt,
    frame::{self, Decoder},
};
use tokio::runtime::Handle;

use crate::{
    ingest::stop::Stop,
    store::{Store, StoreObject},
};

/// Chunks that are kept decoded: 16 MiB.
const CACHED_CHUNKS: usize = 16;

/// The disk that a manifest describes, until a point in time. Chunks are fetched, proven and decoded when they are
/// needed; holes read as zeros. Reads block: never from a thread of the runtime.
pub(crate) struct StoreDisk<'a> {
    store: &'a Store,
    runtime: &'a Handle,
    manifest: &'a Manifest,
    until: Instant,
    stop: Stop,
    state: Mutex<State>,
}

struct State {
    decoder: Decoder,
    /// The one that was used last in front.
    cached: VecDeque<(u64, Arc<Vec<u8>>)>,
}

impl fmt::Debug for StoreDisk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDisk")
            .field("image_digest", &self.manifest.image_digest)
            .finish_non_exhaustive()
    }
}

impl<'a> StoreDisk<'a> {
    pub(crate) fn new(
        store: &'a Store,
        runtime: &'a Handle,
        manifest: &'a Manifest,
        until: Instant,
        stop: Stop,
    ) -> io::Result<Self> {
        Ok(Self {
            store,
            runtime,
            manifest,
            until,
            stop,
            state: Mutex::new(State {
                decoder: Decoder::of(manifest)?,
                cached: VecDeque::with_capacity(CACHED_CHUNKS),
            }),
        })
    }

    /// The plain bytes of a chunk; nothing when it is a hole.
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
        if self.stop.is_set() {
            return Err(io::Error::other("the import is stopped"));
        }
        if Instant::now() >= self.until {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "reading the facts of this disk takes too long",
            ));
        }
        let plain = Arc::new(self.fetch(&mut state.decoder, &self.manifest.chunks[found])?);
        state.cached.truncate(CACHED_CHUNKS - 1);
        state.cached.push_front((index, Arc::clone(&plain)));
        Ok(Some(plain))
    }

    fn fetch(&self, decoder: &mut Decoder, chunk: &Chunk) -> io::Result<Vec<u8>> {
        let pack = StoreObject::Pack(self.manifest.packs[chunk.pack as usize].digest);
        let range = chunk.offset..chunk.offset + u64::from(chunk.frame_bytes);
        let pieces = self.store.stream(pack, range).try_fold(
            Vec::with_capacity(chunk.frame_bytes as usize),
            async |mut frame, piece| {
                frame.extend_from_slice(&piece);
                Ok(frame)
            },
        );
        let mut frame = self.runtime.block_on(pieces).map_err(io::Error::other)?;
        let range = self.manifest.chunk_range(chunk.index);
        let plain_len = usize::try_from(range.end - range.start).expect("not longer than a chunk");
        let mut plain = vec![0; CHUNK_BYTES as usize];
        frame::verify_and_decode(&mut frame, chunk, plain_len, &mut plain, decoder)
            .map_err(io::Error::other)?;
        plain.truncate(plain_len);
        Ok(plain)
    }
}

impl ReadAt for StoreDisk<'_> {
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
