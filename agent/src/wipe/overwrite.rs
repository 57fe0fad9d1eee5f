//! Zeroes over all of a disk: written, or by a command of the disk that guarantees them.

use std::{
    num::NonZeroU64,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use nix::libc;

use super::{control::Control, fault::WipeFault};
use crate::target::{AlignedBuf, Target, WriteError, Zeroed};

/// Written with one request.
const PIECE_BYTES: u64 = 4 << 20;
/// In such parts a piece is tried again that the disk did not take as a whole.
const PART_BYTES: u64 = 64 << 10;
/// Zeroed with one command.
const COMMAND_BYTES: u64 = 256 << 20;
/// Writers of a disk without heads.
const LANES: usize = 4;
/// A disk that refuses so many parts is not asked for the rest.
const MOST_BAD: u64 = 256;

/// What became zero, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zeroes {
    /// By a command of the disk.
    pub by_command: u64,
    /// By writing.
    pub written: u64,
}

/// Where the disk did not take zeroes.
#[derive(Debug, Default)]
struct Bad {
    parts: u64,
    bytes: u64,
    first: Option<WriteError>,
}

/// Writes zeroes over everything. A disk that refuses some places gets the rest all the same.
///
/// # Errors
/// When any place was refused, with the first one; when told to stop.
pub fn overwrite(target: &dyn Target, control: &Control) -> Result<Zeroes, WipeFault> {
    write_from(target, 0, control)
}

/// Has the disk make zeroes by command, and writes them from where it turns out to have none.
///
/// # Errors
/// As [`overwrite`].
pub fn by_command(target: &dyn Target, control: &Control) -> Result<Zeroes, WipeFault> {
    let mut zeroes = Zeroes::default();
    let mut offset = 0;
    while offset < target.len() {
        if control.is_cancelled() {
            return Err(WipeFault::Cancelled);
        }
        // The first one is short: a disk without the command writes it.
        let step = if offset == 0 { PIECE_BYTES } else { COMMAND_BYTES };
        let len = step.min(target.len() - offset);
        match target.zero(offset, len)? {
            Zeroed::ByCommand => zeroes.by_command += len,
            Zeroed::ByWriting => {
                let rest = write_from(target, offset, control)?;
                zeroes.written += rest.written;
                return Ok(zeroes);
            }
        }
        offset += len;
        control.advance(len);
    }
    target.flush()?;
    Ok(zeroes)
}

fn write_from(target: &dyn Target, start: u64, control: &Control) -> Result<Zeroes, WipeFault> {
    let (next, written) = (AtomicU64::new(start), AtomicU64::new(0));
    let (bad, given_up) = (Mutex::new(Bad::default()), AtomicBool::new(false));
    let lanes = if target.rotates() { 1 } else { LANES };
    let zeroes = zeroes_for(target, PIECE_BYTES);
    let work = || {
        while !control.is_cancelled() && !given_up.load(Ordering::Relaxed) {
            let offset = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            let Some(len) = target.len().checked_sub(offset).and_then(NonZeroU64::new) else {
                return;
            };
            let len = len.get().min(PIECE_BYTES);
            let done = match write(target, &zeroes, offset, len) {
                Ok(()) => len,
                Err(error) if is_gone(&error) => {
                    refuse(&bad, error, len);
                    given_up.store(true, Ordering::Relaxed);
                    0
                }
                Err(_) => in_parts(target, offset, len, &bad, &given_up),
            };
            written.fetch_add(done, Ordering::Relaxed);
            control.advance(done);
        }
    };
    thread::scope(|scope| {
        for _ in 1..lanes {
            scope.spawn(work);
        }
        work();
    });
    if control.is_cancelled() {
        return Err(WipeFault::Cancelled);
    }
    let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(source) = bad.first {
        return Err(WipeFault::Unwritable {
            offset: source.offset,
            bytes: bad.bytes,
            source,
        });
    }
    target.flush()?;
    Ok(Zeroes {
        by_command: 0,
        written: written.into_inner(),
    })
}

/// Part by part, so that as little as possible is left as it was.
fn in_parts(target: &dyn Target, offset: u64, len: u64, bad: &Mutex<Bad>, given_up: &AtomicBool) -> u64 {
    let zeroes = zeroes_for(target, PART_BYTES);
    let mut done = 0;
    let mut at = offset;
    while at < offset + len && !given_up.load(Ordering::Relaxed) {
        let part = PART_BYTES.min(offset + len - at);
        match write(target, &zeroes, at, part) {
            Ok(()) => done += part,
            Err(error) => {
                let gone = is_gone(&error);
                if refuse(bad, error, part) >= MOST_BAD || gone {
                    given_up.store(true, Ordering::Relaxed);
                }
            }
        }
        at += part;
    }
    done
}

