//! A plain image file, raw or raw in gzip, xz or zstd, streamed onto a disk.
//!
//! ```text
//! feed (async) ──> intake ──> decoder thread: cut into MiB, find zeroes ──> writer threads ──> disk
//!                    └──────> hash thread: SHA-256 of the source as it came
//! ```
//!
//! Such a file has one digest, and it is known to be right or wrong only at its end. So the promise is weaker than for
//! an artifact: unproven bytes reach the disk, but never its head. That is written once the digest, the length of the
//! source and the end of the compressed stream are all as they should be.

mod decode;
mod feed;
mod write;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use imprint_image::source::Format;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    watch,
};
use tokio_util::sync::CancellationToken;

use self::{
    decode::{Decoded, HashThread, Intake, decode},
    feed::{Feed, Opened},
    write::{Event, Writers},
};
use super::{
    Verified, WriteFailure, WriteFigures, WriteNote, WriteOptions, WriteProgress,
    claim::{Claim, LAST_CHANCE},
    failure::Ended,
    progress::Phase,
};
use crate::{
    source::{HttpClient, Location},
    target::{Target, Zeroed},
};

/// Threads that write; the decoder is the bottleneck.
const WRITERS: usize = 2;
/// Pieces of the source that wait for the decoder.
const PIECES: usize = 8;

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
        self.claim.clear_ends().await?;
        self.claim.phase = Phase::Writing;
        let (decoded, sha256) = self.transfer(feed, opened).await?;
        self.finish(decoded, sha256).await
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

    async fn transfer(&mut self, feed: Feed, opened: Opened) -> Result<(Decoded, [u8; 32]), Ended> {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let target = &self.request.target;
        let writers = Writers::start(WRITERS, target, &self.claim.meter, &events).map_err(Ended::Threads)?;
        let (pieces, received) = mpsc::channel(PIECES);
        let hash = HashThread::start().map_err(Ended::Threads)?;
        let intake = Intake::new(received, hash);
        let (format, room, block) = (opened.format, target.len(), target.logical_block());
        let meter = Arc::clone(&self.claim.meter);
        let stop = CancellationToken::new();
        let (stopped, done) = (stop.clone(), events);
        let decoder = std::thread::Builder::new()
            .name("decode".to_owned())
            .spawn(move || {
                let ended = decode(intake, format, writers, room, block, &meter, &stopped);
                // When nobody listens any more, the write has ended otherwise.
                done.send(Event::Decoded(ended)).ok();
            });
        decoder.map_err(Ended::Threads)?;

        let feeding = tokio::spawn(feed.pump(opened, pieces));
        let abort = AbortOnDrop(feeding.abort_handle(), stop);
        let transferred = self.coordinate(feeding, &mut inbox).await;
        drop(abort);
        // Nobody is on the disk any more when this function returns, except on one that hangs.
        let left = async { while inbox.recv().await.is_some() {} };
        if tokio::time::timeout(LAST_CHANCE, left).await.is_err() {
            return Err(self.claim.hung());
        }
        transferred
    }

    async fn coordinate(
        &mut self,
        mut feeding: tokio::task::JoinHandle<Result<(), crate::source::SourceError>>,
        inbox: &mut UnboundedReceiver<Event>,
    ) -> Result<(Decoded, [u8; 32]), Ended> {
        let cancel = self.cancel.clone();
        let mut fed = false;
        let mut slow_zeroes_told = false;
        let mut whole = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Err(Ended::Cancelled),
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
                    // The source has failed, which the other branch tells.
                    Some(Event::Decoded(Err(None))) => {}
                    Some(Event::Decoded(Err(Some(ended)))) => return Err(ended),
                    Some(Event::Decoded(Ok(decoded))) => whole = Some(decoded),
                    // All threads have left: all that was decoded is written.
                    None => match whole {
                        Some(whole) => return Ok(whole),
                        None if !fed => {
                            let fed = feeding.await.map_err(|error| Ended::Internal { what: error.to_string() })?;
                            fed?;
                            return Err(Ended::Internal { what: "the decoder ended early".to_owned() });
                        }
                        None => return Err(Ended::Internal { what: "the decoder ended early".to_owned() }),
                    },
                },
                () = self.claim.ticked() => self.claim.look()?,
            }
        }
    }

    /// From "all came" to "the disk can boot".
    async fn finish(&mut self, decoded: Decoded, sha256: [u8; 32]) -> Result<RawWritten, Ended> {
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
        if on_disk != decoded.handed_on {
            let what = format!("of {} bytes, {on_disk} reached the disk", decoded.handed_on);
            return Err(Ended::Internal { what });
        }
        self.claim.flush().await?;
        if self.cancel.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        let verified = Verified::plain(&sha256);
        let head_bytes = decoded.head_bytes;
        let verified = self
            .claim
            .release(move |target, abandoned| decoded.head.release(target, verified, abandoned))
            .await?;
        let meter = &self.claim.meter;
        meter.written.fetch_add(head_bytes, Relaxed);
        meter.done.fetch_add(head_bytes, Relaxed);
        let figures = meter.figures();
        self.claim.look()?;
        Ok(RawWritten {
            verified,
            sha256,
            image_bytes: decoded.image_bytes,
            figures,
        })
    }
}

/// Ends the feed and the decoder even when the write is dropped half-way.
struct AbortOnDrop(tokio::task::AbortHandle, CancellationToken);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
        self.1.cancel();
    }
}
