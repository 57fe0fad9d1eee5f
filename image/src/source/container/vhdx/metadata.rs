//! What a VHDX says of its disk.

use super::super::{ContainerError, Input};
use super::MIB;
use super::regions::Region;
use crate::numbers::{le16, le32, le64};

const TABLE_BYTES: u64 = 64 << 10;
const ENTRY_BYTES: usize = 32;
const MAX_ENTRIES: u16 = 2047;
const MAX_BLOCK_BYTES: u64 = 256 * MIB;
const MAX_ITEM_BYTES: u32 = 1 << 20;
const IS_REQUIRED: u32 = 1 << 2;
const IS_USER: u32 = 1;
const HAS_PARENT: u32 = 1 << 1;

/// GUIDs as they lie in the file.
const FILE_PARAMETERS: [u8; 16] = *b"\x37\x67\xA1\xCA\x36\xFA\x43\x4D\xB3\xB6\x33\xF0\xAA\x44\xE7\x6B";
const DISK_SIZE: [u8; 16] = *b"\x24\x42\xA5\x2F\x1B\xCD\x76\x48\xB2\x11\x5D\xBE\xD8\x3B\xF4\xB8";
const SECTOR_SIZE: [u8; 16] = *b"\x1D\xBF\x41\x81\x6F\xA9\x09\x47\xBA\x47\xF2\x33\xA8\xFA\xAB\x5F";
const PHYSICAL_SECTOR_SIZE: [u8; 16] = *b"\xC7\x48\xA3\xCD\x5D\x44\x71\x44\x9C\xC9\xE9\x88\x52\x51\xC5\x56";
const DISK_ID: [u8; 16] = *b"\xAB\x12\xCA\xBE\xE6\xB2\x23\x45\x93\xEF\xC3\x09\xE0\x00\xC7\x46";
const PARENT_LOCATOR: [u8; 16] = *b"\x2D\x5F\xD3\xA8\x0B\xB3\x4D\x45\xAB\xF7\xD3\xD8\x48\x34\xAB\x0C";

/// What is needed of it.
#[derive(Debug)]
pub(super) struct Metadata {
    pub disk_bytes: u64,
    pub block_bytes: u64,
    pub sector_bytes: u64,
}

impl Metadata {
    pub fn read(input: &Input, region: Region) -> Result<Self, ContainerError> {
        const WHAT: &str = "the metadata";
        if region.bytes < TABLE_BYTES {
            return input.refuse("the length of the metadata", region.bytes, "at least 65536");
        }
        let table = input.table(WHAT, region.offset, TABLE_BYTES)?;
        if !table.starts_with(b"metadata") {
            return Err(input.bad_magic(WHAT));
        }
        let count = le16(&table, 10);
        if count > MAX_ENTRIES {
            return input.refuse("the number of metadata items", count.into(), "at most 2047");
        }
        let (mut parameters, mut size, mut sector) = (None, None, None);
        for entry in table[ENTRY_BYTES..].chunks_exact(ENTRY_BYTES).take(count.into()) {
            let id: [u8; 16] = entry[..16].try_into().expect("sixteen bytes");
            let (offset, bytes) = (u64::from(le32(entry, 16)), le32(entry, 20));
            let flags = le32(entry, 24);
            let place = Item {
                input,
                region,
                offset,
                bytes,
            };
            match id {
                FILE_PARAMETERS => once(&place, &mut parameters, place.read::<8>()?)?,
                DISK_SIZE => once(&place, &mut size, place.read::<8>()?)?,
                SECTOR_SIZE => once(&place, &mut sector, place.read::<4>()?)?,
                PHYSICAL_SECTOR_SIZE | DISK_ID => {}
                PARENT_LOCATOR => return Err(input.parent(place.text())),
                _ if flags & IS_REQUIRED != 0 && flags & IS_USER == 0 => {
                    return Err(ContainerError::Feature {
                        format: input.format,
                        what: "the required metadata",
                        name: hex::encode(id),
                    });
                }
                _ => {}
            }
        }
        let (Some(parameters), Some(size), Some(sector)) = (parameters, size, sector) else {
            let expected = "block size, disk size and sector size among them";
            return input.refuse("the number of metadata items", count.into(), expected);
        };
        if le32(&parameters, 4) & HAS_PARENT != 0 {
            return Err(input.parent(String::new()));
        }
        let metadata = Self {
            disk_bytes: le64(&size, 0),
            block_bytes: le32(&parameters, 0).into(),
            sector_bytes: le32(&sector, 0).into(),
        };
        metadata.check(input)?;
        Ok(metadata)
    }

    fn check(&self, input: &Input) -> Result<(), ContainerError> {
        input.power_of_two("the block size", self.block_bytes, MIB..=MAX_BLOCK_BYTES)?;
        if !matches!(self.sector_bytes, 512 | 4096) {
            return input.refuse("the sector size", self.sector_bytes, "512 or 4096");
        }
        if !self.disk_bytes.is_multiple_of(self.sector_bytes) {
            return input.refuse(
                "the disk's size",
                self.disk_bytes,
                "a multiple of the sector size",
            );
        }
        Ok(())
    }
}

/// An item of metadata, whose offset counts from the region.
struct Item<'a> {
    input: &'a Input,
    region: Region,
    offset: u64,
    bytes: u32,
}

impl Item<'_> {
    fn read<const N: usize>(&self) -> Result<[u8; N], ContainerError> {
        const WHAT: &str = "an item of metadata";
        if self.offset < TABLE_BYTES || self.offset + u64::from(self.bytes) > self.region.bytes {
            let why = "which is not an offset of an item";
            return Err(self.input.bad_entry("the metadata", self.offset, why));
        }
        if (self.bytes as usize) < N {
            return self.input.refuse(
                "the length of a metadata item",
                self.bytes.into(),
                "its usual one",
            );
        }
        self.input.header(WHAT, self.region.offset + self.offset)
    }

    /// The texts in it, for a message.
    fn text(&self) -> String {
        let bytes = self.bytes.min(MAX_ITEM_BYTES);
        let content = self
            .input
            .table("the parent", self.region.offset + self.offset, bytes.into())
            .unwrap_or_default();
        // A header that tells how many keys and values there are, an entry for each, then the texts.
        let count = content.get(18..20).map_or(0, |bytes| le16(bytes, 0));
        let texts = content.get(20 + 12 * usize::from(count)..).unwrap_or_default();
        let (units, _) = texts.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
        char::decode_utf16(units)
            .filter_map(Result::ok)
            .filter(char::is_ascii_graphic)
            .take(300)
            .collect()
    }
}

fn once<T>(item: &Item<'_>, known: &mut Option<T>, value: T) -> Result<(), ContainerError> {
    if known.replace(value).is_some() {
        let why = "which is the second of its kind";
        return Err(item.input.bad_entry("the metadata", item.offset, why));
    }
    Ok(())
}
