//! A piece is written to the end of its file.

use std::{io, sync::PoisonError, time::Duration};

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    sync::OwnedMutexGuard,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Upload, UploadError, Uploads, Writer};
use crate::identity::Viewer;

/// A client that sends nothing for so long has gone.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// How much may be lost by a power cut; also how often the space on the disk is looked at.
const SYNC_BYTES: u64 = 64 << 20;

/// The right to write to an upload.
pub(super) struct Turn {
    stop: CancellationToken,
    _held: OwnedMutexGuard<()>,
}

impl Uploads {
    /// Adds a piece that begins at `offset`, as far as it comes. What came stays, also when the connection breaks.
    pub async fn append(
        &self,
        viewer: &Viewer,
        id: &str,
        offset: u64,
        body: Body,
    ) -> Result<Upload, UploadError> {
        let upload = self.get(viewer, id).await?;
        let turn = self.take_over(&upload.id).await;
        let mut upload = self.get(viewer, id).await?;
        if upload.offset != offset {
            return Err(UploadError::Offset {
                given: offset,
                offset: upload.offset,
            });
        }
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.0.path(&upload.id))
            .await
            .map_err(UploadError::Spool)?;
        let written = self.write(&mut upload, &mut file, body, &turn.stop).await;
        // What came is acknowledged by the next HEAD, also after a failure: it has to be there.
        file.flush().await.map_err(UploadError::Spool)?;
        file.sync_data().await.map_err(UploadError::Spool)?;
        self.touch(&upload.id).await?;
        written?;
        self.get(viewer, id).await
    }

    async fn write(
        &self,
        upload: &mut Upload,
        file: &mut File,
        mut body: Body,
        stop: &CancellationToken,
    ) -> Result<(), UploadError> {
        let limit = upload.length.unwrap_or(self.0.limits.max_file_bytes);
        let mut since_sync = 0;
        loop {
            let frame = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(UploadError::TakenOver),
                frame = timeout(IDLE_LIMIT, body.frame()) => frame,
            };
            let idle = || UploadError::Broken(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)));
            let data = match frame.map_err(|_| idle())? {
                None => return Ok(()),
                Some(Err(error)) => return Err(UploadError::Broken(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            upload.offset += data.len() as u64;
            if upload.offset > limit {
                return Err(match upload.length {
                    Some(length) => UploadError::TooMuch { length },
                    None => UploadError::TooLarge {
                        length: upload.offset,
                        limit,
                    },
                });
            }
            file.write_all(&data).await.map_err(UploadError::Spool)?;
            since_sync += data.len() as u64;
            if since_sync >= SYNC_BYTES {
                file.flush().await.map_err(UploadError::Spool)?;
                file.sync_data().await.map_err(UploadError::Spool)?;
                self.0.store.require_space(0)?;
                since_sync = 0;
            }
        }
    }

    /// Stops whoever writes now, and waits for the turn.
    pub(super) async fn take_over(&self, id: &str) -> Turn {
        let stop = CancellationToken::new();
        let turn = {
            let mut writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = writers.entry(id.to_owned()).or_insert_with(|| Writer {
                stop: CancellationToken::new(),
                turn: std::sync::Arc::default(),
            });
            std::mem::replace(&mut writer.stop, stop.clone()).cancel();
            writer.turn.clone()
        };
        Turn {
            stop,
            _held: turn.lock_owned().await,
        }
    }

    pub(super) fn forget_writer(&self, id: &str) {
        let mut writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.remove(id);
    }

    /// An upload that is complete.
    pub(in crate::ingest) async fn complete(&self, viewer: &Viewer, id: &str) -> Result<Upload, UploadError> {
        let upload = self.get(viewer, id).await?;
        match upload.length {
            Some(length) if upload.offset < length => Err(UploadError::Incomplete {
                offset: upload.offset,
                length,
            }),
            _ => Ok(upload),
        }
    }

    /// The whole file of a complete upload, for an import. Nobody writes to it any more.
    pub(in crate::ingest) async fn taken(&self, upload: &Upload) -> Result<std::fs::File, UploadError> {
        let _turn = self.take_over(&upload.id).await;
        let file = File::open(self.0.path(&upload.id))
            .await
            .map_err(UploadError::Spool)?;
        self.touch(&upload.id).await?;
        Ok(file.into_std().await)
    }
}
