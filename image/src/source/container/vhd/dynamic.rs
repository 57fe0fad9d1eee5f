//! A dynamic VHD: a table of blocks, each behind a bitmap of the sectors in it that were ever written.

use super::super::{BlockMap, ContainerError, Cut, Input, Place, Tables};
use super::footer::{FOOTER_BYTES, Footer, Kind, checksum};
use crate::numbers::{be32, be64};

const HEADER_BYTES: usize = 1024;
const CHECKSUM_AT: usize = 36;
const VERSION: u32 = 0x0001_0000;
const SECTOR_BYTES: u64 = 512;
const MIN_BLOCK_BYTES: u64 = 4 << 10;
/// Usual are 2 MiB, and 512 KiB. A block is held in memory when it is in part unwritten.
const MAX_BLOCK_BYTES: u64 = 32 << 20;
const ABSENT: u32 = u32::MAX;

/// The table of a dynamic VHD.
#[derive(Debug)]
pub(super) struct Dynamic {
    /// In sectors.
    blocks: Vec<u32>,
    cut: Cut,
    bitmap_bytes: u64,
    /// The block that was looked at last.
    known: Option<Known>,
}

/// What the bitmap of a block says.
#[derive(Debug)]
struct Known {
    block: u64,
    place: Place,
    bitmap: Vec<u8>,
}

pub(super) fn read(input: &Input, footer: &Footer) -> Result<(Dynamic, Tables, Cut), ContainerError> {
    const WHAT: &str = "the header of the dynamic disk";
    let header: [u8; HEADER_BYTES] = input.header(WHAT, footer.header_offset)?;
    if !header.starts_with(b"cxsparse") {
        return Err(input.bad_magic(WHAT));
    }
    if be32(&header, CHECKSUM_AT) != checksum(&header, CHECKSUM_AT) {
        return Err(input.bad_checksum(WHAT));
    }
    if footer.kind == Kind::Differencing {
        return Err(input.parent(parent_name(&header)));
    }
    let version = be32(&header, 24);
    if version != VERSION {
        return input.refuse("the dynamic disk's version", version.into(), "65536 (1.0)");
    }
    let block_bytes = u64::from(be32(&header, 32));
    input.power_of_two("the block size", block_bytes, MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES)?;
    let cut = Cut {
        disk_bytes: footer.disk_bytes,
        block_bytes,
    };
    let (entries, needed) = (u64::from(be32(&header, 28)), cut.blocks());
    if entries < needed {
        let expected = format!("at least {needed} for a disk of {} bytes", cut.disk_bytes);
        return input.refuse("the number of table entries", entries, &expected);
    }
    let table_offset = be64(&header, 16);
    let mut tables = Tables::default();
    tables.add(input, "the copy of the footer", 0, FOOTER_BYTES)?;
    tables.add(input, "the footer", input.bytes - FOOTER_BYTES, FOOTER_BYTES)?;
    tables.add(input, WHAT, footer.header_offset, HEADER_BYTES as u64)?;
    tables.add(input, "the block table", table_offset, needed * 4)?;
    let table = input.table("the block table", table_offset, needed * 4)?;
    let (entries, _) = table.as_chunks::<4>();
    let map = Dynamic {
        blocks: entries.iter().map(|entry| u32::from_be_bytes(*entry)).collect(),
        cut,
        bitmap_bytes: (block_bytes / SECTOR_BYTES / 8).next_multiple_of(SECTOR_BYTES),
        known: None,
    };
    Ok((map, tables, cut))
}

/// UTF-16, big-endian, up to the first zero.
fn parent_name(header: &[u8; HEADER_BYTES]) -> String {
    let (units, _) = header[64..576].as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

impl Dynamic {
    /// The bitmap of a block at `offset`, looked at once for as long as the reader stays with the block.
    fn look(&mut self, input: &Input, block: u64, offset: u64) -> Result<&Known, ContainerError> {
        if self.known.as_ref().is_none_or(|known| known.block != block) {
            self.known = Some(self.read_bitmap(input, block, offset)?);
        }
        Ok(self.known.as_ref().expect("it was put there above"))
    }

    fn read_bitmap(&self, input: &Input, block: u64, offset: u64) -> Result<Known, ContainerError> {
        let used = self
            .cut
            .block_bytes
            .min(self.cut.disk_bytes - block * self.cut.block_bytes);
        let sectors = used.div_ceil(SECTOR_BYTES);
        let bitmap = input.table("the bitmap of a block", offset, self.bitmap_bytes)?;
        let data = offset + self.bitmap_bytes;
        let written = (0..sectors).filter(|sector| is_written(&bitmap, *sector)).count() as u64;
        let place = match written {
            0 => Place::Zero,
            all if all == sectors => Place::Data(data),
            _ => Place::Masked(data),
        };
        Ok(Known { block, place, bitmap })
    }
}

fn is_written(bitmap: &[u8], sector: u64) -> bool {
    let byte = bitmap[usize::try_from(sector / 8).expect("an index of the bitmap")];
    byte & (0x80 >> (sector % 8)) != 0
}

impl BlockMap for Dynamic {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError> {
        let entry = self.blocks[usize::try_from(block).expect("an index of the table")];
        if entry == ABSENT {
            return Ok(Place::Zero);
        }
        Ok(self.look(input, block, u64::from(entry) * SECTOR_BYTES)?.place)
    }

    fn build(
        &mut self,
        input: &Input,
        block: u64,
        place: Place,
        plain: &mut [u8],
    ) -> Result<(), ContainerError> {
        let Place::Masked(data) = place else {
            unreachable!("no other blocks are built");
        };
        input.read("a block of data", data, plain)?;
        let bitmap = &self.look(input, block, data - self.bitmap_bytes)?.bitmap;
        for (sector, bytes) in (0..).zip(plain.chunks_mut(SECTOR_BYTES as usize)) {
            if !is_written(bitmap, sector) {
                bytes.fill(0);
            }
        }
        Ok(())
    }
}
