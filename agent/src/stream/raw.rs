//! A plain image file, raw or raw in gzip, xz or zstd, streamed onto a disk.
//!
//! ```text
//! feed ──> intake ──> hash thread: SHA-256 of the source as it came
//! (async)     └─ split into units ──> decoder threads ──> cut: blocks, zeroes ──> write stage ──> disk
//!                                          └── yard: who begins where, who may have a buffer
//! ```
//!
//! A file of one piece is one unit, and one decoder is the limit: it does nothing but decode. Frames of zstd and blocks
//! of xz are units of their own, found by their headers while the file passes, and decoded by all cores. Where a unit
//! belongs on the disk follows from the lengths of those before it: from their headers, or else once they are painted.
//! Memory is bounded: what waits to be decoded, the windows of decoders, and the buffers for the disk each have their
//! share of [`WriteOptions::max_memory_bytes`], and only the first unfinished unit may ask for a larger window.
//!
//! Such a file has one digest, and it is known to be right or wrong only at its end. So the promise is weaker than for
//! an artifact: unproven bytes reach the disk, but never its head. That is written once the digest, the length of the
//! source and the end of the compressed stream are all as they should be.

mod canvas;
mod cut;
mod decode;
mod feed;
mod intake;
mod split;
mod unit;
mod yard;
mod zst;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use imprint_image::source::Format;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot, watch,
    },
    task::{AbortHandle, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use self::{
    canvas::{Canvas, Painted, Tag},
    cut::BLOCK_BYTES,
    decode::{Event, Shop},
    feed::{Feed, Opened},
    intake::{Intake, Outlets},
    yard::Yard,
};
use super::{
    Verified, WriteFailure, WriteFigures, WriteNote, WriteOptions, WriteProgress,
    claim::{Claim, Clearing, LAST_CHANCE},
    delta::Ends,
    failure::Ended,
    progress::{Meter, Phase},
    stage::{Report, Stage, StageOptions, Tell},
};
use crate::{
    source::{HttpClient, Location},
    target::{Target, Zeroed},
};

/// Writes in flight: more gain nothing on one disk.
const WRITES: usize = 8;
/// More decoders than this gain nothing on one disk.
const MOST_DECODERS: usize = 16;
/// More buffers than this gain nothing.
const MOST_BUFFERS: u64 = 64;

/// A plain image and where it goes.
#[derive(Debug)]
pub struct RawRequest {
    /// Where the image is.
    pub source: Location,
    /// For a source on a server.
    pub client: HttpClient,
    /// What proves it.
    pub proof: RawProof,
    /// Where to write it.
    pub target: Arc<dyn Target>,
    /// How; the journal and the read-back are for artifacts only.
    pub options: WriteOptions,
}

/// What proves a plain image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawProof {
    /// The SHA-256 of the file as it is, compressed or not.
    Sha256([u8; 32]),
    /// Nothing: an operator vouches for it.
    Unverified,
}

/// The plain image is on the disk and flushed.
#[derive(Debug)]
pub struct RawWritten {
    /// The proof.
    pub verified: Verified,
    /// The SHA-256 of the source.
    pub sha256: [u8; 32],
    /// Size of the disk image.
    pub image_bytes: u64,
    /// What it took.
    pub figures: WriteFigures,
}

/// Writes a plain image and proves it.
///
/// # Errors
/// See [`super::FailureKind`]; as for an artifact, the head of the disk is clear afterwards.
pub async fn write_raw(
    request: RawRequest,
    progress: watch::Sender<WriteProgress>,
    notes: UnboundedSender<WriteNote>,
    cancel: CancellationToken,
) -> Result<RawWritten, WriteFailure> {
    let claim = Claim::new(
        Arc::clone(&request.target),
        progress,
        notes.clone(),
        request.options.disk_patience,
    );
    let mut run = Run {
        request,
        claim,
        notes,
        cancel,
    };
    match run.write().await {
        Ok(written) => Ok(written),
        Err(ended) => Err(run.claim.abandon(&ended).await),
    }
}

struct Run {
    request: RawRequest,
    claim: Claim,
    notes: UnboundedSender<WriteNote>,
    cancel: CancellationToken,
}

impl Run {
    async fn write(&mut self) -> Result<RawWritten, Ended> {
        let feed = Feed {
            location: self.request.source.clone(),
            client: self.request.client.clone(),
            patience: self.request.options.patience,
            read_timeout: self.request.options.read_timeout,
            meter: Arc::clone(&self.claim.meter),
            notes: self.notes.clone(),
        };
        let cancel = self.cancel.clone();
        let opened = tokio::select! {
            () = cancel.cancelled() => return Err(Ended::Cancelled),
            opened = feed.open() => opened?,
        };
        self.check(&opened)?;
        let clearing = self.claim.begin_clearing(Ends::Both, None);
        self.claim.phase = Phase::Writing;
        let (painted, sha256) = self.transfer(feed, opened, clearing).await?;
        self.finish(painted, sha256).await
    }

