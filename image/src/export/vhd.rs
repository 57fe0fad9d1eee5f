//! Microsoft's VHD, dynamic: a table of blocks of 2 MiB, each behind a bitmap of its sectors.
//!
//! The disk keeps its exact size as the footer's current size, which is what Hyper-V, Azure and VirtualBox go by. The
//! geometry, which old programs go by, holds a little less, as in every VHD that Hyper-V makes. QEMU goes by the size
//! where the creator is known for that; so the creator is `win `.

use std::io;

use super::fields::{put, uuid};
use super::{ExportError, ExportFormat, FileWriter, Output, Payload, Wanted};
use crate::{CHUNK_BYTES, Chunk, Manifest};

const SECTOR_BYTES: u64 = 512;
const FOOTER_BYTES: u64 = 512;
const HEADER_BYTES: u64 = 1024;
const TABLE_AT: u64 = FOOTER_BYTES + HEADER_BYTES;
const BLOCK_BYTES: u64 = 2 << 20;
const CHUNKS_PER_BLOCK: u64 = BLOCK_BYTES / CHUNK_BYTES as u64;
/// A bit for each sector of a block.
const BITMAP: [u8; (BLOCK_BYTES / SECTOR_BYTES / 8) as usize] = [0xFF; 512];
const ABSENT: u32 = u32::MAX;
/// What Hyper-V and QEMU take.
const MAX_DISK_BYTES: u64 = 2040 << 30;
const DYNAMIC: u32 = 3;

pub(super) struct Vhd<'a> {
    manifest: &'a Manifest,
    /// The blocks that hold data.
    blocks: Vec<u64>,
    /// The block that is being written.
    open: Option<u64>,
}

impl<'a> Vhd<'a> {
    pub fn new(manifest: &'a Manifest) -> Result<Self, ExportError> {
        if manifest.disk_size_bytes > MAX_DISK_BYTES {
            return Err(ExportError::Unfit {
                format: ExportFormat::Vhd,
                reason: format!(
                    "it has {} bytes, and {MAX_DISK_BYTES} (2040 GiB) are the most",
                    manifest.disk_size_bytes
                ),
                instead: ExportFormat::Qcow2,
            });
        }
        let mut blocks: Vec<u64> = Vec::new();
        for chunk in &manifest.chunks {
            let block = chunk.index / CHUNKS_PER_BLOCK;
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
        }
        Ok(Self {
            manifest,
            blocks,
            open: None,
        })
    }

    fn table_entries(&self) -> u32 {
        u32::try_from(self.manifest.disk_size_bytes.div_ceil(BLOCK_BYTES))
            .expect("bounded by the largest disk")
    }

    fn blocks_at(&self) -> u64 {
        TABLE_AT + (u64::from(self.table_entries()) * 4).next_multiple_of(SECTOR_BYTES)
    }

    /// Where the bitmap of the n-th block with data lies.
    fn block_at(&self, nth: u64) -> u64 {
        self.blocks_at() + nth * (BITMAP.len() as u64 + BLOCK_BYTES)
    }

    /// Where the bytes of a chunk lie.
    fn chunk_at(&self, index: u64) -> u64 {
        let nth = self
            .blocks
            .binary_search(&(index / CHUNKS_PER_BLOCK))
            .expect("a chunk with data has a block");
        self.block_at(nth as u64) + BITMAP.len() as u64 + index % CHUNKS_PER_BLOCK * u64::from(CHUNK_BYTES)
    }

