//! Where a write stands, how fast it is, and what limits it.

use std::{
    collections::VecDeque,
    fmt,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tokio::sync::watch;

pub(super) use super::meter::{InDisk, Meter};
use super::{
    figures::Loads,
    load::{self, Sample},
};

/// The rate is that of the last few seconds.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// What limits is decided over at least this time.
const LIMIT_WINDOW: Duration = Duration::from_secs(1);

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
    /// How much each part of the path has to do, lately.
    pub loads: Loads,
    /// What doesn't move at all.
    pub stalled: Option<Stall>,
}

impl WriteProgress {
    /// What limits, with its rate: "network 940 Mbit/s", "disk 410 MB/s", "CPU".
    #[must_use]
    pub fn limiting(&self) -> Option<String> {
        self.limited_by.map(|limit| self.loads.words(limit))
    }
}

/// A part of the path that doesn't move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// Which.
    pub by: Limit,
    /// For how long.
    pub waited: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.waited.as_secs();
        match self.by {
            Limit::Network => write!(f, "no byte has come from the network for {seconds} s"),
            Limit::Disk => write!(f, "the disk has not answered for {seconds} s"),
            Limit::Cpu => write!(f, "nothing was decoded for {seconds} s"),
        }
    }
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

/// A part of the path that can be the slowest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Workers wait for frames.
    Network,
    /// Workers hash and decode.
    Cpu,
    /// Workers wait for buffers that the disk has not taken yet.
    Disk,
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
    sample: Sample,
    limited_by: Option<Limit>,
    loads: Loads,
}

impl Reporter {
    pub(super) fn new(sender: watch::Sender<WriteProgress>) -> Self {
        Reporter {
            sender,
            bytes_total: 0,
            bytes_to_fetch: 0,
            data_to_write: 0,
            window: VecDeque::new(),
            sample: Sample::default(),
            limited_by: None,
            loads: Loads::default(),
        }
    }

    pub(super) fn publish(&mut self, phase: Phase, meter: &Meter, stalled: Option<Stall>, now: Instant) {
        let written = meter.written.load(Relaxed);
        let rate = self.rate(now, written);
        let left = self.data_to_write.saturating_sub(written);
        let eta_seconds = (rate > 0).then(|| u32::try_from(left.div_ceil(rate)).unwrap_or(u32::MAX));
        let sample = meter.sample();
        if sample.at.saturating_sub(self.sample.at) >= LIMIT_WINDOW {
            self.limited_by = match load::limit(&self.sample, &sample) {
                Some(Limit::Network) if meter.waits_for_reads.load(Relaxed) => Some(Limit::Disk),
                limit => limit,
            };
            self.loads = load::loads(&self.sample, &sample);
            self.sample = sample;
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
            loads: self.loads,
            stalled,
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
    fn rate_and_eta_are_those_of_the_last_seconds() {
        let (sender, receiver) = watch::channel(WriteProgress::default());
        let mut reporter = Reporter::new(sender);
        reporter.data_to_write = 10_000;
        let meter = Meter::new();
        let start = Instant::now();
        reporter.publish(Phase::Writing, &meter, None, start);
        assert_eq!(receiver.borrow().eta_seconds, None);
        // A fast beginning is forgotten once it is older than the window.
        for (second, written) in [(1, 4000), (2, 4100), (6, 4500), (8, 4700)] {
            meter.written.store(written, Relaxed);
            reporter.publish(Phase::Writing, &meter, None, start + Duration::from_secs(second));
        }
        assert_eq!(receiver.borrow().data_bytes_per_second, 100);
        assert_eq!(receiver.borrow().eta_seconds, Some(53));
        reporter.publish(Phase::Flushing, &meter, None, start + Duration::from_secs(9));
        assert_eq!(receiver.borrow().eta_seconds, None);
    }
}