fn refuse(bad: &Mutex<Bad>, error: WriteError, bytes: u64) -> u64 {
    let mut bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
    bad.parts += 1;
    bad.bytes += bytes;
    if bad.first.as_ref().is_none_or(|first| error.offset < first.offset) {
        bad.first = Some(error);
    }
    bad.parts
}

fn is_gone(error: &WriteError) -> bool {
    matches!(
        error.source.raw_os_error(),
        Some(libc::ENODEV | libc::ENXIO | libc::ENOMEDIUM | libc::EROFS)
    )
}

fn zeroes_for(target: &dyn Target, bytes: u64) -> AlignedBuf {
    let block = u64::from(target.logical_block().get());
    AlignedBuf::new(usize::try_from(bytes.next_multiple_of(block)).unwrap_or(0))
}

/// A whole piece with the shared buffer; the odd one at the end with one of its own.
fn write(target: &dyn Target, zeroes: &AlignedBuf, offset: u64, len: u64) -> Result<(), WriteError> {
    if len == zeroes.len() as u64 {
        target.write_at(zeroes, offset)
    } else {
        target.write_at(&zeroes_for(target, len), offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        target::{
            Operation,
            faulty::{DiskFault, FaultyTarget, Rule},
        },
        wipe::control::tests::control,
    };

    const LEN: u64 = (9 << 20) + 512;

    fn is_clear(disk: &FaultyTarget) -> bool {
        disk.content().iter().all(|byte| *byte == 0)
    }

    #[test]
    fn every_byte_is_overwritten_also_on_a_disk_with_heads() {
        for disk in [
            FaultyTarget::filled(LEN, 0xA5),
            FaultyTarget::filled(LEN, 0xA5).rotating(),
        ] {
            let (control, seen, _stop) = control(LEN);
            let zeroes = overwrite(&disk, &control).unwrap();
            assert_eq!((zeroes.written, zeroes.by_command), (LEN, 0));
            assert!(is_clear(&disk) && disk.is_flushed());
            assert_eq!(seen.borrow()[0].done, LEN);
        }
    }

    #[test]
    fn a_place_that_is_refused_is_named_and_the_rest_overwritten() {
        let disk = FaultyTarget::filled(LEN, 0xA5);
        let place = (5 << 20) + 512;
        disk.refuse(place, libc::EIO);
        let (control, _seen, _stop) = control(LEN);
        match overwrite(&disk, &control).unwrap_err() {
            WipeFault::Unwritable { offset, bytes, .. } => assert_eq!((offset, bytes), (5 << 20, PART_BYTES)),
            other => panic!("{other}"),
        }
        let left = disk.content().iter().filter(|byte| **byte != 0).count();
        assert_eq!(left as u64, PART_BYTES);
    }

    #[test]
    fn a_disk_that_is_gone_or_dead_is_not_asked_for_ever() {
        let disk = FaultyTarget::filled(LEN, 0xA5).rotating();
        disk.refuse(0, libc::ENODEV);
        let (control, _seen, _stop) = control(LEN);
        assert!(matches!(
            overwrite(&disk, &control),
            Err(WipeFault::Unwritable { .. })
        ));
        assert!(disk.asked().is_empty(), "nothing was taken");

        let large = FaultyTarget::filled(32 << 20, 0xA5).rotating();
        for place in (0..32_u64 << 20).step_by(64 << 10) {
            large.refuse(place, libc::EIO);
        }
        match overwrite(&large, &control).unwrap_err() {
            WipeFault::Unwritable { bytes, .. } => assert_eq!(bytes, MOST_BAD * PART_BYTES),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn zeroes_by_command_are_told_from_written_ones() {
        let (control, _seen, stop) = control(LEN);
        let disk = FaultyTarget::filled(LEN, 0xA5);
        let zeroes = by_command(&disk, &control).unwrap();
        assert_eq!((zeroes.by_command, zeroes.written), (LEN, 0));
        assert!(is_clear(&disk) && disk.is_flushed());

        let plain = FaultyTarget::filled(LEN, 0xA5).without_zero_command();
        let zeroes = by_command(&plain, &control).unwrap();
        assert_eq!((zeroes.by_command, zeroes.written), (0, LEN));
        assert!(is_clear(&plain));
        stop.pull();
        assert!(matches!(by_command(&disk, &control), Err(WipeFault::Cancelled)));
        assert!(matches!(overwrite(&disk, &control), Err(WipeFault::Cancelled)));
    }

    #[test]
    fn a_flush_that_fails_is_a_failure() {
        let disk = FaultyTarget::filled(LEN, 0xA5);
        disk.inject(Rule {
            operation: Operation::Flush,
            place: 0,
            skip: 0,
            times: 1,
            fault: DiskFault::Errno(libc::EIO),
        });
        let (control, _seen, _stop) = control(LEN);
        assert!(matches!(overwrite(&disk, &control), Err(WipeFault::Disk(_))));
    }
}
