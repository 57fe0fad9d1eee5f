//! The header of a VHDX, of which there are two: the newer one that is whole counts.

use crc::{CRC_32_ISCSI, Crc};

use super::super::{ContainerError, Input};
use crate::numbers::{le16, le32, le64};

const PLACES: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: usize = 4096;
const CHECKSUM_AT: usize = 4;
const VERSION: u16 = 1;
const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The header that counts.
#[derive(Debug)]
pub(super) struct Header {
    sequence: u64,
    pub log_offset: u64,
    pub log_bytes: u64,
}

/// Whether a structure has the checksum that it says.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut digest = CASTAGNOLI.digest();
    digest.update(&bytes[..CHECKSUM_AT]);
    digest.update(&[0; 4]);
    digest.update(&bytes[CHECKSUM_AT + 4..]);
    digest.finalize() == le32(bytes, CHECKSUM_AT)
}

impl Header {
    pub fn read(input: &Input) -> Result<Self, ContainerError> {
        const WHAT: &str = "the header";
        let mut newest: Option<(Self, [u8; HEADER_BYTES])> = None;
        for place in PLACES {
            let bytes: [u8; HEADER_BYTES] = input.header(WHAT, place)?;
            if !bytes.starts_with(b"head") || !is_whole(&bytes) {
                continue;
            }
            let sequence = le64(&bytes, 8);
            if newest.as_ref().is_none_or(|(known, _)| sequence > known.sequence) {
                let header = Self {
                    sequence,
                    log_offset: le64(&bytes, 72),
                    log_bytes: le32(&bytes, 68).into(),
                };
                newest = Some((header, bytes));
            }
        }
        let Some((header, bytes)) = newest else {
            return Err(input.bad_checksum(WHAT));
        };
        let (log_version, version) = (le16(&bytes, 64), le16(&bytes, 66));
        if version != VERSION {
            return input.refuse("the version", version.into(), "1");
        }
        if log_version != 0 {
            return input.refuse("the version of the log", log_version.into(), "0");
        }
        if bytes[48..64].iter().any(|byte| *byte != 0) {
            return Err(ContainerError::NotClosed {
                format: input.format,
                why: "its log has to be replayed",
                repair: "qemu-img check -r all FILE",
            });
        }
        Ok(header)
    }
}
