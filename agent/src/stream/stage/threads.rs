//! Threads that write, and the helper that zeroes.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{
    Report, Shared, Tell,
    queue::{Job, Lane, Write, Zero},
};
use crate::{
    stream::{delta::zero_the_rest, on_panic::OnPanic},
    target::{AlignedBuf, WriteError, Zeroed},
};

/// Zeroes are asked for in pieces, so that a stop is heard in between, a disk that has to write them answers within
/// seconds all the same, and writes need not wait for long: first so much, ...
const FIRST_PIECE: u64 = 8 << 20;
/// ... then more for as long as a piece takes less than this, which is less than all buffers take to fill, ...
const QUICK: Duration = Duration::from_millis(1);
/// ... up to this.
const LARGEST_PIECE: u64 = 256 << 20;

/// Where zeroes have to be written, the disk is read in pieces of this size before.
const LOOK_BYTES: usize = 1 << 20;

/// What threads of a stage need for their stack.
pub(super) const STACK_BYTES: usize = 256 << 10;

/// Starts threads that write.
pub(super) fn start_writers(shared: &Arc<Shared>, count: usize, tell: &Tell) -> io::Result<()> {
    for number in 0..count.max(1) {
        match start(shared, "write", Lane::Writes, tell) {
            Err(error) if number > 0 => {
                tracing::warn!(%error, number, "going on with fewer threads");
                break;
            }
            started => started?,
        }
    }
    Ok(())
}

/// Starts the thread that zeroes and helps.
pub(super) fn start_helper(shared: &Arc<Shared>, tell: &Tell) -> io::Result<()> {
    start(shared, "zero", Lane::Helper, tell)
}

/// Starts the only thread of a disk that rotates.
pub(super) fn start_lone(shared: &Arc<Shared>, tell: &Tell) -> io::Result<()> {
    start(shared, "write", Lane::Lone, tell)
}

fn start(shared: &Arc<Shared>, name: &'static str, lane: Lane, tell: &Tell) -> io::Result<()> {
    let (shared, tell) = (Arc::clone(shared), Arc::clone(tell));
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Dropped after all else: who hears nothing any more may trust that the disk is left alone.
            let tell = OnPanic::new(tell, |tell| tell(Report::Died { thread: name }));
            while let Some(job) = shared.queue.next(lane) {
                match job {
                    Job::Write(write) => shared.write(write, &tell),
                    Job::Zero(zero) => shared.zero(zero, &tell),
                }
            }
            drop(shared);
        })?;
    Ok(())
}

impl Shared {
    fn write(&self, write: Write, tell: &Tell) {
        let len = write.buffer.len() as u64;
        let written = self
            .meter
            .disk(|| self.target.write_at(&write.buffer, write.offset));
        self.pool.give(write.buffer);
        match written {
            Ok(()) => self.written(write.tag, len, tell),
            Err(error) => tell(Report::Failed(error)),
        }
        self.queue.done();
    }

    /// Counts and tells that a buffer is on the disk.
    pub(super) fn written(&self, tag: u64, len: u64, tell: &Tell) {
        self.meter.written.fetch_add(len, Relaxed);
        tell(Report::Written { tag, len });
    }

    fn zero(&self, zero: Zero, tell: &Tell) {
        let Zero { range, tag } = zero;
        let len = range.end - range.start;
        match self.zero_in_pieces(range) {
            Ok(Some(how)) => tell(Report::Zeroed { tag, len, how }),
            // Stopped meanwhile.
            Ok(None) => {}
            Err(error) => tell(Report::Failed(error)),
        }
    }

    /// Zeroes what is no zero yet, or all where the target has a command for that.
    fn zero_piece(&self, range: Range<u64>) -> Result<Zeroed, WriteError> {
        if let Some(buffer) = self.looks_before_zeroing.get() {
            let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            zero_the_rest(&*self.target, range, &mut buffer)?;
            return Ok(Zeroed::ByWriting);
        }
        let how = self.target.zero(range.start, range.end - range.start)?;
        if how == Zeroed::ByWriting {
            self.looks_before_zeroing
                .get_or_init(|| Mutex::new(AlignedBuf::new(LOOK_BYTES)));
        }
        Ok(how)
    }

    fn zero_in_pieces(&self, range: Range<u64>) -> Result<Option<Zeroed>, WriteError> {
        let (mut at, mut piece) = (range.start, FIRST_PIECE);
        let mut how = Zeroed::ByCommand;
        while at < range.end {
            if self.queue.is_stopped() {
                return Ok(None);
            }
            let len = piece.min(range.end - at);
            let begun = Instant::now();
            match self.meter.zeroing(|| self.zero_piece(at..at + len))? {
                Zeroed::ByCommand if begun.elapsed() < QUICK => piece = (piece * 2).min(LARGEST_PIECE),
                Zeroed::ByCommand => piece = (piece / 2).max(FIRST_PIECE),
                Zeroed::ByWriting => {
                    how = Zeroed::ByWriting;
                    piece = FIRST_PIECE;
                }
            }
            self.meter.zeroed.fetch_add(len, Relaxed);
            at += len;
        }
        Ok(Some(how))
    }
}
