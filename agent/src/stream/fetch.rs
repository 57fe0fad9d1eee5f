//! One range from a store into the queue, however often it takes.

pub(super) mod pace;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use imprint_image::Manifest;
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use self::pace::Counts;
use super::{
    WriteNote,
    agenda::FetchRange,
    progress::Meter,
    queue::{Frame, Slot, Slots, WorkQueue},
};
use crate::source::{PackSource, Patience, RangeBody, SourceError, Verdict, is_worth_a_note, whole_cause};

/// What all fetches of one write share.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) manifest: Arc<Manifest>,
    pub(super) packs: PackSource,
    pub(super) queue: Arc<WorkQueue>,
    pub(super) slots: Arc<Slots>,
    pub(super) meter: Arc<Meter>,
    pub(super) flow: Flow,
    pub(super) notes: UnboundedSender<WriteNote>,
    pub(super) patience: Duration,
    pub(super) read_timeout: Duration,
}

/// What tells whether more requests would help.
#[derive(Debug, Default)]
pub(super) struct Flow {
    starved_nanos: AtomicU64,
    troubles: AtomicU32,
}

impl Flow {
    pub(super) fn counts(&self, fetched: u64) -> Counts {
        Counts {
            fetched,
            starved: Duration::from_nanos(self.starved_nanos.load(Relaxed)),
            troubles: self.troubles.load(Relaxed),
        }
    }
}

impl Fetcher {
    /// Reads all frames of `range` and queues each one as soon as it is there. After a break it goes on with the frame
    /// that broke; with the next store if there are several. Ends when all are queued, when every store refuses for
    /// good, or when nothing came for too long.
    pub(super) async fn fetch(self: Arc<Self>, mut range: FetchRange) -> Result<(), SourceError> {
        let _under_way = self.meter.requests.begin();
        let origins = self.packs.origin_count();
        let mut refused = BTreeSet::new();
        let mut patience = Patience::new(self.patience);
        let mut origin = range.origin % origins;
        loop {
            let before = range.frames.len();
            let Err(error) = self.read(&mut range, origin).await else {
                return Ok(());
            };
            if range.frames.len() < before {
                patience.progressed();
            }
            // All frames came, and the connection broke behind them.
            if range.frames.is_empty() {
                return Ok(());
            }
            if error.is_overload() {
                self.flow.troubles.fetch_add(1, Relaxed);
            }
            self.meter.retries.fetch_add(1, Relaxed);
            let what = self.what(&range);
            let mut delay = Duration::ZERO;
            let mut attempt = 1;
            let cause = whole_cause(&error);
            if error.is_permanent() {
                refused.insert(origin);
                if refused.len() == origins {
                    return Err(error);
                }
            } else {
                match patience.after(error, Instant::now(), self.meter.last_fetch()) {
                    Verdict::Enough(error) => return Err(error),
                    Verdict::Again {
                        delay: wait,
                        attempt: count,
                    } => (delay, attempt) = (wait, count),
                }
                // Another store first, and without delay as long as it hasn't failed as well.
                let live = origins - refused.len();
                if live > 1 && !(attempt as usize).is_multiple_of(live) {
                    delay = Duration::ZERO;
                }
            }
            origin = (1..=origins)
                .map(|step| (origin + step) % origins)
                .find(|next| !refused.contains(next))
                .expect("one store at least has not refused");
            if is_worth_a_note(attempt) {
                // Nobody has to listen.
                self.notes
                    .send(WriteNote::Retry {
                        what,
                        cause,
                        delay,
                        attempt,
                    })
                    .ok();
            }
            sleep(delay).await;
        }
    }

    /// One attempt. What was queued is taken off `range`.
    async fn read(&self, range: &mut FetchRange, origin: usize) -> Result<(), SourceError> {
        let chunks = &self.manifest.chunks;
        let bytes = range.bytes(&self.manifest);
        let pack = &self.manifest.packs[range.pack as usize];
        let mut at = bytes.start;
        let body = self.packs.open(origin, pack, bytes, self.read_timeout).await?;
        let mut pieces = Pieces {
            body,
            rest: Bytes::new(),
        };
        while let Some(&position) = range.frames.front() {
            let chunk = &chunks[position];
            let len = chunk.frame_bytes as usize;
            // Frames between that nobody wants.
            while at < chunk.offset {
                let most = usize::try_from(chunk.offset - at).expect("a gap is short");
                let piece = pieces.next(most).await?;
                self.meter.add_fetched(piece.len() as u64);
                at += piece.len() as u64;
            }
            let mut slot = self.slot().await;
            slot.bytes.reserve_exact(len);
            while slot.bytes.len() < len {
                let piece = pieces.next(len - slot.bytes.len()).await?;
                self.meter.add_fetched(piece.len() as u64);
                slot.bytes.extend_from_slice(&piece);
            }
            at += len as u64;
            self.meter.chunks_fetched.fetch_add(1, Relaxed);
            self.queue.push(Frame {
                position,
                origin,
                slot,
            });
            range.frames.pop_front();
        }
        // The end of the body is read, so that the connection can be used again.
        pieces.end().await
    }

    /// Waits for memory.
    async fn slot(&self) -> Slot {
        let asked = Instant::now();
        let slot = self.slots.take().await;
        let nanos = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.flow.starved_nanos.fetch_add(nanos, Relaxed);
        slot
    }

    fn what(&self, range: &FetchRange) -> String {
        let chunk = |position: Option<&usize>| position.map_or(0, |&at| self.manifest.chunks[at].index);
        let (first, last) = (chunk(range.frames.front()), chunk(range.frames.back()));
        if first == last {
            format!("chunk {first}")
        } else {
            format!("chunks {first} to {last}")
        }
    }
}

/// The pieces of a body, cut where a frame ends.
#[derive(Debug)]
struct Pieces {
    body: RangeBody,
    rest: Bytes,
}

impl Pieces {
    /// The next bytes, at most `most` of them and at least one.
    async fn next(&mut self, most: usize) -> Result<Bytes, SourceError> {
        while self.rest.is_empty() {
            // A body says itself when it ends too early, so an end here can't happen before all frames are read.
            self.rest = self.body.next().await?.unwrap_or_default();
        }
        let len = most.min(self.rest.remaining());
        Ok(self.rest.split_to(len))
    }

    async fn end(mut self) -> Result<(), SourceError> {
        while self.body.next().await?.is_some() {}
        Ok(())
    }
}
