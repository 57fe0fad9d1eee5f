//! The entries of a FAT directory: short names, and the long names in front of them.

use super::Fat;
use crate::facts::fault::Fault;
use crate::facts::volume::{Kind, MAX_ENTRIES, Node, Place};
use crate::numbers::{le16, le32};

const ENTRY_BYTES: usize = 32;
const LONG_NAME: u8 = 0x0F;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// 20 entries of 13 characters, of which 255 may be used.
const MAX_LONG_ENTRIES: u8 = 20;
/// No FAT directory may have more than 65536 entries.
const MAX_BYTES: u64 = 2 << 20;

/// Everything in `directory` but `.` and `..`.
pub(super) fn read(fat: &Fat<'_>, directory: &Node) -> Result<Vec<(String, Node)>, Fault> {
    let Place::Cluster(first) = directory.place else {
        return Err(Fault::damaged("not a chain of clusters"));
    };
    let mut found = Vec::new();
    let mut long = LongName::default();
    if first == 0 {
        let mut bytes = vec![0; usize::try_from(fat.fixed_root_bytes).expect("at most 2 MiB")];
        fat.part.read(fat.fixed_root, &mut bytes)?;
        take(fat, &bytes, &mut long, &mut found)?;
        return Ok(found);
    }
    let mut bytes = vec![0; usize::try_from(fat.cluster_bytes).expect("at most 512 KiB")];
    let mut cluster = Some(fat.check(first)?);
    let mut seen = 0;
    while let Some(here) = cluster {
        seen += fat.cluster_bytes;
        if seen > MAX_BYTES.max(fat.cluster_bytes) {
            return Err(Fault::limit("a directory of more than 65536 entries"));
        }
        fat.part.read(fat.offset(here), &mut bytes)?;
        if take(fat, &bytes, &mut long, &mut found)? {
            break;
        }
        cluster = fat.next(here)?;
    }
    Ok(found)
}

/// Takes the entries of one piece; says whether the directory ends in it.
fn take(
    fat: &Fat<'_>,
    bytes: &[u8],
    long: &mut LongName,
    found: &mut Vec<(String, Node)>,
) -> Result<bool, Fault> {
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        match (entry[0], entry[11]) {
            (0, _) => return Ok(true),
            (0xE5, _) => *long = LongName::default(),
            (_, attributes) if attributes & 0x3F == LONG_NAME => long.take(entry),
            (b'.', _) => *long = LongName::default(),
            (_, attributes) if attributes & VOLUME_LABEL != 0 => *long = LongName::default(),
            (_, attributes) => {
                if found.len() >= MAX_ENTRIES {
                    return Err(Fault::limit("a directory of too many entries"));
                }
                let name = std::mem::take(long)
                    .finish(entry)
                    .unwrap_or_else(|| short_name(entry));
                let directory = attributes & DIRECTORY != 0;
                let high = if fat.root_cluster == 0 { 0 } else { le16(entry, 20) };
                let first = u32::from(high) << 16 | u32::from(le16(entry, 26));
                let node = Node {
                    kind: if directory { Kind::Directory } else { Kind::File },
                    size: le32(entry, 28).into(),
                    place: Place::Cluster(first),
                };
                // Only `..` may point at the root by 0, and that is not listed.
                if !(directory && first == 0) {
                    found.push((name, node));
                }
            }
        }
    }
    Ok(false)
}

/// `NAME    EXT` as `NAME.EXT`, with the lower case that newer systems mark.
fn short_name(entry: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if lower { text.to_ascii_lowercase() } else { text }
    };
    let mut base: [u8; 8] = entry[..8].try_into().expect("eight bytes");
    if base[0] == 0x05 {
        base[0] = 0xE5;
    }
    let base = part(&base, entry[12] & 0x08 != 0);
    let extension = part(&entry[8..11], entry[12] & 0x10 != 0);
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

/// The parts of a long name, which come last part first.
#[derive(Debug, Default)]
struct LongName {
    checksum: u8,
    /// The number of the part that came last.
    part: u8,
    /// In the right order.
    units: Vec<u16>,
}

impl LongName {
    fn take(&mut self, entry: &[u8]) {
        let part = entry[0] & 0x3F;
        let sound = if entry[0] & 0x40 != 0 {
            self.units.clear();
            self.checksum = entry[13];
            (1..=MAX_LONG_ENTRIES).contains(&part)
        } else {
            part > 0 && part + 1 == self.part && self.checksum == entry[13]
        };
        if !sound {
            *self = Self::default();
            return;
        }
        self.part = part;
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
        let units: Vec<u16> = places.map(|at| le16(entry, at)).collect();
        self.units.splice(..0, units);
    }

    /// The name, when it is whole and belongs to the short `entry` that follows it.
    fn finish(self, entry: &[u8]) -> Option<String> {
        let checksum = entry[..11]
            .iter()
            .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.part != 1 || checksum != self.checksum {
            return None;
        }
        let end = self
            .units
            .iter()
            .position(|unit| *unit == 0)
            .unwrap_or(self.units.len());
        Some(String::from_utf16_lossy(&self.units[..end])).filter(|name| !name.is_empty())
    }
}
