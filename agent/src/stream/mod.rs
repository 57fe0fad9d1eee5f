//! The data path: an image from its packs onto a disk, proven.
//!
//! ```text
//! agenda ──> fetchers (async, a few ranges in flight) ──> queue ──> workers (threads) ──> stage (a deep queue) ──> disk
//!   ↑             take a slot of memory per frame                  frame digest, decode   io_uring or threads
//! survey (threads that read the disk: what is right already is taken off the agenda)
//!                                   coordinator <── events ──────────┴──────────────────────┘
//!                                   ledger, journal, progress, retries
//! ```
//!
//! * [`agenda`] knows what is missing, and makes ranges of neighbouring frames of it, in the order of the disk.
//! * [`delta`] finds chunks that the disk holds already, as long as that is faster than fetching them.
//! * [`intake`] has requests made and the disk read, and judges which of the two goes on.
//! * [`fetch`] reads ranges, goes on after a break with the chunks that are missing, and knows when to give up.
//! * [`worker`] threads prove and decode chunks, straight into buffers of the stage.
//! * [`stage`] writes them, many at a time, and zeroes the holes meanwhile.
//! * [`run`] is the coordinator: it keeps the [`ledger`](head), writes the [`journal`], asks again for a chunk that
//!   came wrong, and stops all the others at the first permanent error.
//! * [`head`] holds chunk 0 in memory until a [`Verified`] value exists, which only a complete ledger gives.
//! * [`raw`] is the same for a plain image file that is no artifact: one stream, one digest at its end.
//!
//! Invariants: nothing is written to the disk before the image is known to fit; no byte is written before the digest of
//! its frame holds; chunk 0 is written last, between two flushes; memory is bounded by [`WriteOptions::max_memory_bytes`]
//! whatever the image's size; when this module returns an error, no thread of it writes to the disk any more, and
//! the head of the disk is clear.

mod agenda;
mod budget;
mod claim;
mod clock;
mod delta;
mod failure;
mod fetch;
mod figures;
mod head;
mod intake;
mod journal;
mod load;
mod meter;
mod on_panic;
mod plan;
mod progress;
mod queue;
pub mod raw;
mod read_back;
mod run;
mod stage;
mod stall;
mod worker;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use delta::Delta;
pub use failure::{FailureKind, WriteFailure};
pub use figures::{Load, Loads, WriteFigures};
pub use head::{Verified, Withheld};
use imprint_image::Manifest;
pub use progress::{Limit, Phase, Stall, WriteProgress};
pub use run::write_image;
pub use stage::{Writer, WriterChoice};

use crate::{source::PackSource, target::Target};

/// All that a write needs.
#[derive(Debug)]
pub struct WriteRequest {
    /// What to write; already proven by its signature.
    pub manifest: Arc<Manifest>,
    /// Where its packs are.
    pub packs: PackSource,
    /// Where to write it.
    pub target: Arc<dyn Target>,
    /// How.
    pub options: WriteOptions,
}

/// How to write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Upper bound for frames in flight and buffers.
    pub max_memory_bytes: u64,
    /// Read every chunk again from the disk after the write, and compare.
    pub read_back: bool,
    /// The disk does not boot before the veil over its first sector is lifted (`finish::table::veil`).
    pub veiled: bool,
    /// Where to note what is done, so that a restarted agent goes on. In a RAM disk; it is good for one boot only.
    pub journal: Option<PathBuf>,
    /// Ranged requests in flight, at most: it begins with a few, and adds more while each one raises the rate.
    pub connections: usize,
    /// Whether chunks that the disk holds already are looked for, and neither fetched nor written.
    pub delta: Delta,
    /// Threads that decode and write; one per core if not given.
    pub workers: Option<usize>,
    /// What writes to the disk.
    pub writer: WriterChoice,
    /// How long stores that can't be reached are asked again while nothing at all comes.
    pub patience: Duration,
    /// How long one read from the network may take.
    pub read_timeout: Duration,
    /// How long one operation of the disk may take before the disk counts as hung.
    pub disk_patience: Duration,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            max_memory_bytes: 64 << 20,
            read_back: false,
            veiled: false,
            journal: None,
            connections: 8,
            delta: Delta::Auto,
            workers: None,
            writer: WriterChoice::Auto,
            patience: Duration::from_secs(600),
            read_timeout: Duration::from_secs(30),
            disk_patience: Duration::from_secs(300),
        }
    }
}

/// The image is on the disk, proven and flushed.
#[derive(Debug)]
pub struct Written {
    /// The proof.
    pub verified: Verified,
    /// What it took.
    pub figures: WriteFigures,
}

/// Something that an operator should hear of while it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteNote {
    /// A request failed and will be made again. Told for attempts 1, 2, 4, 8 … only.
    Retry {
        /// What was asked for.
        what: String,
        /// Why it failed.
        cause: String,
        /// When it is made again.
        delay: Duration,
        /// How often it has failed in a row.
        attempt: u32,
    },
    /// A chunk came with a wrong digest and is fetched again.
    Corrupt {
        /// Which chunk.
        chunk: u64,
        /// What was wrong.
        cause: String,
    },
    /// An earlier run of the agent had begun this write; it goes on.
    Resumed {
        /// Chunks that need no fetch.
        chunks: u64,
    },
    /// The disk has no command for zeroes: the holes of the image have to be written, which takes its time.
    ZeroesAreWritten,
    /// A part of the path doesn't move. Told when that begins, and each time it has lasted twice as long.
    Stalled(Stall),
    /// The journal can't be written any more: a restarted agent will begin anew.
    JournalLost {
        /// Why.
        cause: String,
    },
}
