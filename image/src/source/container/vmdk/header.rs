//! The header of a sparse extent, and the footer that a stream has in its stead.

use super::super::{ContainerError, Input};
use crate::numbers::{le16, le32, le64};

pub(super) const HEADER_BYTES: usize = 512;
pub(super) const SECTOR_BYTES: u64 = 512;
const MIN_GRAIN_BYTES: u64 = 4 << 10;
/// Usual are 64 KiB. A compressed grain is held in memory.
const MAX_GRAIN_BYTES: u64 = 16 << 20;
const MAX_TABLE_ENTRIES: u32 = 512;

const NEWLINE_TEST: u32 = 1;
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
/// Instead of the place of the grain directory: see the footer.
const AT_END: u64 = u64::MAX;
const FOOTER_MARKER: u32 = 3;

/// A header that was checked.
#[derive(Debug)]
pub(super) struct Header {
    pub disk_bytes: u64,
    pub grain_bytes: u64,
    /// Entries of a grain table.
    pub table_entries: u64,
    pub directory_offset: u64,
    pub descriptor_offset: u64,
    pub descriptor_bytes: u64,
    pub has_zero_grains: bool,
    pub is_compressed: bool,
}

impl Header {
    pub fn read(input: &Input) -> Result<Self, ContainerError> {
        let first = Self::parse(input, &input.header("the header", 0)?)?;
        if first.directory_offset == AT_END {
            first.footer(input)
        } else {
            Ok(first)
        }
    }

    fn parse(input: &Input, bytes: &[u8; HEADER_BYTES]) -> Result<Self, ContainerError> {
        if !bytes.starts_with(b"KDMV") {
            return Err(input.bad_magic("the header"));
        }
        let (version, flags) = (le32(bytes, 4), le32(bytes, 8));
        if !(1..=3).contains(&version) {
            return input.refuse("the version", version.into(), "1 to 3");
        }
        if flags & NEWLINE_TEST != 0 && &bytes[73..77] != b"\n \r\n" {
            let got = le32(bytes, 73).into();
            return input.refuse(
                "the newline test",
                got,
                "168632330; a transfer as text damages it",
            );
        }
        if bytes[72] != 0 {
            return Err(ContainerError::NotClosed {
                format: input.format,
                why: "it is marked as in use",
                repair: "vmware-vdiskmanager -R FILE",
            });
        }
        let is_compressed = flags & COMPRESSED != 0;
        let algorithm = le16(bytes, 77);
        if algorithm != u16::from(is_compressed) {
            let expected = "1 (deflate) with compressed grains, 0 otherwise";
            return input.refuse("the compression", algorithm.into(), expected);
        }
        let grain_bytes = le64(bytes, 20).saturating_mul(SECTOR_BYTES);
        input.power_of_two("the grain size", grain_bytes, MIN_GRAIN_BYTES..=MAX_GRAIN_BYTES)?;
        let entries = le32(bytes, 44);
        if !(1..=MAX_TABLE_ENTRIES).contains(&entries) {
            return input.refuse("the entries of a grain table", entries.into(), "1 to 512");
        }
        let directory = le64(bytes, 56);
        Ok(Self {
            disk_bytes: le64(bytes, 12).saturating_mul(SECTOR_BYTES),
            grain_bytes,
            table_entries: entries.into(),
            directory_offset: if directory == AT_END {
                AT_END
            } else {
                // Beyond any file if it is beyond this.
                directory.saturating_mul(SECTOR_BYTES).min(AT_END - 1)
            },
            descriptor_offset: le64(bytes, 28).saturating_mul(SECTOR_BYTES),
            descriptor_bytes: le64(bytes, 36).saturating_mul(SECTOR_BYTES),
            has_zero_grains: flags & ZERO_GRAINS != 0,
            is_compressed,
        })
    }

    /// The header anew, from the three last sectors: a marker, the footer, the marker of the end.
    fn footer(self, input: &Input) -> Result<Self, ContainerError> {
        const WHAT: &str = "the footer";
        const BYTES: usize = 3 * HEADER_BYTES;
        let Some(offset) = input.bytes.checked_sub(BYTES as u64) else {
            input.within(WHAT, 0, BYTES as u64)?;
            return Err(input.bad_magic(WHAT));
        };
        let end: [u8; BYTES] = input.header(WHAT, offset)?;
        let (marker, rest) = end.split_at(HEADER_BYTES);
        let (footer, stop) = rest.split_at(HEADER_BYTES);
        let is_marked = le32(marker, 8) == 0 && le32(marker, 12) == FOOTER_MARKER;
        if !is_marked || !footer.starts_with(b"KDMV") || stop[..16] != [0; 16] {
            // A stream ends with it; without it the end is missing.
            input.within(WHAT, input.bytes, BYTES as u64)?;
        }
        let footer = Self::parse(input, footer.try_into().expect("a sector"))?;
        if footer.directory_offset == AT_END {
            return input.refuse("the grain directory of the footer", AT_END, "a place in the file");
        }
        if (footer.disk_bytes, footer.grain_bytes) != (self.disk_bytes, self.grain_bytes) {
            let expected = format!("{}, as in the header", self.disk_bytes);
            return input.refuse("the disk's size in the footer", footer.disk_bytes, &expected);
        }
        Ok(Self {
            directory_offset: footer.directory_offset,
            table_entries: footer.table_entries,
            ..self
        })
    }
}
