//! Holes on disks that have no command for zeroes: what reads as zeroes is left.

use std::ops::Range;

use imprint_image::zero::is_zero;

use crate::target::{AlignedBuf, Target, WriteError};

/// After pieces that were not zero, so many are written without a look at most.
const MOST_BLIND: u64 = 16;

/// Makes `range` zero: reads it in pieces of the buffer's capacity and zeroes those that hold anything else. A disk
/// full of old data costs little more than writing it blindly would: after each piece that wasn't zero, twice as many
/// as before are written without a look.
///
/// # Errors
/// When the disk doesn't take the zeroes. What can't be read is zeroed.
pub(in super::super) fn zero_the_rest(
    target: &dyn Target,
    range: Range<u64>,
    buffer: &mut AlignedBuf,
) -> Result<(), WriteError> {
    let piece = buffer.capacity() as u64;
    let (mut at, mut blind) = (range.start, 1);
    while at < range.end {
        let end = range.end.min(at + piece);
        buffer.set_len(usize::try_from(end - at).expect("a piece fits into the buffer"));
        if target.read_at(buffer, at).is_ok() && is_zero(buffer) {
            (at, blind) = (end, 1);
            continue;
        }
        let end = range.end.min(at + blind * piece);
        target.zero(at, end - at)?;
        (at, blind) = (end, (blind * 2).min(MOST_BLIND));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::faulty::{Asked, FaultyTarget};

    const MIB: u64 = 1 << 20;

    #[test]
    fn zeroes_are_left_and_anything_else_becomes_zero() {
        let target = FaultyTarget::filled(8 * MIB, 0);
        let mut dirt = AlignedBuf::new(4096);
        dirt.fill(1);
        target.write_at(&dirt, 3 * MIB + 8192).unwrap();
        let before = target.asked().len();
        let mut buffer = AlignedBuf::new(1 << 20);
        zero_the_rest(&target, MIB..7 * MIB + 512, &mut buffer).unwrap();
        assert_eq!(target.asked()[before..], [Asked::Zero(3 * MIB..4 * MIB)]);
        assert!(target.content().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_disk_full_of_data_is_soon_written_blindly() {
        let target = FaultyTarget::filled(32 * MIB, 7);
        let mut buffer = AlignedBuf::new(1 << 20);
        zero_the_rest(&target, 0..32 * MIB, &mut buffer).unwrap();
        // 1, 2, 4, 8, 16 and the rest.
        assert_eq!(target.asked().len(), 6);
        assert!(target.content().iter().all(|&byte| byte == 0));
    }
}
