//! How many of everything fit into the memory that we may use.

use super::WriteOptions;

/// What a decoder of 1 MiB frames keeps for itself, beside the chunk that it decodes into.
const DECODER_BYTES: u64 = 256 << 10;
/// What a connection keeps in its read buffer.
const CONNECTION_BYTES: u64 = 512 << 10;
/// More workers than this gain nothing on one disk.
const MOST_WORKERS: usize = 8;
/// Writes in flight: by measurement, disks are at their best with 4 to 8 of a MiB, and more only adds memory.
const MOST_WRITES: usize = 8;
/// Frames that wait between network and disk, per connection and per worker; more only adds memory.
const SLOTS_EACH: usize = 2;

/// The numbers that one write works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) workers: usize,
    pub(super) connections: usize,
    /// Writes in flight.
    pub(super) writes: usize,
    /// Frames in memory at once. At least one per connection, so that no connection that waits for memory can hold up
    /// another one that has some.
    pub(super) slots: usize,
}

impl Budget {
    /// Buffers of a chunk each: those in flight to the disk, and one for each worker to fill.
    pub(super) fn buffers(&self) -> usize {
        self.writes + self.workers
    }
}

/// The limit leaves no room for even one connection and one worker.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the image needs at least {} MiB of memory, {} MiB are allowed", needed.div_ceil(1 << 20), allowed >> 20)]
pub struct NoRoom {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes allowed.
    pub allowed: u64,
}

impl Budget {
    /// Fits a write of chunks of `chunk_bytes` in frames of at most `frame_bytes` into the options' memory: first
    /// with fewer frames in flight, then with fewer writes, connections and workers.
    pub(super) fn fit(
        options: &WriteOptions,
        cores: usize,
        chunk_bytes: u64,
        frame_bytes: u64,
    ) -> Result<Self, NoRoom> {
        let allowed = options.max_memory_bytes;
        let mut workers = options.workers.unwrap_or(cores).clamp(1, MOST_WORKERS);
        let mut connections = options.connections.max(1);
        let mut writes = MOST_WRITES;
        loop {
            // The head of the disk waits in a buffer of its own.
            let fixed = chunk_bytes
                + (workers + writes) as u64 * chunk_bytes
                + workers as u64 * (chunk_bytes + DECODER_BYTES)
                + connections as u64 * CONNECTION_BYTES;
            let frames = allowed.saturating_sub(fixed) / frame_bytes.max(1);
            if frames >= connections as u64 {
                let useful = (workers + connections) * SLOTS_EACH;
                let slots = useful.min(usize::try_from(frames).unwrap_or(usize::MAX));
                return Ok(Budget {
                    workers,
                    connections,
                    writes,
                    slots,
                });
            }
            if writes > 1 {
                writes -= 1;
                continue;
            }
            if workers == 1 && connections == 1 {
                return Err(NoRoom {
                    needed: fixed + frame_bytes,
                    allowed,
                });
            }
            if workers >= connections {
                workers -= 1;
            } else {
                connections -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn fit(mib: u64, cores: usize, connections: usize) -> Result<Budget, NoRoom> {
        let options = WriteOptions {
            max_memory_bytes: mib * MIB,
            connections,
            ..WriteOptions::default()
        };
        Budget::fit(&options, cores, MIB, MIB)
    }

    #[test]
    fn the_default_serves_small_and_large_machines() {
        assert_eq!(
            fit(64, 2, 4),
            Ok(Budget {
                workers: 2,
                connections: 4,
                writes: 8,
                slots: 12
            })
        );
        assert_eq!(
            fit(64, 64, 4),
            Ok(Budget {
                workers: 8,
                connections: 4,
                writes: 8,
                slots: 24
            })
        );
    }

    #[test]
    fn little_memory_means_fewer_of_everything_and_never_fewer_slots_than_connections() {
        for mib in 6..64 {
            let Ok(budget) = fit(mib, 64, 8) else {
                panic!("{mib} MiB")
            };
            assert!(budget.slots >= budget.connections, "{mib} MiB: {budget:?}");
            let used = MIB * (1 + budget.buffers() + budget.workers + budget.slots) as u64;
            assert!(used <= mib * MIB, "{mib} MiB: {budget:?}");
        }
    }

    #[test]
    fn too_little_is_refused_with_what_is_needed() {
        let error = fit(2, 2, 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image needs at least 6 MiB of memory, 2 MiB are allowed"
        );
        assert!(fit(6, 2, 4).is_ok());
    }
}
