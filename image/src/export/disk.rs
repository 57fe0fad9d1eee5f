//! The disk of an artifact as the source of an import: so an image is encrypted, decrypted, or packed anew.

use std::io::{self, Read};

use super::Frames;
use crate::frame::{self, Decoder};
use crate::source::ImageSource;
use crate::{CHUNK_BYTES, Chunk, Manifest};

/// Neighbouring frames that are fetched at once.
const BATCH_BYTES: u64 = 4 << 20;

/// Reads the disk that a manifest describes from frames of any place, and proves every chunk on the way.
pub struct ArtifactSource<'a> {
    manifest: &'a Manifest,
    frames: &'a dyn Frames,
    decoder: Decoder,
    /// The frames that were fetched last, and how many of their bytes are used up.
    fetched: Vec<u8>,
    used: usize,
    /// The next chunk that is not decoded yet.
    next: usize,
    plain: Vec<u8>,
    /// The index of the chunk that `plain` holds.
    loaded: Option<u64>,
    position: u64,
}

impl<'a> ArtifactSource<'a> {
    /// From the first byte of the disk on.
    pub fn new(manifest: &'a Manifest, frames: &'a dyn Frames) -> io::Result<Self> {
        Ok(Self {
            manifest,
            frames,
            decoder: Decoder::of(manifest)?,
            fetched: Vec::new(),
            used: 0,
            next: 0,
            plain: vec![0; CHUNK_BYTES as usize],
            loaded: None,
            position: 0,
        })
    }

    /// The frames from the next chunk on that are neighbours.
    fn fetch(&mut self) -> io::Result<()> {
        let rest = &self.manifest.chunks[self.next..];
        let first = &rest[0];
        let mut end = first.offset;
        for chunk in rest {
            let next = end + u64::from(chunk.frame_bytes);
            let follows = (chunk.pack, chunk.offset) == (first.pack, end);
            if !follows || next - first.offset > BATCH_BYTES.max(first.frame_bytes.into()) {
                break;
            }
            end = next;
        }
        let pack = &self.manifest.packs[first.pack as usize];
        self.fetched = self.frames.fetch(pack, first.offset..end)?;
        self.used = 0;
        if self.fetched.len() as u64 == end - first.offset {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn load(&mut self, chunk: &Chunk) -> io::Result<()> {
        // What was there before is not whole any more when this fails.
        self.loaded = None;
        if self.used == self.fetched.len() {
            self.fetch()?;
        }
        let frame = &mut self.fetched[self.used..][..chunk.frame_bytes as usize];
        let range = self.manifest.chunk_range(chunk.index);
        let bytes = usize::try_from(range.end - range.start).expect("not longer than a chunk");
        frame::verify_and_decode(frame, chunk, bytes, &mut self.plain, &mut self.decoder)
            .map_err(io::Error::other)?;
        self.used += chunk.frame_bytes as usize;
        self.loaded = Some(chunk.index);
        self.next += 1;
        Ok(())
    }
}

impl std::fmt::Debug for ArtifactSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArtifactSource")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Read for ArtifactSource<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let manifest = self.manifest;
        let index = self.position / u64::from(CHUNK_BYTES);
        let range = manifest.chunk_range(index);
        let within = usize::try_from(self.position % u64::from(CHUNK_BYTES)).expect("less than a chunk");
        let left = usize::try_from(range.end.saturating_sub(self.position)).expect("less than a chunk");
        let now = left.min(out.len());
        if now == 0 {
            return Ok(0);
        }
        if let Some(chunk) = manifest.chunks.get(self.next)
            && chunk.index == index
        {
            self.load(chunk)?;
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

impl ImageSource for ArtifactSource<'_> {
    fn disk_size_bytes(&self) -> Option<u64> {
        Some(self.manifest.disk_size_bytes)
    }

    fn skip_zeros(&mut self) -> io::Result<u64> {
        let next = self.manifest.chunks.get(self.next);
        let data = next.map_or(self.manifest.disk_size_bytes, |chunk| {
            self.manifest.chunk_range(chunk.index).start
        });
        let skipped = data.saturating_sub(self.position);
        self.position += skipped;
        Ok(skipped)
    }
}
