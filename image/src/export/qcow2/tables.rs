//! Header, reference counts, L1 and L2 tables: all that stands in front of the data.

use std::io;

use super::COPIED;
use crate::export::Output;
use crate::export::fields::put;
use crate::{CHUNK_BYTES, Manifest};

const HEADER_BYTES: u32 = 112;
const COMPRESSION_FEATURE: u64 = 1 << 3;
const ZSTD: u8 = 1;
/// Reference counts of 16 bits.
const REFCOUNT_ORDER: u32 = 4;

/// Where everything lies.
#[derive(Debug)]
pub(super) struct Tables {
    cluster_bits: u32,
    disk_bytes: u64,
    is_zstd: bool,
    refcount_table_clusters: u64,
    refcount_blocks: u64,
    l1_entries: u64,
    l1_clusters: u64,
    /// The entries of the L1 table that have an L2 table.
    l2_tables: Vec<u64>,
    file_clusters: u64,
}

impl Tables {
    /// Of a file in which data takes `data_clusters`.
    pub fn new(manifest: &Manifest, cluster_bits: u32, is_zstd: bool, data_clusters: u64) -> Self {
        let cluster = 1u64 << cluster_bits;
        let per_table = cluster / 8;
        let chunks_per_table = (per_table << cluster_bits) / u64::from(CHUNK_BYTES);
        let l1_entries = manifest.disk_size_bytes.div_ceil(cluster).div_ceil(per_table);
        let mut l2_tables: Vec<u64> = Vec::new();
        for chunk in &manifest.chunks {
            let table = chunk.index / chunks_per_table;
            if l2_tables.last() != Some(&table) {
                l2_tables.push(table);
            }
        }
        let l1_clusters = (l1_entries * 8).div_ceil(cluster);
        let others = 1 + l1_clusters + l2_tables.len() as u64 + data_clusters;
        let (mut blocks, mut table_clusters) = (1, 1);
        // What counts references is counted too; a few rounds settle it.
        loop {
            let total = others + blocks + table_clusters;
            let needed = (total * 2).div_ceil(cluster);
            let needed_table = (needed * 8).div_ceil(cluster);
            if (needed, needed_table) == (blocks, table_clusters) {
                break;
            }
            (blocks, table_clusters) = (needed.max(blocks), needed_table.max(table_clusters));
        }
        Self {
            cluster_bits,
            disk_bytes: manifest.disk_size_bytes,
            is_zstd,
            refcount_table_clusters: table_clusters,
            refcount_blocks: blocks,
            l1_entries,
            l1_clusters,
            l2_tables,
            file_clusters: others + blocks + table_clusters,
        }
    }

    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l1_at(&self) -> u64 {
        (1 + self.refcount_table_clusters + self.refcount_blocks) << self.cluster_bits
    }

    fn l2_at(&self) -> u64 {
        self.l1_at() + (self.l1_clusters << self.cluster_bits)
    }

    /// Where the data begins.
    pub fn data_at(&self) -> u64 {
        self.l2_at() + ((self.l2_tables.len() as u64) << self.cluster_bits)
    }

    /// Length of the file in whole clusters.
    pub fn file_bytes(&self) -> u64 {
        self.file_clusters << self.cluster_bits
    }

