//! Clusters of 1 MiB, compressed by zstd: a frame of the store is a cluster of the file, as it is.
//!
//! A short chunk at the end of the disk would decompress into less than a cluster, so it is put there plain.

use std::io;

use super::tables::Tables;
use super::{COMPRESSED, COPIED};
use crate::export::{FileWriter, Output, Payload, Wanted, zstd_bytes};
use crate::{CHUNK_BYTES, Chunk, Manifest};

const CLUSTER_BITS: u32 = CHUNK_BYTES.trailing_zeros();
const CLUSTER_BYTES: u64 = CHUNK_BYTES as u64;
const SECTOR_BYTES: u64 = 512;
/// Of an entry of a compressed cluster: above are the sectors that it has beyond its first.
const OFFSET_BITS: u32 = 62 - (CLUSTER_BITS - 8);

pub(in crate::export) struct Zstd<'a> {
    manifest: &'a Manifest,
    tables: Tables,
    /// Where each chunk begins, from where the data begins.
    places: Vec<u64>,
    /// How many chunks each cluster of data has a part of.
    references: Vec<u16>,
}

impl<'a> Zstd<'a> {
    pub fn new(manifest: &'a Manifest) -> Self {
        let mut places = Vec::with_capacity(manifest.chunks.len());
        let mut references: Vec<u16> = Vec::new();
        let mut at = 0;
        for chunk in &manifest.chunks {
            let bytes = if is_whole(manifest, chunk) {
                zstd_bytes(manifest, chunk)
            } else {
                at = u64::next_multiple_of(at, CLUSTER_BYTES);
                CLUSTER_BYTES
            };
            places.push(at);
            for cluster in at / CLUSTER_BYTES..=(at + bytes - 1) / CLUSTER_BYTES {
                let cluster = usize::try_from(cluster).expect("frames are in memory by their digests");
                if references.len() == cluster {
                    references.push(0);
                }
                // A chunk that is not all zero has a frame of more than 40 bytes, so 16 bits suffice.
                references[cluster] = references[cluster].saturating_add(1);
            }
            at += bytes;
        }
        let tables = Tables::new(manifest, CLUSTER_BITS, true, references.len() as u64);
        Self {
            manifest,
            tables,
            places,
            references,
        }
    }
}

fn is_whole(manifest: &Manifest, chunk: &Chunk) -> bool {
    let range = manifest.chunk_range(chunk.index);
    range.end - range.start == CLUSTER_BYTES
}

fn entry(at: u64, bytes: u64) -> u64 {
    let more_sectors = (at % SECTOR_BYTES + bytes - 1) / SECTOR_BYTES;
    COMPRESSED | more_sectors << OFFSET_BITS | at
}

impl FileWriter for Zstd<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::WholeFrame
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.tables.file_bytes())
    }

    fn place(&self, nth: usize) -> Option<u64> {
        Some(self.tables.data_at() + self.places[nth])
    }

    fn begin(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        let (manifest, references, data_at) = (self.manifest, &self.references, self.tables.data_at());
        let count = |cluster: u64| references[usize::try_from(cluster).expect("an index of the clusters")];
        let mut chunks = manifest.chunks.iter().zip(&self.places).peekable();
        self.tables.write(out, &count, &mut |first, entries| {
            let end = first + entries.len() as u64;
            while let Some((chunk, place)) = chunks.next_if(|(chunk, _)| chunk.index < end) {
                let at = data_at + place;
                entries[usize::try_from(chunk.index - first).expect("an index of the table")] =
                    if is_whole(manifest, chunk) {
                        entry(at, zstd_bytes(manifest, chunk))
                    } else {
                        COPIED | at
                    };
            }
        })
    }

    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()> {
        if is_whole(self.manifest, chunk) {
            payload.put_frame(out)
        } else {
            out.align(CLUSTER_BYTES)?;
            payload.put_plain(out)
        }
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        out.zeros_to(self.tables.file_bytes())
    }
}
