//! VirtualBox's VDI, dynamic and static: one table with a number for each block.

use super::{
    BlockDisk, BlockMap, ContainerError, Cut, ImageSource, Input, Limits, Place, SourceError, Tables,
};
use crate::numbers::{le32, le32_table, le64};

const HEADER_BYTES: usize = 512;
const SIGNATURE: u32 = 0xBEDA_107F;
const VERSION: u32 = 0x0001_0001;
const SECTOR_BYTES: u64 = 512;
const MIN_BLOCK_BYTES: u64 = 64 << 10;
const MAX_BLOCK_BYTES: u64 = 256 << 20;
/// A block that was never written, and one that was discarded: both read as zeros.
const ABSENT: [u64; 2] = [0xFFFF_FFFF, 0xFFFF_FFFE];

#[derive(Debug)]
struct Vdi {
    blocks: Vec<u64>,
    data_offset: u64,
    block_bytes: u64,
}

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    const WHAT: &str = "the header";
    let header: [u8; HEADER_BYTES] = input.header(WHAT, 0)?;
    if le32(&header, 0x40) != SIGNATURE {
        return Err(input.bad_magic(WHAT).into());
    }
    let cut = check(&input, &header)?;
    limits.admit(cut.disk_bytes)?;
    let needed = cut.blocks();
    let blocks_in_image = u64::from(le32(&header, 0x180));
    if blocks_in_image < needed {
        let expected = format!("at least {needed} for a disk of {} bytes", cut.disk_bytes);
        return Ok(input.refuse("blocks_in_image", blocks_in_image, &expected)?);
    }
    let map_offset = u64::from(le32(&header, 0x154));
    let data_offset = u64::from(le32(&header, 0x158));
    for (field, offset) in [("offset_bmap", map_offset), ("offset_data", data_offset)] {
        if !offset.is_multiple_of(SECTOR_BYTES) {
            return Ok(input.refuse(field, offset, "a multiple of 512")?);
        }
    }
    let mut tables = Tables::default();
    tables.add(&input, WHAT, 0, HEADER_BYTES as u64)?;
    tables.add(&input, "the block map", map_offset, needed * 4)?;
    let map = Vdi {
        blocks: le32_table(&input.table("the block map", map_offset, needed * 4)?),
        data_offset,
        block_bytes: cut.block_bytes,
    };
    BlockDisk::open(input, map, tables, cut, limits)
}

fn check(input: &Input, header: &[u8; HEADER_BYTES]) -> Result<Cut, ContainerError> {
    let version = le32(header, 0x44);
    if version != VERSION {
        return input.refuse("the version", version.into(), "65537 (1.1)");
    }
    let (link, parent) = (&header[0x1A8..0x1B8], &header[0x1B8..0x1C8]);
    let is_set = |id: &[u8]| id.iter().any(|byte| *byte != 0);
    match le32(header, 0x4C) {
        1 | 2 if is_set(link) || is_set(parent) => return Err(difference(input, header)),
        1 | 2 => {}
        3 | 4 => return Err(difference(input, header)),
        kind => return input.refuse("the kind of image", kind.into(), "1 (dynamic) or 2 (static)"),
    }
    let sector = le32(header, 0x168);
    if u64::from(sector) != SECTOR_BYTES {
        return input.refuse("the sector size", sector.into(), "512");
    }
    let (block_bytes, extra) = (u64::from(le32(header, 0x178)), le32(header, 0x17C));
    input.power_of_two("the block size", block_bytes, MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES)?;
    if extra != 0 {
        return input.refuse("the extra data of a block", extra.into(), "0");
    }
    Ok(Cut {
        disk_bytes: le64(header, 0x170),
        block_bytes,
    })
}

/// An undo or differencing image, or the state between two snapshots.
fn difference(input: &Input, header: &[u8; HEADER_BYTES]) -> ContainerError {
    input.parent(format!(
        "the image with the UUID {}",
        hex::encode(&header[0x1A8..0x1B8])
    ))
}

impl BlockMap for Vdi {
    fn place(&mut self, _input: &Input, block: u64) -> Result<Place, ContainerError> {
        let entry = self.blocks[usize::try_from(block).expect("an index of the map")];
        Ok(if ABSENT.contains(&entry) {
            Place::Zero
        } else {
            Place::Data(self.data_offset + entry * self.block_bytes)
        })
    }
}