    /// Refuses what can be seen to be wrong from the first bytes, before anything is touched.
    fn check(&mut self, opened: &Opened) -> Result<(), Ended> {
        let format = opened.format;
        if !matches!(
            format,
            Format::Raw | Format::RawGzip | Format::RawXz | Format::RawZstd
        ) {
            return Err(Ended::Format {
                format: format.name().to_owned(),
            });
        }
        let size = match format {
            Format::Raw => opened.object.size,
            Format::RawZstd => zstd::zstd_safe::get_frame_content_size(&opened.head)
                .ok()
                .flatten(),
            _ => None,
        };
        let disk = self.request.target.len();
        if let Some(image) = size.filter(|&size| size > disk) {
            return Err(Ended::TooSmall {
                device: self.request.target.id().clone(),
                image,
                disk,
            });
        }
        self.claim.reporter.bytes_total = size.unwrap_or(0);
        self.claim.reporter.bytes_to_fetch = opened.object.size.unwrap_or(0);
        Ok(())
    }

    async fn transfer(
        &mut self,
        feed: Feed,
        opened: Opened,
        mut clearing: Clearing,
    ) -> Result<(Painted, [u8; 32]), Ended> {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let transferred = match self.start(opened.format, events) {
            Ok((intake, mut crew)) => {
                let feeding = tokio::spawn(feed.pump(opened, intake));
                let abort = AbortOnDrop(feeding.abort_handle());
                let transferred = self
                    .coordinate(feeding, &mut crew, &mut clearing, &mut inbox)
                    .await;
                drop((abort, crew));
                transferred
            }
            Err(ended) => Err(ended),
        };
        // Nobody is on the disk any more when this function returns, except on one that hangs.
        let left = async {
            if !clearing.is_over() {
                clearing.done().await.ok();
            }
            while inbox.recv().await.is_some() {}
        };
        if tokio::time::timeout(LAST_CHANCE, left).await.is_err() {
            return Err(self.claim.hung());
        }
        transferred
    }

    /// Starts all threads.
    fn start(&self, format: Format, events: UnboundedSender<Event>) -> Result<(Intake, Crew), Ended> {
        let options = &self.request.options;
        let decoders = match format {
            Format::RawXz | Format::RawZstd => options.workers.unwrap_or_else(cores).clamp(1, MOST_DECODERS),
            _ => 1,
        };
        let memory = options.max_memory_bytes;
        let wanted = (memory / 4 / BLOCK_BYTES as u64).min(MOST_BUFFERS);
        let wanted = usize::try_from(wanted).expect("limited above");
        let buffers = Yard::buffers(decoders, wanted);
        let waiting = (memory / 8 * 3).clamp(2 << 20, 1 << 30);
        let yard = Arc::new(Yard::new(buffers, memory / 8 * 3));
        let stage_options = StageOptions {
            buffers,
            buffer_bytes: BLOCK_BYTES,
            depth: WRITES,
            writer: options.writer,
        };
        let target = Arc::clone(&self.request.target);
        let (room, block) = (target.len(), target.logical_block());
        let meter = Arc::clone(&self.claim.meter);
        let tell = tell(events.clone(), Arc::clone(&yard), Arc::clone(&meter));
        let stage = Stage::start(target, &stage_options, Arc::clone(&meter), &tell);
        let stage = Arc::new(stage.map_err(Ended::Threads)?);
        let mut crew = Crew {
            stage: Arc::clone(&stage),
            yard: Arc::clone(&yard),
            stop: CancellationToken::new(),
            sha256: None,
        };
        let waiting = usize::try_from(waiting).expect("limited above");
        let (intake, outlets) = Intake::new(format, waiting, Arc::clone(&yard)).map_err(Ended::Threads)?;
        let Outlets { units, sha256 } = outlets;
        let shop = Shop {
            units: Mutex::new(units),
            canvas: Canvas::new(Arc::clone(&stage), Arc::clone(&yard), block),
            yard,
            stage,
            meter,
            stop: crew.stop.clone(),
            events,
            room,
            check: self.request.proof == RawProof::Unverified,
            at_work: AtomicUsize::new(0),
        };
        shop.open(decoders).map_err(Ended::Threads)?;
        crew.sha256 = Some(sha256);
        Ok((intake, crew))
    }

