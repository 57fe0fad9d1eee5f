//! Where a write stands, how fast it is, and what limits it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The rate is that of the last few seconds.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// What limits is decided over at least this time.
const LIMIT_WINDOW: Duration = Duration::from_secs(1);

/// Operations of the disk that are watched at once.
const MOST_IN_DISK: usize = 64;

/// The newest state of a write. Lossy: only the latest one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteProgress {
    /// What is going on.
    pub phase: Phase,
    /// Bytes of the disk that are proven right: written or zeroed.
    pub bytes_done: u64,
    /// Bytes of the disk that the image covers; 0 while that isn't known.
    pub bytes_total: u64,
    /// Bytes received.
    pub bytes_fetched: u64,
    /// Bytes that will have been received in all; 0 while that isn't known.
    pub bytes_to_fetch: u64,
    /// Bytes of data written.
    pub bytes_written: u64,
    /// Bytes made zero.
    pub bytes_zeroed: u64,
    /// Data written per second, lately.
    pub data_bytes_per_second: u64,
    /// Time until all data is written, once a rate is known.
    pub eta_seconds: Option<u32>,
    /// Requests that were made again.
    pub retries: u32,
    /// Chunks that need no fetch because the disk holds them already.
    pub chunks_kept: u64,
    /// Bytes that would have been received for them.
    pub bytes_saved: u64,
    /// The slowest part of the path, lately.
    pub limited_by: Option<Limit>,
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Both ends of the disk are being cleared.
    #[default]
    Clearing,
    /// Chunks are fetched and written.
    Writing,
    /// The caches of the disk are being flushed.
    Flushing,
    /// The disk is read again and compared.
    ReadingBack,
    /// The head of the disk is being written.
    Releasing,
}

/// The slowest part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Workers wait for frames.
    Network,
    /// Workers hash and decode.
    Cpu,
    /// Workers wait for buffers that the disk has not taken yet.
    Disk,
}