    fn footer(&self) -> [u8; FOOTER_BYTES as usize] {
        let disk_bytes = self.manifest.disk_size_bytes;
        let (cylinders, heads, sectors) = geometry(disk_bytes / SECTOR_BYTES);
        let mut footer = [0; FOOTER_BYTES as usize];
        put(&mut footer, 0, b"conectix");
        put(&mut footer, 8, &2u32.to_be_bytes());
        put(&mut footer, 12, &0x0001_0000u32.to_be_bytes());
        put(&mut footer, 16, &FOOTER_BYTES.to_be_bytes());
        put(&mut footer, 28, b"win ");
        put(&mut footer, 32, &0x000A_0000u32.to_be_bytes());
        put(&mut footer, 36, b"Wi2k");
        put(&mut footer, 40, &disk_bytes.to_be_bytes());
        put(&mut footer, 48, &disk_bytes.to_be_bytes());
        put(&mut footer, 56, &cylinders.to_be_bytes());
        footer[58] = heads;
        footer[59] = sectors;
        put(&mut footer, 60, &DYNAMIC.to_be_bytes());
        put(&mut footer, 68, &uuid(self.manifest));
        seal(&mut footer, 64);
        footer
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        put(&mut header, 0, b"cxsparse");
        put(&mut header, 8, &u64::MAX.to_be_bytes());
        put(&mut header, 16, &TABLE_AT.to_be_bytes());
        put(&mut header, 24, &0x0001_0000u32.to_be_bytes());
        put(&mut header, 28, &self.table_entries().to_be_bytes());
        put(&mut header, 32, &(BLOCK_BYTES as u32).to_be_bytes());
        seal(&mut header, 36);
        header
    }
}

/// Puts the checksum: the complement of the sum of the other bytes.
fn seal(structure: &mut [u8], at: usize) {
    let sum = structure
        .iter()
        .fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
    put(structure, at, &(!sum).to_be_bytes());
}

/// Cylinders, heads and sectors of a track for a disk of so many sectors, as the specification of VHD computes them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    const MOST: u64 = 65_535 * 16 * 255;
    let sectors = sectors.min(MOST);
    let (mut heads, mut per_track);
    let mut tracks;
    if sectors >= 65_535 * 16 * 63 {
        (heads, per_track) = (16, 255);
        tracks = sectors / per_track;
    } else {
        per_track = 17;
        tracks = sectors / per_track;
        heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            (heads, per_track) = (16, 31);
            tracks = sectors / per_track;
        }
        if tracks >= heads * 1024 {
            (heads, per_track) = (16, 63);
            tracks = sectors / per_track;
        }
    }
    let small = |number: u64| u8::try_from(number).expect("at most 255");
    (
        u16::try_from(tracks / heads).expect("at most 65535"),
        small(heads),
        small(per_track),
    )
}

impl FileWriter for Vhd<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::Plain
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.block_at(self.blocks.len() as u64) + FOOTER_BYTES)
    }

    fn place(&self, nth: usize) -> Option<u64> {
        Some(self.chunk_at(self.manifest.chunks[nth].index))
    }

    fn begin(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        out.write(&self.footer())?;
        out.write(&self.header())?;
        let mut table = vec![ABSENT; self.table_entries() as usize];
        for (nth, block) in (0..).zip(&self.blocks) {
            table[usize::try_from(*block).expect("an index of the table")] =
                u32::try_from(self.block_at(nth) / SECTOR_BYTES)
                    .expect("2040 GiB are less than 2^32 sectors");
        }
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        out.write(&bytes)?;
        // Entries that no block of the disk has are absent too.
        let padding = self.blocks_at() - out.position();
        out.write(&vec![0xFF; usize::try_from(padding).expect("less than a sector")])
    }

    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()> {
        let block = chunk.index / CHUNKS_PER_BLOCK;
        let at = self.chunk_at(chunk.index);
        if self.open != Some(block) {
            self.open = Some(block);
            let bitmap_at =
                at - chunk.index % CHUNKS_PER_BLOCK * u64::from(CHUNK_BYTES) - BITMAP.len() as u64;
            out.zeros_to(bitmap_at)?;
            out.write(&BITMAP)?;
        }
        out.zeros_to(at)?;
        payload.put_plain(out)
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        out.zeros_to(self.block_at(self.blocks.len() as u64))?;
        out.write(&self.footer())
    }
}

#[cfg(test)]
mod tests {
    use super::geometry;

    /// What `qemu-img create -f vpc -o force_size=on` puts for such sizes.
    #[test]
    fn the_geometry_holds_at_most_the_disk() {
        for (sectors, expected) in [
            (1, (0, 4, 17)),
            (2048, (30, 4, 17)),
            (81_920, (963, 5, 17)),
            (20_971_520, (20_805, 16, 63)),
            (65_535 * 16 * 63, (16_191, 16, 255)),
            (u64::MAX, (65_535, 16, 255)),
        ] {
            assert_eq!(geometry(sectors), expected, "{sectors}");
        }
    }
}