    /// Writes all up to the data. `references` tells how often the n-th cluster of data is used; `fill` puts the entries
    /// of an L2 table whose first cluster of the disk it is told.
    pub fn write(
        &self,
        out: &mut Output<'_>,
        references: &dyn Fn(u64) -> u16,
        fill: &mut dyn FnMut(u64, &mut [u64]),
    ) -> io::Result<()> {
        out.write(&self.header())?;
        out.align(self.cluster_bytes())?;
        let first_block = 1 + self.refcount_table_clusters;
        self.numbers(
            out,
            (0..self.refcount_blocks).map(|block| (first_block + block) << self.cluster_bits),
        )?;
        self.refcounts(out, references)?;
        let mut l1 = vec![0; usize::try_from(self.l1_entries).expect("bounded by the largest disk")];
        for (place, table) in (0u64..).zip(&self.l2_tables) {
            l1[usize::try_from(*table).expect("an index of the table")] =
                COPIED | (self.l2_at() + (place << self.cluster_bits));
        }
        self.numbers(out, l1.into_iter())?;
        let per_table = self.cluster_bytes() / 8;
        let mut entries = vec![0u64; usize::try_from(per_table).expect("a cluster is small")];
        for table in &self.l2_tables {
            entries.fill(0);
            fill(table * per_table, &mut entries);
            self.numbers(out, entries.iter().copied())?;
        }
        Ok(())
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        let features = if self.is_zstd { COMPRESSION_FEATURE } else { 0 };
        let short = |count: u64| {
            u32::try_from(count)
                .expect("bounded by the largest disk")
                .to_be_bytes()
        };
        put(&mut header, 0, b"QFI\xFB");
        put(&mut header, 4, &3u32.to_be_bytes());
        put(&mut header, 20, &self.cluster_bits.to_be_bytes());
        put(&mut header, 24, &self.disk_bytes.to_be_bytes());
        put(&mut header, 36, &short(self.l1_entries));
        put(&mut header, 40, &self.l1_at().to_be_bytes());
        put(&mut header, 48, &self.cluster_bytes().to_be_bytes());
        put(&mut header, 56, &short(self.refcount_table_clusters));
        put(&mut header, 72, &features.to_be_bytes());
        put(&mut header, 96, &REFCOUNT_ORDER.to_be_bytes());
        put(&mut header, 100, &HEADER_BYTES.to_be_bytes());
        header[104] = if self.is_zstd { ZSTD } else { 0 };
        header
    }

    fn refcounts(&self, out: &mut Output<'_>, references: &dyn Fn(u64) -> u16) -> io::Result<()> {
        let per_block = self.cluster_bytes() / 2;
        let first_data = self.data_at() >> self.cluster_bits;
        let mut bytes =
            Vec::with_capacity(usize::try_from(self.cluster_bytes()).expect("a cluster is small"));
        for block in 0..self.refcount_blocks {
            bytes.clear();
            for cluster in block * per_block..((block + 1) * per_block).min(self.file_clusters) {
                let count = cluster.checked_sub(first_data).map_or(1, references);
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            out.write(&bytes)?;
            out.align(self.cluster_bytes())?;
        }
        Ok(())
    }

    /// Writes a table and fills up its last cluster.
    fn numbers(&self, out: &mut Output<'_>, numbers: impl Iterator<Item = u64>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for number in numbers {
            bytes.extend_from_slice(&number.to_be_bytes());
            if bytes.len() as u64 == self.cluster_bytes() {
                out.write(&bytes)?;
                bytes.clear();
            }
        }
        out.write(&bytes)?;
        out.align(self.cluster_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hole, HoleKind, PartitionSummary};

    /// Every cluster of the file is counted, those that count included, and nothing is counted that could be left out.
    #[test]
    fn what_counts_references_is_counted_too() {
        let hole = Hole {
            first_chunk: 0,
            chunk_count: 64 << 20,
            kind: HoleKind::MustBeZero,
        };
        let partitions = PartitionSummary::default();
        let disk = Manifest::assemble(64 << 40, 512, vec![], vec![], vec![hole], partitions).unwrap();
        for bits in [16, 20] {
            let cluster = 1u64 << bits;
            let (per_block, per_table) = (cluster / 2, cluster / 8);
            for data in [
                0,
                1,
                per_block - 9,
                per_block - 1,
                per_block,
                100 * per_block,
                per_block * per_table,
            ] {
                let tables = Tables::new(&disk, bits, false, data);
                let (blocks, clusters) = (tables.refcount_blocks, tables.refcount_table_clusters);
                assert!(blocks * per_block >= tables.file_clusters, "{bits}, {data}");
                assert!(clusters * per_table >= blocks, "{bits}, {data}");
                assert!((blocks - 1) * per_block < tables.file_clusters, "{bits}, {data}");
                assert!((clusters - 1) * per_table < blocks, "{bits}, {data}");
                assert_eq!(
                    tables.data_at() + (data << bits),
                    tables.file_bytes(),
                    "{bits}, {data}"
                );
            }
        }
    }
}
