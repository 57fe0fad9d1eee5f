//! The table's form: structures of a formatted area and a set of strings, one after the other.
//!
//! Firmware is known to get every length of it wrong. A structure that does not fit ends the reading; a field behind the
//! end of its structure, and a string that is not there, read as nothing.

use super::super::sysfs;

const HEADER: usize = 4;
const END_OF_TABLE: u8 = 127;
/// More than any machine has; a table of the largest size has room for 170,000 of the smallest.
const MAX_STRUCTURES: usize = 16_384;

/// One structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Structure<'t> {
    /// Its type.
    pub(super) kind: u8,
    formatted: &'t [u8],
    strings: &'t [u8],
}

impl<'t> Structure<'t> {
    /// A field's bytes, by the offset that the specification names.
    pub(super) fn bytes(&self, at: usize, length: usize) -> Option<&'t [u8]> {
        self.formatted.get(at..at.checked_add(length)?)
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.formatted.get(at).copied()
    }

    pub(super) fn word(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(at, 2)?.try_into().ok()?))
    }

    pub(super) fn double_word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }

    /// The string that a field names by its number from 1; empty for 0 and for a number without a string.
    pub(super) fn text(&self, at: usize) -> String {
        let Some(number) = self.byte(at).filter(|number| *number > 0) else {
            return String::new();
        };
        let string = self.strings.split(|byte| *byte == 0).nth(usize::from(number) - 1);
        sysfs::clean(&String::from_utf8_lossy(string.unwrap_or_default()))
    }
}

/// The structures of a table up to its end or to the first that does not fit.
pub(super) fn structures(table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let mut rest = table;
    let next = move || {
        let (structure, behind) = split_first(rest)?;
        rest = behind;
        (structure.kind != END_OF_TABLE).then_some(structure)
    };
    std::iter::from_fn(next).take(MAX_STRUCTURES)
}

fn split_first(table: &[u8]) -> Option<(Structure<'_>, &[u8])> {
    let kind = *table.first()?;
    let length = usize::from(*table.get(1)?);
    if length < HEADER || length > table.len() {
        return None;
    }
    let (formatted, rest) = table.split_at(length);
    // Two zeroes end the strings, also when there is none.
    let end = rest.windows(2).position(|pair| pair == [0, 0])?;
    let (strings, rest) = rest.split_at(end + 2);
    Some((
        Structure {
            kind,
            formatted,
            strings,
        },
        rest,
    ))
}
