//! The GUID partition table. The library's reader panics on sizes that a hostile header can name; they are checked
//! before it sees them.

use std::io::{self, Read, Seek, SeekFrom};

use gptman::{GPTHeader, GPTPartitionEntry};

use super::mbr::Mbr;
use super::{PartitionEntry, PartitionSummary, PartitionTable};

const MAGIC: &[u8; 8] = b"EFI PART";
const ENTRY_BYTES: u32 = 128;
const MAX_ENTRIES: u32 = 1024;

/// Whether the sector after the first holds a GPT header.
pub(super) fn has_header<D: Read + Seek>(disk: &mut D, size: u64, sector_bytes: u32) -> io::Result<bool> {
    let sector = u64::from(sector_bytes);
    if size < 2 * sector {
        return Ok(false);
    }
    let mut magic = [0; 8];
    disk.seek(SeekFrom::Start(sector))?;
    disk.read_exact(&mut magic)?;
    Ok(&magic == MAGIC)
}

/// Fills `summary` when the disk has a GPT; tells whether it has.
pub(super) fn summarise<D: Read + Seek>(
    disk: &mut D,
    size: u64,
    sector_bytes: u32,
    mbr: Option<&Mbr>,
    summary: &mut PartitionSummary,
) -> io::Result<bool> {
    let sector = u64::from(sector_bytes);
    if size < 3 * sector {
        return Ok(false);
    }
    let primary = has_header(disk, size, sector_bytes)?;
    if !primary && !mbr.is_some_and(Mbr::is_protective) {
        // A backup header alone is what an old partition table leaves behind, not a table.
        return Ok(false);
    }
    let (header, entries) = match read(disk, size, sector, 1)? {
        Ok(table) => table,
        Err(what) => match read(disk, size, sector, size / sector - 1)? {
            Ok(table) => {
                summary.note(format!(
                    "the primary GPT is damaged ({what}); the backup was read"
                ));
                table
            }
            Err(backup) => {
                summary.note(format!("the GPT is damaged: {what}; its backup: {backup}"));
                return Ok(false);
            }
        },
    };
    summary.table = PartitionTable::Gpt;
    summary.disk_id = guid(header.disk_guid);
    note_mbr(mbr, summary);
    for (number, entry) in (1u32..).zip(&entries).filter(|(_, entry)| entry.is_used()) {
        push(number, entry, size, sector, summary);
    }
    Ok(true)
}

fn note_mbr(mbr: Option<&Mbr>, summary: &mut PartitionSummary) {
    match mbr {
        Some(mbr) if mbr.is_hybrid() => {
            summary.hybrid_mbr = true;
            summary.note("the MBR is hybrid: it lists partitions besides the protective one");
        }
        Some(mbr) if mbr.is_protective() => {
            if let Some(oddity) = mbr.oddity() {
                summary.note(oddity);
            }
        }
        _ => summary.note("there is no protective MBR in front of the GPT; some firmware will not boot it"),
    }
}

type Table = (GPTHeader, Vec<GPTPartitionEntry>);

/// Reads the table whose header is at `lba`. The outer error is one of the disk, the inner one of the table.
fn read<D: Read + Seek>(
    disk: &mut D,
    size: u64,
    sector: u64,
    lba: u64,
) -> io::Result<Result<Table, &'static str>> {
    disk.seek(SeekFrom::Start(lba * sector))?;
    let header = match GPTHeader::read_from(disk) {
        Ok(header) => header,
        Err(gptman::Error::Io(error)) => return Err(error),
        Err(gptman::Error::InvalidSignature) => return Ok(Err("no header")),
        Err(gptman::Error::InvalidChecksum(..)) => return Ok(Err("the header's checksum is wrong")),
        Err(_) => return Ok(Err("a header of unknown size or revision")),
    };
    let count = header.number_of_partition_entries;
    if header.size_of_partition_entry != ENTRY_BYTES || count > MAX_ENTRIES {
        return Ok(Err("entries of unusual size or number"));
    }
    let entry_bytes = u64::from(count) * u64::from(ENTRY_BYTES);
    let end = header
        .partition_entry_lba
        .checked_mul(sector)
        .and_then(|at| at.checked_add(entry_bytes));
    if end.is_none_or(|end| end > size) {
        return Ok(Err("entries behind the end of the disk"));
    }
    match header.read_partitions(disk, sector) {
        Ok(entries) => Ok(Ok((header, entries))),
        Err(gptman::Error::Io(error)) => Err(error),
        Err(gptman::Error::InvalidPartitionEntryArrayChecksum(..)) => {
            Ok(Err("the entries' checksum is wrong"))
        }
        Err(_) => Ok(Err("entries that cannot be read")),
    }
}

fn push(number: u32, entry: &GPTPartitionEntry, size: u64, sector: u64, summary: &mut PartitionSummary) {
    let first_byte = entry.starting_lba.checked_mul(sector);
    let end_byte = entry
        .ending_lba
        .checked_add(1)
        .and_then(|lba| lba.checked_mul(sector));
    let (Some(first_byte), Some(end_byte)) = (first_byte, end_byte) else {
        return summary.note(format!("partition {number} lies nowhere on the disk"));
    };
    if end_byte <= first_byte || first_byte > size {
        return summary.note(format!("partition {number} lies nowhere on the disk"));
    }
    if end_byte > size {
        summary.note(format!("partition {number} ends behind the end of the disk"));
    }
    summary.push(PartitionEntry {
        number,
        first_byte,
        size_bytes: end_byte - first_byte,
        type_id: guid(entry.partition_type_guid),
        name: entry.partition_name.as_str().to_owned(),
        unique_id: guid(entry.unique_partition_guid),
    });
}

/// The usual text of a GUID, whose first three groups are stored with the low byte first.
fn guid(bytes: [u8; 16]) -> String {
    let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = bytes;
    let (d, e) = rest.split_at(2);
    format!(
        "{}-{}-{}-{}-{}",
        hex::encode([a3, a2, a1, a0]),
        hex::encode([b1, b0]),
        hex::encode([c1, c0]),
        hex::encode(d),
        hex::encode(e)
    )
}