/// Counters that all threads add to.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
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
    idle: AtomicU64,
    cpu: AtomicU64,
    blocked: AtomicU64,
    last_fetch: AtomicU64,
    /// Per operation of the disk that is going on: since when; 0 where there is none.
    in_disk: [AtomicU64; MOST_IN_DISK],
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            started: Instant::now(),
            done: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            written: AtomicU64::new(0),
            zeroed: AtomicU64::new(0),
            chunks_fetched: AtomicU64::new(0),
            retries: AtomicU32::new(0),
            chunks_kept: AtomicU64::new(0),
            bytes_saved: AtomicU64::new(0),
            waits_for_reads: AtomicBool::new(false),
            idle: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            last_fetch: AtomicU64::new(0),
            in_disk: [const { AtomicU64::new(0) }; MOST_IN_DISK],
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
        timed(&self.idle, wait)
    }

    /// Runs something that computes.
    pub(super) fn cpu<T>(&self, compute: impl FnOnce() -> T) -> T {
        timed(&self.cpu, compute)
    }

    /// Runs something that waits until the disk has taken what came before.
    pub(super) fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
        timed(&self.blocked, wait)
    }

    /// Runs an operation of the disk.
    pub(super) fn disk<T>(self: &Arc<Self>, operate: impl FnOnce() -> T) -> T {
        let _in_disk = self.in_disk();
        operate()
    }

    /// Runs an operation of the disk that makes zeroes.
    pub(super) fn zeroing<T>(self: &Arc<Self>, operate: impl FnOnce() -> T) -> T {
        self.disk(operate)
    }

    /// An operation of the disk begins; it ends when the value is dropped.
    pub(super) fn in_disk(self: &Arc<Self>) -> InDisk {
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

    fn busy(&self) -> Busy {
        Busy {
            idle: self.idle.load(Relaxed),
            cpu: self.cpu.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
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
        if let Some(place) = self.place {
            self.meter.in_disk[place].store(0, Relaxed);
        }
    }
}

fn timed<T>(counter: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    counter.fetch_add(nanos(start.elapsed()), Relaxed);
    done
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time that workers spent.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    idle: u64,
    cpu: u64,
    blocked: u64,
}

/// What limits, by how workers spent their time: the largest part.
fn limit(before: Busy, after: Busy) -> Option<Limit> {
    let idle = (after.idle - before.idle, Limit::Network);
    let cpu = (after.cpu - before.cpu, Limit::Cpu);
    let blocked = (after.blocked - before.blocked, Limit::Disk);
    let most = [idle, cpu, blocked].into_iter().max_by_key(|(time, _)| *time)?;
    (most.0 > 0).then_some(most.1)
}

/// Turns counters into [`WriteProgress`] and publishes it.
#[derive(Debug)]
pub(super) struct Reporter {
    sender: watch::Sender<WriteProgress>,
    pub(super) bytes_total: u64,
    pub(super) bytes_to_fetch: u64,
    /// Data bytes that this run will write.
    pub(super) data_to_write: u64,
    window: VecDeque<(Instant, u64)>,
    busy: (Option<Instant>, Busy),
    limited_by: Option<Limit>,
}

impl Reporter {
    pub(super) fn new(sender: watch::Sender<WriteProgress>) -> Self {
        Reporter {
            sender,
            bytes_total: 0,
            bytes_to_fetch: 0,
            data_to_write: 0,
            window: VecDeque::new(),
            busy: (None, Busy::default()),
            limited_by: None,
        }
    }

    pub(super) fn publish(&mut self, phase: Phase, meter: &Meter, now: Instant) {
        let written = meter.written.load(Relaxed);
        let rate = self.rate(now, written);
        let left = self.data_to_write.saturating_sub(written);
        let eta_seconds = (rate > 0).then(|| u32::try_from(left.div_ceil(rate)).unwrap_or(u32::MAX));
        if self
            .busy
            .0
            .is_none_or(|at| now.duration_since(at) >= LIMIT_WINDOW)
        {
            let busy = meter.busy();
            self.limited_by = match limit(self.busy.1, busy) {
                Some(Limit::Network) if meter.waits_for_reads.load(Relaxed) => Some(Limit::Disk),
                limit => limit,
            };
            self.busy = (Some(now), busy);
        }
        self.sender.send_replace(WriteProgress {
            phase,
            bytes_done: meter.done.load(Relaxed),
            bytes_total: self.bytes_total,
            bytes_fetched: meter.fetched.load(Relaxed),
            bytes_to_fetch: self.bytes_to_fetch,
            bytes_written: written,
            bytes_zeroed: meter.zeroed.load(Relaxed),
            data_bytes_per_second: rate,
            eta_seconds: eta_seconds.filter(|_| phase == Phase::Writing && self.data_to_write > 0),
            retries: meter.retries.load(Relaxed),
            chunks_kept: meter.chunks_kept.load(Relaxed),
            bytes_saved: meter.bytes_saved.load(Relaxed),
            limited_by: self.limited_by.filter(|_| phase == Phase::Writing),
        });
    }

    fn rate(&mut self, now: Instant, written: u64) -> u64 {
        self.window.push_back((now, written));
        while self
            .window
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            self.window.pop_front();
        }
        let Some((at, before)) = self.window.front() else {
            return 0;
        };
        let millis = now.duration_since(*at).as_millis();
        let bytes = u128::from(written - before) * 1000;
        bytes
            .checked_div(millis)
            .and_then(|rate| u64::try_from(rate).ok())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_is_where_the_workers_spend_their_time() {
        let before = Busy {
            idle: 100,
            cpu: 100,
            blocked: 100,
        };
        let table = [
            ((190, 150, 120), Some(Limit::Network)),
            ((110, 200, 120), Some(Limit::Cpu)),
            ((110, 120, 130), Some(Limit::Disk)),
            ((100, 100, 100), None),
        ];
        for ((idle, cpu, blocked), expected) in table {
            assert_eq!(limit(before, Busy { idle, cpu, blocked }), expected);
        }
    }

    #[test]
    fn rate_and_eta_are_those_of_the_last_seconds() {
        let (sender, receiver) = watch::channel(WriteProgress::default());
        let mut reporter = Reporter::new(sender);
        reporter.data_to_write = 10_000;
        let meter = Meter::new();
        let start = Instant::now();
        reporter.publish(Phase::Writing, &meter, start);
        assert_eq!(receiver.borrow().eta_seconds, None);
        // A fast beginning is forgotten once it is older than the window.
        for (second, written) in [(1, 4000), (2, 4100), (6, 4500), (8, 4700)] {
            meter.written.store(written, Relaxed);
            reporter.publish(Phase::Writing, &meter, start + Duration::from_secs(second));
        }
        assert_eq!(receiver.borrow().data_bytes_per_second, 100);
        assert_eq!(receiver.borrow().eta_seconds, Some(53));
        reporter.publish(Phase::Flushing, &meter, start + Duration::from_secs(9));
        assert_eq!(receiver.borrow().eta_seconds, None);
    }

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
}
