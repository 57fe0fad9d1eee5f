//! The regions of a VHDX, named by a table of which there are two copies.

use super::super::{ContainerError, Input};
use super::MIB;
use super::header::is_whole;
use crate::numbers::{le32, le64};

const PLACES: [u64; 2] = [192 << 10, 256 << 10];
const TABLE_BYTES: u64 = 64 << 10;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 32;
const MAX_ENTRIES: u32 = 2047;

/// GUIDs as they lie in the file.
const BLOCKS: [u8; 16] = *b"\x66\x77\xC2\x2D\x23\xF6\x00\x42\x9D\x64\x11\x5E\x9B\xFD\x4A\x08";
const METADATA: [u8; 16] = *b"\x06\xA2\x7C\x8B\x90\x47\x9A\x4B\xB8\xFE\x57\x5F\x05\x0F\x88\x6E";

/// A part of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub offset: u64,
    pub bytes: u64,
}

/// The two that are needed.
#[derive(Debug)]
pub(super) struct Regions {
    pub blocks: Region,
    pub metadata: Region,
}

impl Regions {
    pub fn read(input: &Input) -> Result<Self, ContainerError> {
        const WHAT: &str = "the table of regions";
        let mut whole = None;
        for place in PLACES {
            let table = input.table(WHAT, place, TABLE_BYTES)?;
            if table.starts_with(b"regi") && is_whole(&table) {
                whole = Some(table);
                break;
            }
        }
        let Some(table) = whole else {
            return Err(input.bad_checksum(WHAT));
        };
        let count = le32(&table, 8);
        if count > MAX_ENTRIES {
            return input.refuse("the number of regions", count.into(), "at most 2047");
        }
        let (mut blocks, mut metadata) = (None, None);
        let entries = table[HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
        for entry in entries.take(count as usize) {
            let id = &entry[..16];
            let region = Region {
                offset: le64(entry, 16),
                bytes: le32(entry, 24).into(),
            };
            let known = if id == BLOCKS {
                &mut blocks
            } else if id == METADATA {
                &mut metadata
            } else if le32(entry, 28) & 1 != 0 {
                return Err(ContainerError::Feature {
                    format: input.format,
                    what: "the required region",
                    name: hex::encode(id),
                });
            } else {
                continue;
            };
            if !region.offset.is_multiple_of(MIB) || region.offset == 0 || region.bytes == 0 {
                return Err(input.bad_entry(WHAT, region.offset, "which no region can have as its offset"));
            }
            if known.replace(region).is_some() {
                return Err(input.bad_entry(WHAT, region.offset, "which is the second of its kind"));
            }
        }
        match (blocks, metadata) {
            (Some(blocks), Some(metadata)) => Ok(Self { blocks, metadata }),
            _ => input.refuse(
                "the number of regions",
                count.into(),
                "a block table and metadata among them",
            ),
        }
    }
}
