//! Clusters of 64 KiB, not compressed: 16 for a chunk.

use std::io;

use super::COPIED;
use super::tables::Tables;
use crate::export::{FileWriter, Output, Payload, Wanted};
use crate::{CHUNK_BYTES, Chunk, Manifest};

/// QEMU's own choice.
const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
const CLUSTERS_PER_CHUNK: u64 = CHUNK_BYTES as u64 / CLUSTER_BYTES;

pub(in crate::export) struct Plain<'a> {
    manifest: &'a Manifest,
    tables: Tables,
}

impl<'a> Plain<'a> {
    pub fn new(manifest: &'a Manifest) -> Self {
        let clusters = manifest
            .chunks
            .iter()
            .map(|chunk| clusters_of(manifest, chunk))
            .sum();
        Self {
            manifest,
            tables: Tables::new(manifest, CLUSTER_BITS, false, clusters),
        }
    }
}

fn clusters_of(manifest: &Manifest, chunk: &Chunk) -> u64 {
    let range = manifest.chunk_range(chunk.index);
    (range.end - range.start).div_ceil(CLUSTER_BYTES)
}

impl FileWriter for Plain<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::Plain
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.tables.file_bytes())
    }

    fn place(&self, nth: usize) -> Option<u64> {
        Some(self.tables.data_at() + nth as u64 * u64::from(CHUNK_BYTES))
    }

    fn begin(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        let manifest = self.manifest;
        let mut at = self.tables.data_at();
        let mut chunks = manifest.chunks.iter().peekable();
        self.tables.write(out, &|_| 1, &mut |first, entries| {
            let end = first + entries.len() as u64;
            while let Some(chunk) = chunks.next_if(|chunk| chunk.index * CLUSTERS_PER_CHUNK < end) {
                let entry =
                    usize::try_from(chunk.index * CLUSTERS_PER_CHUNK - first).expect("an index of the table");
                for cluster in 0..clusters_of(manifest, chunk) {
                    entries[entry + usize::try_from(cluster).expect("a few")] = COPIED | at;
                    at += CLUSTER_BYTES;
                }
            }
        })
    }

    fn chunk(&mut self, out: &mut Output<'_>, _chunk: &Chunk, payload: Payload) -> io::Result<()> {
        payload.put_plain(out)
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        // The disk may end inside of a cluster.
        out.zeros_to(self.tables.file_bytes())
    }
}
