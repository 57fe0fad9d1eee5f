//! Partitions that the table's reader does not list: logical ones of an MBR, and those of a GPT that is damaged.
//!
//! For looking only: what is found too much costs a look at a place where nothing is. No checksum has to hold here.

use super::{
    Extent,
    signatures::{le32, le64},
};
use crate::finish::table::{ESP_TYPE, Partition};

/// Logical partitions that are followed.
const MAX_LOGICAL: u32 = 60;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Kind, first block and blocks of one of the four entries.
fn entry(sector: &[u8], index: usize) -> Option<(u8, u64, u64)> {
    let entry = sector.get(446 + index * 16..462 + index * 16)?;
    let (first, blocks) = (le32(entry, 8)?, le32(entry, 12)?);
    (entry[4] != 0 && blocks != 0).then(|| (entry[4], first.into(), blocks.into()))
}

/// The chain of an extended partition: each record has a partition, and where the next one is.
pub(super) fn logical(whole: &Extent<'_>, head: &[u8], sector: u64) -> Vec<Partition> {
    let mut found = Vec::new();
    let extended = (0..4)
        .filter_map(|index| entry(head, index))
        .find(|(kind, ..)| EXTENDED.contains(kind));
    let Some((_, base, _)) = extended else {
        return found;
    };
    let mut record = base;
    for number in 5..5 + MAX_LOGICAL {
        let Some(block) = record.checked_mul(sector).and_then(|at| whole.at(at, 512)) else {
            break;
        };
        if block[510..] != [0x55, 0xaa] {
            break;
        }
        if let Some((kind, first, blocks)) = entry(&block, 0)
            && !EXTENDED.contains(&kind)
        {
            found.push(Partition {
                number,
                first_lba: record + first,
                blocks,
                unique: [0; 16],
                esp: false,
            });
        }
        match entry(&block, 1) {
            Some((kind, next, _)) if EXTENDED.contains(&kind) && next != 0 => record = base + next,
            _ => break,
        }
    }
    found
}

/// What a GPT lists, the first one or the one at the end, with sectors of the size that it was made for.
pub(super) fn remains(whole: &Extent<'_>, sector: u64) -> Vec<(Partition, u64)> {
    [sector, 512, 4096]
        .into_iter()
        .filter(|sector| *sector > 0)
        .flat_map(|sector| {
            let last = (whole.size / sector).saturating_sub(1) * sector;
            [(sector, sector), (sector, last)]
        })
        .map(|(sector, header)| listed(whole, header, sector).unwrap_or_default())
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn listed(whole: &Extent<'_>, header: u64, sector: u64) -> Option<Vec<(Partition, u64)>> {
    const ENTRIES: u32 = 128;
    const ENTRY_BYTES: usize = 128;
    let block = whole.at(header, 92)?;
    if !block.starts_with(b"EFI PART") || le32(&block, 84)? != 128 {
        return None;
    }
    let count = le32(&block, 80)?.min(ENTRIES);
    let table = whole.at(
        le64(&block, 72)?.checked_mul(sector)?,
        ENTRY_BYTES * usize::try_from(count).ok()?,
    )?;
    let partition = |(number, entry): (u32, &[u8])| {
        let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
        let used = entry[..16] != [0; 16] && last >= first && first > 0;
        let partition = Partition {
            number,
            first_lba: first,
            blocks: last.checked_sub(first)?.checked_add(1)?,
            unique: entry[16..32].try_into().ok()?,
            esp: entry[..16] == ESP_TYPE,
        };
        used.then_some((partition, sector))
    };
    Some(
        (1..)
            .zip(table.chunks_exact(ENTRY_BYTES))
            .filter_map(partition)
            .collect(),
    )
}