    async fn coordinate(
        &mut self,
        mut feeding: JoinHandle<Result<(), Ended>>,
        crew: &mut Crew,
        clearing: &mut Clearing,
        inbox: &mut UnboundedReceiver<Event>,
    ) -> Result<(Painted, [u8; 32]), Ended> {
        let ended_early = |what: &str| Ended::Internal {
            what: format!("{what} ended early"),
        };
        let cancel = self.cancel.clone();
        let mut fed = false;
        let mut slow_zeroes_told = false;
        let mut whole = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Err(Ended::Cancelled),
                cleared = clearing.done(), if !clearing.is_over() => {
                    cleared?;
                    self.claim.is_cleared();
                    crew.stage.open();
                }
                done = &mut feeding, if !fed => {
                    done.map_err(|error| Ended::Internal { what: error.to_string() })??;
                    fed = true;
                }
                event = inbox.recv() => match event {
                    Some(Event::Zeroed(Zeroed::ByWriting)) if !slow_zeroes_told => {
                        slow_zeroes_told = true;
                        self.notes.send(WriteNote::ZeroesAreWritten).ok();
                    }
                    Some(Event::Zeroed(_)) => {}
                    Some(Event::Disk(error)) => return Err(error.into()),
                    Some(Event::Failed(ended)) => return Err(ended),
                    Some(Event::Died(which)) => return Err(ended_early(which)),
                    Some(Event::Painted(painted)) => whole = Some(painted),
                    // All threads have left: all that was decoded is written.
                    None => {
                        if !fed {
                            let fed = feeding.await.map_err(|error| Ended::Internal { what: error.to_string() })?;
                            fed?;
                        }
                        let painted = whole.ok_or_else(|| ended_early("the decoder"))?;
                        let sha256 = crew.sha256.take().ok_or_else(|| ended_early("the hash"))?;
                        let sha256 = sha256.await.map_err(|_| ended_early("the hash"))?;
                        return Ok((painted, sha256));
                    }
                },
                () = self.claim.ticked() => {
                    // A file of several frames tells only how long the first one is.
                    let done = self.claim.meter.done.load(Relaxed);
                    if done > self.claim.reporter.bytes_total.next_multiple_of(BLOCK_BYTES as u64) {
                        self.claim.reporter.bytes_total = 0;
                    }
                    self.claim.look()?;
                }
            }
        }
    }

    /// From "all came" to "the disk can boot".
    async fn finish(&mut self, painted: Painted, sha256: [u8; 32]) -> Result<RawWritten, Ended> {
        if let RawProof::Sha256(expected) = self.request.proof
            && expected != sha256
        {
            let what = format!(
                "its SHA-256 is {}, expected {}",
                hex::encode(sha256),
                hex::encode(expected)
            );
            return Err(Ended::WrongImage { what });
        }
        // A thread that died has lost its block.
        let on_disk = self.claim.meter.written.load(Relaxed) + self.claim.meter.zeroed.load(Relaxed);
        if on_disk != painted.handed_on {
            let what = format!("of {} bytes, {on_disk} reached the disk", painted.handed_on);
            return Err(Ended::Internal { what });
        }
        self.claim.flush().await?;
        if self.cancel.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        let verified = Verified::plain(&sha256);
        let head_bytes = painted.head_bytes;
        let verified = self
            .claim
            .release(move |target, abandoned| painted.head.release(target, verified, abandoned))
            .await?;
        let meter = &self.claim.meter;
        meter.written.fetch_add(head_bytes, Relaxed);
        meter.done.fetch_add(head_bytes, Relaxed);
        let figures = meter.figures();
        self.claim.look()?;
        Ok(RawWritten {
            verified,
            sha256,
            image_bytes: painted.image_bytes,
            figures,
        })
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Passes on what the write stage tells.
fn tell(events: UnboundedSender<Event>, yard: Arc<Yard>, meter: Arc<Meter>) -> Tell {
    Arc::new(move |report| {
        let event = match report {
            Report::Written { tag, len } => {
                meter.done.fetch_add(len, Relaxed);
                if tag == Tag::Joint as u64 {
                    yard.give_joint();
                } else {
                    yard.give();
                }
                return;
            }
            Report::Zeroed { len, how, .. } => {
                meter.done.fetch_add(len, Relaxed);
                Event::Zeroed(how)
            }
            Report::Failed(error) => Event::Disk(error),
            Report::Died { thread } => Event::Died(thread),
        };
        // When nobody listens any more, the write has ended otherwise.
        events.send(event).ok();
    })
}

/// The threads of one write. They all stop when this value is dropped, even when that happens half-way.
struct Crew {
    stage: Arc<Stage>,
    yard: Arc<Yard>,
    stop: CancellationToken,
    sha256: Option<oneshot::Receiver<[u8; 32]>>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.cancel();
        self.yard.stop();
        self.stage.stop();
    }
}

/// Ends the feed even when the write is dropped half-way.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
