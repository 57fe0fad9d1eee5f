//! The source of a plain image as one stream, which goes on after a break where it broke.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use imprint_image::source::{Format, detect};
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use super::{
    super::{WriteNote, failure::Ended, progress::Meter},
    intake::Intake,
};
use crate::source::{
    HttpClient, Location, Object, Patience, RangeBody, SourceError, Verdict, is_worth_a_note, whole_cause,
};

/// How much of an image tells its format.
const HEAD_BYTES: usize = 64 << 10;

/// An open source, with its first bytes already read.
#[derive(Debug)]
pub(super) struct Opened {
    body: RangeBody,
    pub(super) object: Object,
    pub(super) head: Bytes,
    pub(super) format: Format,
}

/// Reads the source.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) location: Location,
    pub(super) client: HttpClient,
    pub(super) patience: Duration,
    pub(super) read_timeout: Duration,
    pub(super) meter: Arc<Meter>,
    pub(super) notes: UnboundedSender<WriteNote>,
}

impl Feed {
    /// Opens the source and reads as much as tells its format.
    pub(super) async fn open(&self) -> Result<Opened, SourceError> {
        let mut patience = Patience::new(self.patience);
        loop {
            match self.open_once().await {
                Ok(opened) => return Ok(opened),
                Err(error) => self.wait(error, &mut patience).await?,
            }
        }
    }

    async fn open_once(&self) -> Result<Opened, SourceError> {
        let (mut body, object) = match &self.location {
            Location::Url(url) => RangeBody::open_whole(&self.client, url, self.read_timeout).await?,
            Location::File(path) => {
                let failed = |source| SourceError::File {
                    path: path.clone(),
                    source,
                };
                let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
                let body = RangeBody::open_file(path, 0..size).await?;
                (
                    body,
                    Object {
                        size: Some(size),
                        validator: None,
                    },
                )
            }
        };
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES
            && let Some(piece) = body.next().await?
        {
            head.extend_from_slice(&piece);
        }
        let head = head.freeze();
        let format = detect(&head[..head.len().min(HEAD_BYTES)]);
        Ok(Opened {
            body,
            object,
            head,
            format,
        })
    }

    /// Hands on all pieces of the source, and then the end. An intake that is dropped without that has lost its source.
    pub(super) async fn pump(self, opened: Opened, mut intake: Intake) -> Result<(), Ended> {
        let Opened {
            body, object, head, ..
        } = opened;
        let mut body = Some(body);
        let mut at = 0;
        let mut patience = Patience::new(self.patience);
        let mut next = Some(head).filter(|head| !head.is_empty());
        loop {
            let piece = match (next.take(), &mut body) {
                (Some(head), _) => Ok(Some(head)),
                (None, Some(body)) => body.next().await,
                (None, None) => match self.reopen(at, &object).await {
                    Ok(reopened) => {
                        body = Some(reopened);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match piece {
                Ok(Some(piece)) => {
                    at += piece.len() as u64;
                    self.meter.add_fetched(piece.len() as u64);
                    patience.progressed();
                    // Nobody takes it any more: the write has ended, and says why itself.
                    if !intake.piece(piece).await? {
                        return Ok(());
                    }
                }
                Ok(None) => return intake.end().await,
                // The connection broke after the last byte.
                Err(_) if object.size == Some(at) => return intake.end().await,
                Err(error) => {
                    body = None;
                    self.wait(error, &mut patience).await?;
                }
            }
        }
    }

    async fn reopen(&self, at: u64, object: &Object) -> Result<RangeBody, SourceError> {
        match &self.location {
            Location::Url(url) => {
                RangeBody::open_rest(&self.client, url, at, object, self.read_timeout).await
            }
            Location::File(path) => RangeBody::open_file(path, at..object.size.unwrap_or(at)).await,
        }
    }

    /// Waits before the next attempt, if there is to be one.
    async fn wait(&self, error: SourceError, patience: &mut Patience) -> Result<(), SourceError> {
        if error.is_permanent() {
            return Err(error);
        }
        self.meter.retries.fetch_add(1, Relaxed);
        let cause = whole_cause(&error);
        match patience.after(error, Instant::now(), None) {
            Verdict::Enough(error) => Err(error),
            Verdict::Again { delay, attempt } => {
                if is_worth_a_note(attempt) {
                    let what = self.location.to_string();
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
                Ok(())
            }
        }
    }
}
