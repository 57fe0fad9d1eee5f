//! What all threads and requests of one write count while they work.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    clock::Clock,
    figures::{WriteFigures, process_cpu, process_peak_memory},
    load::{self, Sample},
    stage::Writer,
};

/// Operations of the disk that are watched at once.
const MOST_IN_DISK: usize = 64;

/// Counters that all threads add to.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    cpu_before: Duration,
    pub(super) done: AtomicU64,
    pub(super) fetched: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) zeroed: AtomicU64,
    pub(super) chunks_fetched: AtomicU64,
    pub(super) retries: AtomicU32,
    pub(super) chunks_kept: AtomicU64,
    pub(super) bytes_saved: AtomicU64,
    /// Workers have nothing to do because the disk is being read to learn what it lacks.
    pub(super) waits_for_reads: AtomicBool,
    /// Requests under way, waits before another attempt included.
    pub(super) requests: Clock,
    /// Requests that wait for memory.
    pub(super) held_up: Clock,
    idle: Clock,
    cpu: Clock,
    blocked: Clock,
    disk: Clock,
    zeroing: Clock,
    last_fetch: AtomicU64,
    /// Per operation of the disk that is going on: since when; 0 where there is none.
    in_disk: [AtomicU64; MOST_IN_DISK],
    writer: OnceLock<Writer>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            started: Instant::now(),
            cpu_before: process_cpu(),
            done: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            written: AtomicU64::new(0),
            zeroed: AtomicU64::new(0),
            chunks_fetched: AtomicU64::new(0),
            retries: AtomicU32::new(0),
            chunks_kept: AtomicU64::new(0),
            bytes_saved: AtomicU64::new(0),
            waits_for_reads: AtomicBool::new(false),
            requests: Clock::default(),
            held_up: Clock::default(),
            idle: Clock::default(),
            cpu: Clock::default(),
            blocked: Clock::default(),
            disk: Clock::default(),
            zeroing: Clock::default(),
            last_fetch: AtomicU64::new(0),
            in_disk: [const { AtomicU64::new(0) }; MOST_IN_DISK],
            writer: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        // 0 means "never" and "not at all", so no moment is 0.
        nanos(self.started.elapsed()).max(1)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes came from a store.
    pub(super) fn add_fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Relaxed);
        self.last_fetch.store(self.now(), Relaxed);
    }

    /// When bytes last came from a store.
    pub(super) fn last_fetch(&self) -> Option<Instant> {
        match self.last_fetch.load(Relaxed) {
            0 => None,
            at => Some(self.started + Duration::from_nanos(at)),
        }
    }

    /// Runs something that waits for work.
    pub(super) fn idle<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.idle.during(wait)
    }

    /// Runs something that computes.
    pub(super) fn cpu<T>(&self, compute: impl FnOnce() -> T) -> T {
        self.cpu.during(compute)
    }

    /// Runs something that waits until the disk has taken what came before.
    pub(super) fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.blocked.during(wait)
    }

    /// Runs an operation of the disk.
    pub(super) fn disk<T>(self: &Arc<Self>, operate: impl FnOnce() -> T) -> T {
        let _in_disk = self.in_disk();
        operate()
    }

    /// Runs an operation of the disk that makes zeroes.
    pub(super) fn zeroing<T>(self: &Arc<Self>, operate: impl FnOnce() -> T) -> T {
        let _zeroing = self.zeroing.begin();
        self.disk(operate)
    }

    /// An operation of the disk begins; it ends when the value is dropped.
    pub(super) fn in_disk(self: &Arc<Self>) -> InDisk {
        self.disk.enter();
        let now = self.now();
        // With more operations than places, those that find none are not watched, and the others are.
        let place = self
            .in_disk
            .iter()
            .position(|place| place.compare_exchange(0, now, Relaxed, Relaxed).is_ok());
        InDisk {
            meter: Arc::clone(self),
            place,
        }
    }

    /// For how long the slowest operation that is still going on hasn't come back from the disk.
    pub(super) fn longest_in_disk(&self) -> Duration {
        let now = self.now();
        let since = self
            .in_disk
            .iter()
            .map(|since| since.load(Relaxed))
            .filter(|&since| since != 0)
            .min();
        since.map_or(Duration::ZERO, |since| {
            Duration::from_nanos(now.saturating_sub(since))
        })
    }

    /// For how long nothing has come, although something was asked for and there is memory for it.
    pub(super) fn longest_silence(&self) -> Duration {
        if self.requests.count() == 0 || self.held_up.count() > 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.now().saturating_sub(self.last_fetch.load(Relaxed)))
    }

    /// What writes to the disk.
    pub(super) fn set_writer(&self, writer: Writer) {
        // A write has one stage.
        self.writer.get_or_init(|| writer);
    }

    /// All counters at this moment.
    pub(super) fn sample(&self) -> Sample {
        Sample {
            at: self.elapsed(),
            requests: self.requests.time(),
            held_up: self.held_up.time(),
            idle: self.idle.time(),
            cpu: self.cpu.time(),
            blocked: self.blocked.time(),
            disk: self.disk.time(),
            zeroing: self.zeroing.time(),
            fetched: self.fetched.load(Relaxed),
            written: self.written.load(Relaxed),
            zeroed: self.zeroed.load(Relaxed),
        }
    }

    /// What it took until now.
    pub(super) fn figures(&self) -> WriteFigures {
        let (begin, now) = (Sample::default(), self.sample());
        WriteFigures {
            bytes_fetched: now.fetched,
            bytes_written: now.written,
            bytes_zeroed: now.zeroed,
            duration: now.at,
            retries: self.retries.load(Relaxed),
            chunks_resumed: 0,
            chunks_fetched: self.chunks_fetched.load(Relaxed),
            chunks_kept: self.chunks_kept.load(Relaxed),
            bytes_saved: self.bytes_saved.load(Relaxed),
            cpu: process_cpu().saturating_sub(self.cpu_before),
            peak_memory_bytes: process_peak_memory(),
            writer: self.writer.get().copied().unwrap_or_default(),
            connections: self.requests.most(),
            limited_by: load::limit(&begin, &now),
            loads: load::loads(&begin, &now),
        }
    }
}

