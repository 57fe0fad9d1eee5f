//! Chunks that lie in the store, for whoever reads a disk of it at any place.

use std::{fmt, io, time::Instant};

use futures::TryStreamExt;
use imprint_image::{
    Chunk, Manifest,
    facts::ReadChunk,
    frame::{self, Decoder},
};
use tokio::runtime::Handle;

use crate::{
    ingest::stop::Stop,
    store::{Store, StoreObject},
};

/// The chunks that a manifest describes, until a point in time. Reads block: never from a thread of the runtime.
pub(crate) struct StoreChunks<'a> {
    store: &'a Store,
    runtime: &'a Handle,
    manifest: &'a Manifest,
    decoder: Decoder,
    until: Instant,
    stop: Stop,
}

impl fmt::Debug for StoreChunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreChunks")
            .field("image_digest", &self.manifest.image_digest)
            .finish_non_exhaustive()
    }
}

impl<'a> StoreChunks<'a> {
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
            decoder: Decoder::of(manifest)?,
            until,
            stop,
        })
    }
}

impl ReadChunk for StoreChunks<'_> {
    fn read_chunk(&mut self, chunk: &Chunk, plain: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("the import is stopped"));
        }
        if Instant::now() >= self.until {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "reading the facts of this disk takes too long",
            ));
        }
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
        frame::verify_and_decode(&mut frame, chunk, plain_len, plain, &mut self.decoder)
            .map_err(io::Error::other)?;
        Ok(plain_len)
    }
}
