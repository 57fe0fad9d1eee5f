//! A summary of the partition table, read without trusting it.

mod gpt;
mod mbr;
mod sketch;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::ManifestError;

pub(crate) use sketch::DiskSketch;

/// Most partitions that a summary lists.
pub const MAX_PARTITIONS: usize = 256;
/// Most notes that a summary has.
pub const MAX_NOTES: usize = 32;
/// Longest text in a summary, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// Which kind of partition table a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionTable {
    /// None that is known: a bare file system, or data.
    #[default]
    None,
    /// A DOS partition table.
    Mbr,
    /// A GUID partition table.
    Gpt,
}

/// What the partition table of a disk says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionSummary {
    /// The kind of table.
    pub table: PartitionTable,
    /// GPT: the disk's GUID, lower case with hyphens. MBR: the disk signature, eight lower-case hex digits.
    pub disk_id: String,
    /// GPT whose MBR has partitions besides the protective one.
    pub hybrid_mbr: bool,
    /// The partitions, by number.
    pub partitions: Vec<PartitionEntry>,
    /// What is odd about the table, in words for an operator.
    pub notes: Vec<String>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionEntry {
    /// Its number, from 1; logical partitions of an MBR from 5.
    pub number: u32,
    /// Where it begins.
    pub first_byte: u64,
    /// Its size.
    pub size_bytes: u64,
    /// GPT: type GUID, lower case with hyphens. MBR: `0x83` and the like.
    pub type_id: String,
    /// GPT: its name. MBR: empty.
    pub name: String,
    /// GPT: its GUID, lower case. MBR: disk signature and number, as in `PARTUUID`.
    pub unique_id: String,
}

/// Reads the partition table of a disk whose logical sector has `sector_bytes`.
///
/// A damaged or odd table is no error but a note; an error is only what reading `disk` gives.
pub fn read_summary<D: Read + Seek>(disk: &mut D, sector_bytes: u32) -> io::Result<PartitionSummary> {
    let size = disk.seek(SeekFrom::End(0))?;
    let mut summary = PartitionSummary::default();
    let mut boot_sector = [0; 512];
    if size >= 512 {
        disk.seek(SeekFrom::Start(0))?;
        disk.read_exact(&mut boot_sector)?;
    }
    let mbr = mbr::Mbr::parse(&boot_sector);
    if gpt::summarise(disk, size, sector_bytes, mbr.as_ref(), &mut summary)? {
        return Ok(summary);
    }
    if let Some(mbr) = mbr {
        mbr.summarise(disk, size, sector_bytes, &mut summary)?;
    }
    Ok(summary)
}

/// The sector size that a disk's partition table was made for: where the GPT header is tells it; 512 otherwise.
pub(crate) fn detect_sector_bytes<D: Read + Seek>(disk: &mut D) -> io::Result<u32> {
    let size = disk.seek(SeekFrom::End(0))?;
    for sector in [512, 4096] {
        if gpt::has_header(disk, size, sector)? {
            return Ok(sector);
        }
    }
    Ok(512)
}

impl PartitionSummary {
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let mut note = note.into();
        if self.notes.len() < MAX_NOTES {
            note.truncate(note.floor_char_boundary(MAX_TEXT_BYTES));
            self.notes.push(note);
        }
    }

    pub(crate) fn push(&mut self, mut entry: PartitionEntry) {
        if self.partitions.len() < MAX_PARTITIONS {
            entry
                .name
                .truncate(entry.name.floor_char_boundary(MAX_TEXT_BYTES));
            self.partitions.push(entry);
        } else {
            self.note(format!(
                "partition {} and later ones are not listed",
                entry.number
            ));
        }
    }

    /// Whether a manifest may carry it. Partitions may end behind the disk: that is a fault of the image, noted,
    /// not of the manifest; but no number may overflow.
    pub(crate) fn check(&self, disk_size_bytes: u64) -> Result<(), ManifestError> {
        let field = |field, got: u64, expected: &str| {
            Err(ManifestError::Field {
                field,
                got,
                expected: expected.to_owned(),
            })
        };
        if self.partitions.len() > MAX_PARTITIONS {
            return field(
                "the number of partitions",
                self.partitions.len() as u64,
                "at most 256",
            );
        }
        if self.notes.len() > MAX_NOTES {
            return field(
                "the number of notes on partitions",
                self.notes.len() as u64,
                "at most 32",
            );
        }
        let texts = self
            .partitions
            .iter()
            .flat_map(|entry| [&entry.type_id, &entry.name, &entry.unique_id]);
        for text in texts.chain(&self.notes).chain([&self.disk_id]) {
            if text.len() > MAX_TEXT_BYTES {
                return field(
                    "the length of a text on partitions",
                    text.len() as u64,
                    "at most 256",
                );
            }
        }
        for entry in &self.partitions {
            if entry.first_byte > disk_size_bytes || entry.first_byte.checked_add(entry.size_bytes).is_none()
            {
                return field("the place of a partition", entry.first_byte, "a byte of the disk");
            }
        }
        Ok(())
    }
}
