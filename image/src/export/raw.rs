//! The disk as it is.

use std::io;

use super::{FileWriter, Output, Payload, Wanted};
use crate::{CHUNK_BYTES, Chunk, Manifest};

pub(super) struct Raw<'a> {
    manifest: &'a Manifest,
}

impl<'a> Raw<'a> {
    pub fn new(manifest: &'a Manifest) -> Self {
        Self { manifest }
    }
}

impl FileWriter for Raw<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::Plain
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.manifest.disk_size_bytes)
    }

    fn place(&self, nth: usize) -> Option<u64> {
        Some(self.manifest.chunks[nth].index * u64::from(CHUNK_BYTES))
    }

    fn begin(&mut self, _out: &mut Output<'_>) -> io::Result<()> {
        Ok(())
    }

    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()> {
        out.zeros_to(chunk.index * u64::from(CHUNK_BYTES))?;
        payload.put_plain(out)
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        out.zeros_to(self.manifest.disk_size_bytes)
    }
}
