//! Chunks that the disk holds already: found by reading and hashing it, not fetched, not written.
//!
//! A disk often holds an older version of the image, the same image, or the part of it that was written before the
//! machine restarted. Nothing of that is believed: a chunk is kept only when its bytes were read from the disk after
//! it was claimed, and hash to the manifest's digest for that very place.
//!
//! * [`ends`] reads both ends before they are cleared, and holds them in memory.
//! * [`survey`] reads the rest, several chunks at a time: first a [sample](SAMPLES) spread over the disk, then, if it
//!   pays, all that is still open.
//! * [`judge`] says whether it pays: the disk has to be read faster than the stores deliver, or so little must differ
//!   that a full pull would spend as much time on writing. It is asked again as the write goes on.
//! * [`holes`] leaves zeroes that are there already, on disks that have no command for zeroes.

mod ends;
mod holes;
pub(super) mod judge;
pub(super) mod survey;

pub(super) use ends::{Ends, Kept};
pub(super) use holes::zero_the_rest;

/// Whether a disk is searched for chunks that are right already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Delta {
    /// Look at a sample first, and go on when it pays.
    #[default]
    Auto,
    /// Look at all of the disk, also where that takes longer: nothing is fetched that the disk holds.
    Always,
    /// Fetch and write every chunk.
    Off,
}

/// So many chunks tell how much of the image the disk holds; half of them, whether it holds any.
pub(super) const SAMPLES: usize = 32;
/// Reads in flight.
const DEPTH: u64 = 8;
/// The part of a write's memory that reading the disk may take.
const MEMORY_SHARE: u64 = 6;

/// How many chunks are read at once; none where memory is short.
pub(super) fn depth(max_memory_bytes: u64, chunk_bytes: u64) -> usize {
    let fits = max_memory_bytes / MEMORY_SHARE / chunk_bytes;
    usize::try_from(fits.min(DEPTH)).expect("a few")
}

/// Who goes on with chunks that the disk may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The sample is looked at, nothing is fetched yet.
    Sampling,
    /// The disk is read in order; what is found to differ is fetched.
    Checking,
    /// All is fetched.
    Pulling,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_takes_a_small_part_of_the_memory() {
        for (mib, reads) in [(64, 8), (96, 8), (24, 4), (6, 1), (5, 0), (0, 0)] {
            assert_eq!(depth(mib << 20, 1 << 20), reads, "{mib} MiB");
        }
    }
}
