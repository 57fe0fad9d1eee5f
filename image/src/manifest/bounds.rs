//! What decoding a manifest may cost, told from its bytes alone.
//!
//! In protobuf an element of a repeated field can be two bytes, and become a structure of a hundred. A manifest of
//! the largest length could so take gigabytes before anything in it is looked at. Here its elements are counted
//! first, without taking memory: every column against the digests that it must go with.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{MAX_RUNS, ManifestError};

/// Encoded: 256 partitions and 32 notes with the longest texts take less.
const MAX_PARTITION_TABLE_BYTES: u64 = 256 << 10;
const DIGEST_BYTES: u64 = 32;

/// What was found of each field.
#[derive(Default)]
struct Counts {
    pack_digests: u64,
    pack_sizes: u64,
    runs: u64,
    plain_digests: u64,
    frame_packs: u64,
    frame_offsets: u64,
    frame_lengths: u64,
    partition_table_bytes: u64,
}

/// Refuses a manifest that would take much more memory than it has bytes.
pub(super) fn check(bytes: &[u8]) -> Result<(), ManifestError> {
    let counts = count(bytes)?;
    at_most("the number of runs", counts.runs, MAX_RUNS)?;
    at_most(
        "the length of the partition table",
        counts.partition_table_bytes,
        MAX_PARTITION_TABLE_BYTES,
    )?;
    at_most("the pack sizes", counts.pack_sizes, counts.pack_digests)?;
    at_most("the frame packs", counts.frame_packs, counts.plain_digests)?;
    at_most("the frame offsets", counts.frame_offsets, counts.plain_digests)?;
    at_most("the frame lengths", counts.frame_lengths, counts.plain_digests)
}

fn at_most(field: &'static str, got: u64, limit: u64) -> Result<(), ManifestError> {
    if got <= limit {
        return Ok(());
    }
    Err(ManifestError::Field {
        field,
        got,
        expected: format!("at most {limit}"),
    })
}

fn count(mut bytes: &[u8]) -> Result<Counts, ManifestError> {
    let mut counts = Counts::default();
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        if wire_type == WireType::LengthDelimited {
            let content = take(&mut bytes)?;
            let len = content.len() as u64;
            match tag {
                6 => counts.pack_digests = len / DIGEST_BYTES,
                8 => counts.runs += 1,
                9 => counts.plain_digests = len / DIGEST_BYTES,
                14 => counts.partition_table_bytes += len,
                _ => {
                    if let Some(count) = counts.numbers(tag) {
                        // The last byte of each number has its highest bit clear.
                        *count += content.iter().filter(|byte| **byte < 0x80).count() as u64;
                    }
                }
            }
        } else if let Some(count) = counts.numbers(tag).filter(|_| wire_type == WireType::Varint) {
            decode_varint(&mut bytes)?;
            *count += 1;
        } else {
            skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
        }
    }
    Ok(counts)
}

impl Counts {
    /// The fields that are columns of numbers, packed or not.
    fn numbers(&mut self, tag: u32) -> Option<&mut u64> {
        match tag {
            7 => Some(&mut self.pack_sizes),
            11 => Some(&mut self.frame_packs),
            12 => Some(&mut self.frame_offsets),
            13 => Some(&mut self.frame_lengths),
            _ => None,
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], ManifestError> {
    let len = decode_varint(bytes)?;
    let split = usize::try_from(len)
        .ok()
        .and_then(|len| bytes.split_at_checked(len));
    let Some((content, rest)) = split else {
        return Err(ManifestError::Field {
            field: "the length of a field",
            got: len,
            expected: format!("at most {}, what is left of the manifest", bytes.len()),
        });
    };
    *bytes = rest;
    Ok(content)
}
