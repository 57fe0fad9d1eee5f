//! Where the blocks of a file are: by the extent tree of ext4 or by the block map of ext2 and ext3.

use super::Ext;
use crate::facts::fault::Fault;
use crate::numbers::{join32, le16, le32};

const EXTENT_MAGIC: u16 = 0xF30A;
const EXTENT_ENTRY: usize = 12;
const MAX_DEPTH: u16 = 5;
/// A longer extent is one that was allocated but never written.
const MAX_WRITTEN: u16 = 32768;

/// Place and length of the run that begins with block `logical`; no place for a hole.
pub(super) fn by_extents(ext: &Ext<'_>, map: &[u8; 60], logical: u64) -> Result<(Option<u64>, u64), Fault> {
    let mut node = map.to_vec();
    let mut expected = None;
    loop {
        let depth = le16(&node, 6);
        let sound = le16(&node, 0) == EXTENT_MAGIC
            && depth <= MAX_DEPTH
            && expected.is_none_or(|expected| expected == depth);
        let entries = node
            .get(EXTENT_ENTRY..EXTENT_ENTRY * (usize::from(le16(&node, 2)) + 1))
            .filter(|_| sound)
            .ok_or_else(|| Fault::damaged("an extent tree"))?;
        // The last entry that begins at or before the block; the tree is sorted.
        let at = entries
            .chunks_exact(EXTENT_ENTRY)
            .take_while(|entry| u64::from(le32(entry, 0)) <= logical)
            .last();
        let Some(entry) = at else { return Ok((None, 1)) };
        if depth > 0 {
            let child = join32(le16(entry, 8).into(), le32(entry, 4));
            node = ext.read_block(child)?;
            expected = Some(depth - 1);
            continue;
        }
        let within = logical - u64::from(le32(entry, 0));
        let length = le16(entry, 4);
        let (length, written) = match length.checked_sub(MAX_WRITTEN) {
            Some(unwritten) if unwritten > 0 => (unwritten, false),
            _ => (length, true),
        };
        let Some(run) = u64::from(length).checked_sub(within).filter(|run| *run > 0) else {
            return Ok((None, 1));
        };
        let start = join32(le16(entry, 6).into(), le32(entry, 8));
        return Ok((written.then_some(start + within), run));
    }
}

/// The same for a block map: twelve blocks, then one, two and three levels of indirection.
pub(super) fn by_blocks(ext: &Ext<'_>, map: &[u8; 60], logical: u64) -> Result<(Option<u64>, u64), Fault> {
    let per_block = ext.block_bytes / 4;
    let slot = |number: u64| le32(map, usize::try_from(number).expect("less than 15") * 4);
    if logical < 12 {
        return Ok((present(slot(logical)), 1));
    }
    let mut left = logical - 12;
    for level in 1..=3 {
        let reach = per_block.pow(level);
        if left < reach {
            return descend(ext, slot(11 + u64::from(level)), left, reach / per_block);
        }
        left -= reach;
    }
    Err(Fault::damaged("a file longer than its block map can be"))
}

/// Follows `block`, each of whose entries covers `reach` blocks.
fn descend(ext: &Ext<'_>, block: u32, left: u64, reach: u64) -> Result<(Option<u64>, u64), Fault> {
    let (mut block, mut left, mut reach) = (block, left, reach);
    loop {
        if block == 0 {
            return Ok((None, 1));
        }
        let table = ext.read_block(block.into())?;
        let at = usize::try_from(left / reach).expect("less than a block's entries");
        block = le32(&table, at * 4);
        if reach == 1 {
            return Ok((present(block), 1));
        }
        left %= reach;
        reach /= ext.block_bytes / 4;
    }
}

fn present(block: u32) -> Option<u64> {
    (block != 0).then_some(block.into())
}
