//! The index at the end of an xz stream, held against the blocks that were seen.

use std::io;

use bytes::{Buf, Bytes};
use crc32fast::Hasher;
use sha2::{Digest, Sha256};

use super::super::super::zst::frame::damaged;

/// The lengths of all blocks of a stream, as a digest: there can be any number of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Records {
    count: u64,
    last_plain: u64,
    digest: Sha256,
}

impl Records {
    pub(super) fn add(&mut self, unpadded: u64, plain: u64) {
        self.count += 1;
        self.last_plain = plain;
        self.digest.update(unpadded.to_le_bytes());
        self.digest.update(plain.to_le_bytes());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the newest block becomes.
    pub(super) fn last_plain(&self) -> u64 {
        self.last_plain
    }

    fn is(&self, other: &Records) -> bool {
        self.count == other.count && self.digest.clone().finalize() == other.digest.clone().finalize()
    }
}

/// Reads an index.
#[derive(Debug)]
pub(super) struct Index {
    /// With the zero byte that it begins with.
    len: u64,
    sum: Hasher,
    number: u64,
    shift: u32,
    count: Option<u64>,
    unpadded: Option<u64>,
    records: Records,
    /// The checksum at its end.
    end: Vec<u8>,
}

impl Index {
    /// An index of which the first byte was read.
    pub(super) fn new() -> Self {
        let mut sum = Hasher::new();
        sum.update(&[0]);
        Index {
            len: 1,
            sum,
            number: 0,
            shift: 0,
            count: None,
            unpadded: None,
            records: Records::default(),
            end: Vec::new(),
        }
    }

    /// Takes what belongs to the index, and tells its length once it is whole and right.
    pub(super) fn read(&mut self, piece: &mut Bytes, expected: &Records) -> io::Result<Option<u64>> {
        let wrong = || damaged("the index of an xz stream doesn't fit its blocks");
        while piece.has_remaining() {
            let byte = piece.get_u8();
            self.len += 1;
            if self.count != Some(self.records.count) {
                self.sum.update(&[byte]);
                if self.shift > 56 {
                    return Err(wrong());
                }
                self.number |= u64::from(byte & 0x7F) << self.shift;
                self.shift += 7;
                if byte & 0x80 == 0 {
                    let number = std::mem::take(&mut self.number);
                    self.shift = 0;
                    self.number_came(number);
                }
                // A longer one is wrong, and would keep us busy.
                if self.count.is_some_and(|count| count != expected.count) {
                    return Err(wrong());
                }
                continue;
            }
            if self.end.is_empty() && !(self.len - 1).is_multiple_of(4) {
                self.sum.update(&[byte]);
                if byte != 0 {
                    return Err(wrong());
                }
                continue;
            }
            self.end.push(byte);
            if self.end.len() == 4 {
                let right =
                    self.end == self.sum.clone().finalize().to_le_bytes() && self.records.is(expected);
                return if right { Ok(Some(self.len)) } else { Err(wrong()) };
            }
        }
        Ok(None)
    }

    fn number_came(&mut self, number: u64) {
        match (self.count, self.unpadded.take()) {
            (None, _) => self.count = Some(number),
            (Some(_), None) => self.unpadded = Some(number),
            (Some(_), Some(unpadded)) => self.records.add(unpadded, number),
        }
    }
}

/// Writes a number as xz does: seven bits a byte.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7F).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}
