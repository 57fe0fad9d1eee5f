//! The DOS partition table and its chain of logical partitions.

use std::io::{self, Read, Seek, SeekFrom};

use super::{PartitionEntry, PartitionSummary, PartitionTable};
use crate::numbers::le32;

const ENTRIES: usize = 446;
const ENTRY_BYTES: usize = 16;
const SIGNATURE: [u8; 2] = [0x55, 0xAA];
const PROTECTIVE: u8 = 0xEE;
/// Where it begins by cylinder, head and sector: as UEFI has it, and as other tools of today write it.
const PROTECTIVE_CHS: [[u8; 3]; 2] = [[0, 2, 0], [0, 1, 0]];
const FIRST_LOGICAL: u32 = 5;
const MAX_LOGICAL: u32 = 128;

/// One entry of a table: all numbers as they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    status: u8,
    /// Head, sector and cylinder of its beginning, as they are packed there.
    chs: [u8; 3],
    kind: u8,
    first_sector: u32,
    sectors: u32,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }
}

fn entries(sector: &[u8; 512]) -> Option<[Entry; 4]> {
    if sector[510..] != SIGNATURE {
        return None;
    }
    Some(std::array::from_fn(|number| {
        let at = ENTRIES + number * ENTRY_BYTES;
        Entry {
            status: sector[at],
            chs: sector[at + 1..at + 4].try_into().expect("three bytes"),
            kind: sector[at + 4],
            first_sector: le32(sector, at + 8),
            sectors: le32(sector, at + 12),
        }
    }))
}

/// A boot sector that holds a partition table.
#[derive(Debug)]
pub(super) struct Mbr {
    signature: u32,
    entries: [Entry; 4],
}

impl Mbr {
    /// `None` when the sector has no boot signature, or is the boot sector of a file system rather than a table:
    /// those have code where the table's status bytes would be.
    pub fn parse(sector: &[u8; 512]) -> Option<Self> {
        let entries = entries(sector)?;
        let sound =
            |entry: &Entry| matches!(entry.status, 0 | 0x80) && (entry.kind == 0 || entry.sectors > 0);
        if !entries.iter().all(sound) || entries.iter().all(|entry| entry.kind == 0) {
            return None;
        }
        let signature = le32(sector, 440);
        Some(Self { signature, entries })
    }

    /// Whether it says that there is a GPT.
    pub fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// Whether it says so and has other partitions as well.
    pub fn is_hybrid(&self) -> bool {
        self.is_protective()
            && self
                .entries
                .iter()
                .any(|entry| !matches!(entry.kind, 0 | PROTECTIVE))
    }

    /// What is odd about the protective partition.
    pub fn oddity(&self) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.kind == PROTECTIVE)?;
        if entry.first_sector != 1 {
            return Some("the protective MBR is odd: it does not begin at sector 1".to_owned());
        }
        (!PROTECTIVE_CHS.contains(&entry.chs)).then(|| {
            format!(
                "the protective MBR is odd: the CHS address of its beginning is {}, not 000200",
                hex::encode(entry.chs)
            )
        })
    }

    pub fn summarise<D: Read + Seek>(
        &self,
        disk: &mut D,
        size: u64,
        sector_bytes: u32,
        summary: &mut PartitionSummary,
    ) -> io::Result<()> {
        summary.table = PartitionTable::Mbr;
        summary.disk_id = format!("{:08x}", self.signature);
        if let Some(oddity) = self.oddity() {
            summary.note(oddity);
        }
        if self.is_protective() {
            summary.note("the MBR announces a GPT, but there is no sound GPT");
        }
        let mut extended = None;
        for (number, entry) in (1u32..).zip(&self.entries).filter(|(_, entry)| entry.kind != 0) {
            if entry.is_extended() && extended.is_none() {
                extended = Some(*entry);
            }
            let first = u64::from(entry.first_sector);
            self.push(number, *entry, first, size, sector_bytes, summary);
        }
        let Some(extended) = extended else { return Ok(()) };
        let mut link = Some(Link::first(extended, sector_bytes));
        let mut number = FIRST_LOGICAL;
        while let Some(here) = link {
            let mut record = [0; 512];
            let readable = here.offset.checked_add(512).is_some_and(|end| end <= size);
            if readable {
                disk.seek(SeekFrom::Start(here.offset))?;
                disk.read_exact(&mut record)?;
            }
            let Some([entry, ..]) = entries(&record) else {
                // An extended partition may be empty: then its first record is all zero.
                if number > FIRST_LOGICAL || record != [0; 512] || !readable {
                    summary.note(format!(
                        "the chain of logical partitions breaks at byte {}",
                        here.offset
                    ));
                }
                break;
            };
            if entry.kind != 0 {
                let first = here.offset / u64::from(sector_bytes) + u64::from(entry.first_sector);
                self.push(number, entry, first, size, sector_bytes, summary);
                number += 1;
            }
            link = here.next(&record);
            if link.is_some_and(|next| next.offset <= here.offset) || number - FIRST_LOGICAL >= MAX_LOGICAL {
                summary.note("the chain of logical partitions goes backwards or is too long");
                break;
            }
        }
        Ok(())
    }

    fn push(
        &self,
        number: u32,
        entry: Entry,
        first: u64,
        size: u64,
        sector_bytes: u32,
        summary: &mut PartitionSummary,
    ) {
        let first_byte = first * u64::from(sector_bytes);
        let size_bytes = u64::from(entry.sectors) * u64::from(sector_bytes);
        if first_byte + size_bytes > size {
            summary.note(format!("partition {number} ends behind the end of the disk"));
        }
        if first_byte > size {
            return;
        }
        summary.push(PartitionEntry {
            number,
            first_byte,
            size_bytes,
            type_id: format!("0x{:02x}", entry.kind),
            name: String::new(),
            unique_id: format!("{:08x}-{number:02x}", self.signature),
        });
    }
}

/// A place in the chain of logical partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub offset: u64,
    base: u64,
    limit: u64,
    sector_bytes: u64,
}

impl Link {
    fn first(extended: Entry, sector_bytes: u32) -> Self {
        let sector_bytes = u64::from(sector_bytes);
        let base = u64::from(extended.first_sector) * sector_bytes;
        Self {
            offset: base,
            base,
            limit: base + u64::from(extended.sectors) * sector_bytes,
            sector_bytes,
        }
    }

    /// The one after it, which its boot record names relative to the extended partition.
    pub fn next(self, record: &[u8; 512]) -> Option<Self> {
        let [_, next, ..] = entries(record)?;
        if !next.is_extended() || next.sectors == 0 {
            return None;
        }
        let offset = self.base + u64::from(next.first_sector) * self.sector_bytes;
        (offset < self.limit).then_some(Self { offset, ..self })
    }
}

/// Where the chain of logical partitions begins, if the disk has one.
pub(super) fn first_link(boot_sector: &[u8; 512], sector_bytes: u32) -> Option<Link> {
    let mbr = Mbr::parse(boot_sector)?;
    let extended = mbr.entries.into_iter().find(|entry| entry.is_extended())?;
    Some(Link::first(extended, sector_bytes))
}
