//! The disk in zstd: one frame for each chunk. Those of data are the store's own; one of zeros is made once.

use std::io;

use super::{ExportError, FileWriter, Output, Payload, Wanted, zstd_bytes};
use crate::frame::Encoder;
use crate::{CHUNK_BYTES, Chunk, Manifest};

const LEVEL: i32 = 3;

pub(super) struct RawZstd<'a> {
    manifest: &'a Manifest,
    /// Of a whole chunk of zeros, and of the last chunk.
    zeros: Vec<u8>,
    last_zeros: Vec<u8>,
    /// Where the frame of each data chunk begins.
    places: Vec<u64>,
    file_bytes: u64,
    /// The next chunk of the disk.
    next: u64,
}

impl<'a> RawZstd<'a> {
    pub fn new(manifest: &'a Manifest) -> Result<Self, ExportError> {
        let last = manifest.chunk_range(manifest.chunk_count() - 1);
        let compress = |bytes: u64| {
            let plain = vec![0; usize::try_from(bytes).expect("at most a chunk")];
            let mut frame = Vec::new();
            Encoder::new(LEVEL)
                .and_then(|mut encoder| encoder.encode(&plain, &mut frame))
                .map(|()| frame)
                .map_err(|source| ExportError::Compress {
                    index: manifest.chunk_count() - 1,
                    source,
                })
        };
        let mut raw = Self {
            manifest,
            zeros: compress(CHUNK_BYTES.into())?,
            last_zeros: compress(last.end - last.start)?,
            places: Vec::with_capacity(manifest.chunks.len()),
            file_bytes: 0,
            next: 0,
        };
        let (mut next, mut at) = (0, 0);
        for chunk in &manifest.chunks {
            at += raw.hole_bytes(next, chunk.index);
            raw.places.push(at);
            at += zstd_bytes(manifest, chunk);
            next = chunk.index + 1;
        }
        raw.file_bytes = at + raw.hole_bytes(next, manifest.chunk_count());
        Ok(raw)
    }

    /// What the frames of a hole take, the last one excluded.
    fn hole_bytes(&self, first: u64, end: u64) -> u64 {
        let whole = (end - first) * self.zeros.len() as u64;
        if first < end && end == self.manifest.chunk_count() {
            whole - self.zeros.len() as u64 + self.last_zeros.len() as u64
        } else {
            whole
        }
    }

    fn hole(&mut self, out: &mut Output<'_>, end: u64) -> io::Result<()> {
        while self.next < end {
            if out.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.next += 1;
            out.write(if self.next == self.manifest.chunk_count() {
                &self.last_zeros
            } else {
                &self.zeros
            })?;
        }
        Ok(())
    }
}

impl FileWriter for RawZstd<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::Frame
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.file_bytes)
    }

    fn place(&self, nth: usize) -> Option<u64> {
        Some(self.places[nth])
    }

    fn begin(&mut self, _out: &mut Output<'_>) -> io::Result<()> {
        Ok(())
    }

    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()> {
        self.hole(out, chunk.index)?;
        self.next = chunk.index + 1;
        payload.put_frame(out)
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        self.hole(out, self.manifest.chunk_count())
    }
}