/// An operation of the disk that is going on.
#[derive(Debug)]
pub(super) struct InDisk {
    meter: Arc<Meter>,
    place: Option<usize>,
}

impl Drop for InDisk {
    fn drop(&mut self) {
        self.meter.disk.leave();
        if let Some(place) = self.place {
            self.meter.in_disk[place].store(0, Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_does_not_come_back_is_seen() {
        let meter = Arc::new(Meter::new());
        assert_eq!(meter.longest_in_disk(), Duration::ZERO);
        let first = meter.in_disk();
        // Another one that comes back in between doesn't hide it.
        meter.disk(|| ());
        assert!(meter.longest_in_disk() > Duration::ZERO);
        drop(first);
        assert_eq!(meter.longest_in_disk(), Duration::ZERO);
        let many: Vec<_> = (0..2 * MOST_IN_DISK).map(|_| meter.in_disk()).collect();
        drop(many);
        assert_eq!(meter.longest_in_disk(), Duration::ZERO);
    }

    #[test]
    fn a_store_is_silent_only_if_it_was_asked_and_there_is_room_for_its_answer() {
        let meter = Meter::new();
        assert_eq!(meter.longest_silence(), Duration::ZERO);
        let _request = meter.requests.begin();
        assert!(meter.longest_silence() > Duration::ZERO);
        let held_up = meter.held_up.begin();
        assert_eq!(meter.longest_silence(), Duration::ZERO);
        drop(held_up);
        assert!(meter.longest_silence() > Duration::ZERO);
    }
}
