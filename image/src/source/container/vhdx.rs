//! Microsoft's VHDX, fixed and dynamic: one table of blocks, found by way of a table of regions.
//!
//! A file whose log has to be replayed is refused: what the tables say before that is not what they mean.

mod header;
mod metadata;
mod regions;

use super::{
    BlockDisk, BlockMap, ContainerError, Cut, ImageSource, Input, Limits, Place, SourceError, Tables,
};
use crate::numbers::le64_table;
use header::Header;
use metadata::Metadata;
use regions::Regions;

const MIB: u64 = 1 << 20;
/// Sectors that one block of bitmaps is for.
const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// The table of a VHDX: an entry for each block, and after so many of them one for a block of bitmaps, which only
/// differencing disks use.
#[derive(Debug)]
struct Vhdx {
    entries: Vec<u64>,
    blocks_per_bitmap: u64,
}

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    const BLOCKS: &str = "the block table";
    if &input.header::<8>("the file identifier", 0)? != b"vhdxfile" {
        return Err(input.bad_magic("the file identifier").into());
    }
    let header = Header::read(&input)?;
    let regions = Regions::read(&input)?;
    let mut tables = Tables::default();
    tables.add(&input, "the headers", 0, MIB)?;
    tables.add(&input, "the log", header.log_offset, header.log_bytes)?;
    tables.add(&input, BLOCKS, regions.blocks.offset, regions.blocks.bytes)?;
    tables.add(
        &input,
        "the metadata",
        regions.metadata.offset,
        regions.metadata.bytes,
    )?;
    let metadata = Metadata::read(&input, regions.metadata)?;
    let cut = Cut {
        disk_bytes: metadata.disk_bytes,
        block_bytes: metadata.block_bytes,
    };
    limits.admit(cut.disk_bytes)?;
    let blocks_per_bitmap = SECTORS_PER_BITMAP * metadata.sector_bytes / cut.block_bytes;
    let bytes = (cut.blocks() + (cut.blocks() - 1) / blocks_per_bitmap) * 8;
    if regions.blocks.bytes < bytes {
        let expected = format!("at least {bytes} for a disk of {} bytes", cut.disk_bytes);
        return Ok(input.refuse("the length of the block table", regions.blocks.bytes, &expected)?);
    }
    let map = Vhdx {
        entries: le64_table(&input.table(BLOCKS, regions.blocks.offset, bytes)?),
        blocks_per_bitmap,
    };
    BlockDisk::open(input, map, tables, cut, limits)
}

impl BlockMap for Vhdx {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError> {
        let at = block + block / self.blocks_per_bitmap;
        let entry = self.entries[usize::try_from(at).expect("an index of the table")];
        let refuse = |why| Err(input.bad_entry("the block table", entry, why));
        match entry & 7 {
            // Not present, undefined, zero, unmapped: nothing was written that is to be kept.
            0..=3 => Ok(Place::Zero),
            // As drafts of the specification numbered what is unmapped.
            5 => Ok(Place::Zero),
            6 if entry & 0xF_FFF8 == 0 => Ok(Place::Data(entry >> 20 << 20)),
            6 => refuse("whose reserved bits are not zero"),
            7 => refuse("a block that is present in part, which only differencing disks have"),
            _ => refuse("whose state is unknown"),
        }
    }
}
