//! All that comes in for one write: requests to the stores, looks at the disk, and the choice between the two.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::info;

use super::{
    delta::{
        Kept, Mode,
        judge::{Facts, Tally, judge},
        survey::{Board, Look, Survey},
    },
    failure::Ended,
    fetch::{Fetcher, pace::Pace},
};
use crate::source::SourceError;

/// Rates are measured and judged this often.
const TICK: Duration = Duration::from_millis(50);
/// A sample without a match holds up the network for this long at most.
const SAMPLE_WAIT: Duration = Duration::from_millis(50);
/// A sample with matches is judged after this time even if some of it is missing.
const SAMPLE_TIME: Duration = Duration::from_millis(400);
/// Over this time the rate of reading is measured.
const READ_WINDOW: Duration = Duration::from_millis(100);
/// A rate of delivery is that of the last seconds.
const DELIVERY_MEMORY: Duration = Duration::from_secs(1);

/// The requests and the survey of one write.
#[derive(Debug)]
pub(super) struct Intake {
    fetcher: Arc<Fetcher>,
    board: Arc<Board>,
    // Dropped with this value: that ends all requests.
    fetching: JoinSet<Result<(), SourceError>>,
    pace: Pace,
    survey: Option<Survey>,
    /// Chunks that lie where the disk is being cleared.
    ends: Vec<usize>,
    /// The sample has shown that the disk holds something of the image.
    promising: bool,
    /// All of the disk is looked at, whether it pays or not.
    undeterred: bool,
    tally: Tally,
    rates: Rates,
    tick: Interval,
}

impl Intake {
    /// Fetches with at most `connections` requests in flight what is on the agenda of `board`; `survey` looks for what
    /// need not be fetched. The chunks `ends` are held until the ends of the disk are [cleared](Self::cleared).
    pub(super) fn new(
        fetcher: Arc<Fetcher>,
        board: Arc<Board>,
        survey: Option<Survey>,
        ends: Vec<usize>,
        connections: usize,
    ) -> Self {
        let now = Instant::now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if survey.is_none() {
            board.agenda().set_mode(Mode::Pulling);
        }
        let manifest = &fetcher.manifest;
        let expansion = manifest.data_bytes() as f64 / manifest.fetch_bytes().max(1) as f64;
        Intake {
            fetcher,
            board,
            fetching: JoinSet::new(),
            pace: Pace::new(connections, now),
            survey,
            ends,
            promising: false,
            undeterred: false,
            tally: Tally::default(),
            rates: Rates::new(now, expansion),
            tick,
        }
    }

    /// Looks at all of the disk, whether it pays or not.
    pub(super) fn undeterred(mut self) -> Self {
        if self.survey.is_some() {
            self.undeterred = true;
            self.board.agenda().set_mode(Mode::Checking);
        }
        self
    }

    /// The next chunk, by its position in the manifest, that need not be fetched: the disk holds it. Requests are made
    /// while this is waited for; may be dropped at any time. Ends only when a store refuses for good.
    pub(super) async fn next(&mut self) -> Result<usize, Ended> {
        loop {
            self.ask();
            tokio::select! {
                Some(fetched) = self.fetching.join_next(), if !self.fetching.is_empty() => match fetched {
                    Ok(fetched) => fetched?,
                    Err(error) => return Err(Ended::Internal { what: error.to_string() }),
                },
                look = next_look(self.survey.as_mut()), if self.survey.is_some() => match look {
                    Some(look) => {
                        self.looked(look);
                        if look.right {
                            return Ok(look.position);
                        }
                    }
                    // All was looked at, or all that had to be. Whatever is left is for the network.
                    None => {
                        self.survey = None;
                        self.turn(Mode::Pulling);
                    }
                },
                _ = self.tick.tick() => self.look_around(),
            }
        }
    }

    /// The ends of the disk are cleared: their chunks have to be fetched, except those that were kept.
    pub(super) fn cleared(&mut self, kept: &[Kept]) {
        let mut agenda = self.board.agenda();
        for position in std::mem::take(&mut self.ends) {
            agenda.looked(position, kept.iter().any(|kept| kept.position() == position));
        }
        drop(agenda);
        self.board.wake();
    }

    /// A chunk came wrong: it is asked for again, from this store.
    pub(super) fn again(&mut self, position: usize, origin: usize) {
        self.board.agenda().again(position, origin);
    }

    /// Ends all requests and looks, and returns once nobody reads the disk any more.
    pub(super) async fn leave(&mut self) {
        self.fetching.abort_all();
        if let Some(survey) = &mut self.survey {
            survey.stop();
            while survey.next().await.is_some() {}
        }
    }

    /// Makes as many requests as there may be.
    fn ask(&mut self) {
        self.rates.account(Instant::now(), !self.fetching.is_empty());
        while self.fetching.len() < self.pace.requests() {
            let Some(range) = self.board.agenda().next_range() else {
                break;
            };
            self.fetching.spawn(Arc::clone(&self.fetcher).fetch(range));
        }
        let reads = self.survey.is_some() && self.board.agenda().mode() == Mode::Checking;
        let waits = reads && self.fetching.is_empty();
        self.fetcher.meter.waits_for_reads.store(waits, Relaxed);
    }

    fn looked(&mut self, look: Look) {
        if look.sample {
            self.tally.sampled(look.position, look.right);
        } else {
            self.tally.looked(look.right);
        }
        let mut agenda = self.board.agenda();
        agenda.looked(look.position, look.right);
        let over = agenda.nothing_to_look_at();
        drop(agenda);
        if over {
            self.board.wake();
        } else if look.sample {
            self.judge_sample();
        }
    }

