//! The write stage: whoever has proven bytes hands them over here and goes on; many writes are in flight at once.
//!
//! ```text
//! Stage::buffer ──> fill it ──> Stage::submit ──> queue (by offset) ──> io_uring, one thread   ──> Report
//!       ^                       Stage::zero                        └──> or threads with pwrite ──>   │
//!       └──────────────────────── pool <─────────────────────────────────────────────────────────────┘
//! ```
//!
//! * The [`pool`] is all the memory there is: who finds no free buffer waits, and that is the back-pressure of a slow
//!   disk.
//! * The queue gives out writes in ascending order, from where the last one was. A disk that rotates gets one write
//!   at a time.
//! * One more thread, the helper, makes zeroes, and does what the ring can't: odd ends of files, and writes that came
//!   back short or refused for a passing reason.
//! * Where the kernel has no io_uring, or forbids it, and for targets that are no file, threads write instead.
//!
//! A stage begins held: it touches the disk only once it is [opened](Stage::open). After [`stop`](Stage::stop) nothing
//! is begun any more; what is in flight ends, and then all threads let go of the target and of the report function.

mod pool;
mod queue;
mod ring;
mod threads;

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

pub(super) use self::pool::PoolBuf;
use self::{pool::Pool, queue::Queue};
use super::progress::Meter;
use crate::target::{AlignedBuf, Target, WriteError, Zeroed};

/// Threads that write where there is no ring: more than this at once gain nothing on one disk.
const WRITERS: usize = 4;

/// How a stage works.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageOptions {
    /// Buffers in the pool: those in flight and those that are being filled.
    pub(super) buffers: usize,
    /// Size of each.
    pub(super) buffer_bytes: usize,
    /// Writes in flight at once, at most.
    pub(super) depth: usize,
    /// What writes.
    pub(super) writer: WriterChoice,
}

/// Which writer is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum WriterChoice {
    /// io_uring where it works, else threads.
    #[default]
    Auto,
    /// Threads.
    Threads,
}

/// Which writer is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writer {
    /// Threads with pwrite.
    #[default]
    Threads,
    /// io_uring.
    IoUring {
        /// With the pool's memory pinned once instead of for each write.
        registered: bool,
    },
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Writer::Threads => "threads",
            Writer::IoUring { registered: true } => "io_uring",
            Writer::IoUring { registered: false } => "io_uring, unregistered",
        })
    }
}

/// What a stage tells, from any of its threads.
#[derive(Debug)]
pub(super) enum Report {
    /// A buffer is on the disk.
    Written {
        /// As it was submitted.
        tag: u64,
        /// How much.
        len: u64,
    },
    /// A range is zero.
    Zeroed {
        /// As it was asked for.
        tag: u64,
        /// How much.
        len: u64,
        /// By what means, at least in part.
        how: Zeroed,
    },
    /// The disk refused.
    Failed(WriteError),
    /// A thread died.
    Died {
        /// Which.
        thread: &'static str,
    },
}

/// Who is told.
pub(super) type Tell = Arc<dyn Fn(Report) + Send + Sync>;

/// What the threads of a stage share.
struct Shared {
    target: Arc<dyn Target>,
    queue: Queue,
    pool: Arc<Pool>,
    meter: Arc<Meter>,
    /// Set once the target turns out to have no command for zeroes: it is read before zeroes are written.
    looks_before_zeroing: OnceLock<Mutex<AlignedBuf>>,
}

/// The write stage of one target.
pub(super) struct Stage {
    shared: Arc<Shared>,
    writer: Writer,
}

impl Stage {
    /// Starts the threads, which wait until the stage is opened.
    pub(super) fn start(
        target: Arc<dyn Target>,
        options: &StageOptions,
        meter: Arc<Meter>,
        tell: &Tell,
    ) -> io::Result<Self> {
        let rotates = target.rotates();
        let shared = Arc::new(Shared {
            target,
            queue: Queue::default(),
            pool: Pool::new(options.buffers, options.buffer_bytes),
            meter,
            looks_before_zeroing: OnceLock::new(),
        });
        let started = start_threads(&shared, options, rotates, tell);
        if started.is_err() {
            shared.stop();
        }
        let writer = started?;
        shared.meter.set_writer(writer);
        Ok(Stage { shared, writer })
    }

    /// What writes.
    pub(super) fn writer(&self) -> Writer {
        self.writer
    }

    /// A buffer to fill; waits for one. `None` once the stage is stopped.
    pub(super) fn buffer(&self) -> Option<PoolBuf> {
        self.shared.pool.take()
    }

    /// Has the buffer written at `offset`. Never waits.
    pub(super) fn submit(&self, buffer: PoolBuf, offset: u64, tag: u64) {
        self.shared.queue.submit(buffer.into_buffer(), offset, tag);
    }

    /// Has a range made zero, while other writes go on.
    pub(super) fn zero(&self, range: Range<u64>, tag: u64) {
        self.shared.queue.zero(range, tag);
    }

    /// From now on the disk may be touched.
    pub(super) fn open(&self) {
        self.shared.queue.open();
    }

    /// No more work will come: the threads leave once all is done.
    pub(super) fn finish(&self) {
        self.shared.queue.finish();
    }

    /// Drops all that is queued. What is in flight ends, then the threads leave.
    pub(super) fn stop(&self) {
        self.shared.stop();
    }
}

impl Drop for Stage {
    /// Nobody can submit any more. Who wants all that was submitted to be done has waited for the reports.
    fn drop(&mut self) {
        self.shared.queue.finish();
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("target", self.shared.target.id())
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn stop(&self) {
        self.queue.stop();
        self.pool.stop();
    }
}

fn start_threads(
    shared: &Arc<Shared>,
    options: &StageOptions,
    rotates: bool,
    tell: &Tell,
) -> io::Result<Writer> {
    if rotates {
        // Ascending, one at a time, zeroes in between: heads that jump cost more than any depth gains.
        threads::start_lone(shared, tell)?;
        return Ok(Writer::Threads);
    }
    threads::start_helper(shared, tell)?;
    if options.writer == WriterChoice::Auto {
        match ring::start(shared, options.depth, tell) {
            Ok(Some(registered)) => return Ok(Writer::IoUring { registered }),
            Ok(None) => {}
            Err(error) => tracing::info!(%error, "no io_uring here, writing with threads"),
        }
    }
    threads::start_writers(shared, options.depth.min(WRITERS), tell)?;
    Ok(Writer::Threads)
}

#[cfg(test)]
mod tests;
