//! The footer of a VHD, which all kinds have.

use super::super::{ContainerError, Input};
use crate::numbers::{be32, be64};

pub(super) const FOOTER_BYTES: u64 = 512;
const COOKIE: &[u8; 8] = b"conectix";
const VERSION: u32 = 0x0001_0000;
const CHECKSUM_AT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

/// A footer that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub kind: Kind,
    pub disk_bytes: u64,
    /// Where the header of a dynamic disk lies.
    pub header_offset: u64,
    id: [u8; 16],
}

pub(super) fn has_cookie(bytes: &[u8]) -> bool {
    bytes.starts_with(COOKIE)
}

/// The checksum of a structure: the complement of the sum of its bytes, its own four left out.
pub(super) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let own = at..at + 4;
    !bytes
        .iter()
        .enumerate()
        .filter(|(at, _)| !own.contains(at))
        .fold(0, |sum: u32, (_, byte)| sum.wrapping_add((*byte).into()))
}

impl Footer {
    pub fn parse(input: &Input, bytes: &[u8; FOOTER_BYTES as usize]) -> Result<Self, ContainerError> {
        const WHAT: &str = "the footer";
        if !has_cookie(bytes) {
            return Err(input.bad_magic(WHAT));
        }
        if be32(bytes, CHECKSUM_AT) != checksum(bytes, CHECKSUM_AT) {
            return Err(input.bad_checksum(WHAT));
        }
        let version = be32(bytes, 12);
        if version != VERSION {
            return input.refuse("the version", version.into(), "65536 (1.0)");
        }
        let kind = match be32(bytes, 60) {
            2 => Kind::Fixed,
            3 => Kind::Dynamic,
            4 => Kind::Differencing,
            got => {
                let expected = "2 (fixed) or 3 (dynamic)";
                return input.refuse("the kind of disk", got.into(), expected);
            }
        };
        let disk_bytes = be64(bytes, 48);
        if !disk_bytes.is_multiple_of(512) {
            return input.refuse("the disk's size", disk_bytes, "a multiple of 512");
        }
        Ok(Self {
            kind,
            disk_bytes,
            header_offset: be64(bytes, 16),
            id: bytes[68..84].try_into().expect("sixteen bytes"),
        })
    }

    /// The footer and its copy must say the same.
    pub fn agrees(&self, input: &Input, copy: &Self) -> Result<(), ContainerError> {
        if self == copy {
            return Ok(());
        }
        input.refuse(
            "the disk's size in the copy of the footer",
            copy.disk_bytes,
            &format!(
                "the same kind, place, id and size as at the end, {}",
                self.disk_bytes
            ),
        )
    }
}