    /// Decides as soon as the sample tells enough.
    fn judge_sample(&mut self) {
        if self.undeterred {
            return;
        }
        let matches = self.tally.matches();
        let mut agenda = self.board.agenda();
        let mode = agenda.mode();
        if matches > 0 && !std::mem::replace(&mut self.promising, true) {
            agenda.sample_more();
            drop(agenda);
            // Nothing was fetched yet, so nothing is known of the network; what differs will tell.
            self.turn(Mode::Checking);
            return;
        }
        let complete = agenda.is_sampled(self.tally.samples());
        drop(agenda);
        if matches == 0 {
            if mode == Mode::Sampling && (complete || self.rates.age() >= SAMPLE_WAIT) {
                self.turn(Mode::Pulling);
            }
            if complete && let Some(survey) = &self.survey {
                info!(
                    samples = self.tally.samples(),
                    "the disk holds nothing of the image"
                );
                survey.stop();
            }
        } else if complete || self.rates.age() >= SAMPLE_TIME {
            self.rates.sampled(self.survey.as_ref());
            self.judge(mode);
        }
    }

    /// Measures, and judges anew.
    fn look_around(&mut self) {
        let (now, meter) = (Instant::now(), &self.fetcher.meter);
        let fetched = meter.fetched.load(Relaxed);
        self.rates.delivered(fetched);
        let counts = self.fetcher.flow.counts(fetched);
        self.pace.look(now, counts, self.fetching.len());
        let Some(survey) = &self.survey else { return };
        let mode = self.board.agenda().mode();
        if mode == Mode::Checking {
            self.rates.read(now, survey.bytes(), meter.written.load(Relaxed));
        }
        if self.rates.read.is_none() {
            self.judge_sample();
        } else {
            self.judge(mode);
        }
    }

    fn judge(&mut self, mode: Mode) {
        if self.undeterred {
            return;
        }
        let Some(read_rate) = self.rates.read else { return };
        let mut agenda = self.board.agenda();
        let Some(first_open) = agenda.first_open() else {
            return;
        };
        let facts = Facts {
            open: agenda.open().plain as f64,
            wanted: agenda.wanted().plain as f64,
            share: self.tally.share_from(first_open),
            read_rate,
            delivery_rate: self.rates.delivery(),
        };
        drop(agenda);
        let next = judge(mode, &facts);
        if next != self.board.agenda().mode() {
            info!(
                ?next,
                share = facts.share,
                read_mb_per_second = facts.read_rate / 1e6,
                delivery_mb_per_second = facts.delivery_rate.map(|rate| rate / 1e6),
                "judged whether reading the disk pays"
            );
            self.turn(next);
        }
    }

    fn turn(&mut self, mode: Mode) {
        if mode == Mode::Pulling {
            self.tally.forget_recent();
        }
        self.rates.pause();
        self.board.agenda().set_mode(mode);
        self.board.wake();
    }
}

async fn next_look(survey: Option<&mut Survey>) -> Option<Look> {
    survey?.next().await
}

/// How fast the disk is read and the stores deliver.
#[derive(Debug)]
struct Rates {
    started: Instant,
    /// Bytes of the disk per byte of its frames.
    expansion: f64,
    /// Bytes of the disk per second.
    read: Option<f64>,
    /// Since when, and from which counts on, reading is measured.
    reading: Option<(Instant, u64, u64)>,
    accounted: Instant,
    /// Time with a request in flight.
    busy: Duration,
    /// Bytes of frames that came, and the busy time that they took; lately.
    delivered: (f64, Duration),
    fetched: u64,
}

impl Rates {
    fn new(now: Instant, expansion: f64) -> Self {
        Rates {
            started: now,
            expansion,
            read: None,
            reading: None,
            accounted: now,
            busy: Duration::ZERO,
            delivered: (0.0, Duration::ZERO),
            fetched: 0,
        }
    }

    fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time has gone by, with or without a request in flight.
    fn account(&mut self, now: Instant, busy: bool) {
        if busy {
            self.busy += now.duration_since(self.accounted);
        }
        self.accounted = now;
    }

    fn delivered(&mut self, fetched: u64) {
        self.delivered.0 += (fetched - self.fetched) as f64;
        self.delivered.1 += std::mem::take(&mut self.busy);
        self.fetched = fetched;
        if self.delivered.1 > DELIVERY_MEMORY {
            self.delivered = (self.delivered.0 / 2.0, self.delivered.1 / 2);
        }
    }

    /// Bytes of the disk that come in a second of requests in flight.
    fn delivery(&self) -> Option<f64> {
        let (bytes, time) = self.delivered;
        (bytes > 0.0 && !time.is_zero()).then(|| bytes * self.expansion / time.as_secs_f64())
    }

    /// The sample was read.
    fn sampled(&mut self, survey: Option<&Survey>) {
        if let (None, Some(survey)) = (self.read, survey) {
            self.read = Some(survey.bytes() as f64 / self.age().as_secs_f64());
        }
    }

    /// So much was read and written so far.
    fn read(&mut self, now: Instant, bytes: u64, written: u64) {
        let Some((since, read_before, written_before)) = self.reading else {
            self.reading = Some((now, bytes, written));
            return;
        };
        let window = now.duration_since(since);
        if window < READ_WINDOW {
            return;
        }
        let read = bytes - read_before;
        let rate = read as f64 / window.as_secs_f64();
        // What the disk does while it is also written says only that it can do at least that.
        let alone = (written - written_before) * 10 < read;
        if alone || self.read.is_some_and(|known| rate > known) {
            self.read = Some(rate);
        }
        self.reading = Some((now, bytes, written));
    }

    /// Reading stops or begins.
    fn pause(&mut self) {
        self.reading = None;
    }
}
