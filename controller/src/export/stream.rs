//! A file as the body of an answer.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use imprint_image::export::{ExportError, ExportOptions, ExportPlan};
use serde_json::json;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};
use ulid::Ulid;

use super::{
    ExportFault, Exports, Inner, OpenedDisk, StoreFrames,
    hold::Hold,
    pipe::{PipeReader, PipeWriter, pipe},
};
use crate::{events::NewEvent, identity::Caller};

/// The bytes of a file, in order. An item that is an error is the end: what came before is not the whole.
#[derive(Debug)]
pub struct ContentStream {
    pieces: PipeReader,
    /// Tells the thread that nobody listens any more.
    cancel: Arc<AtomicBool>,
}

impl Stream for ContentStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context)
    }
}

impl Drop for ContentStream {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Exports {
    /// Streams a file, or a range of it, to `by`. Refuses when too many are streamed already.
    pub async fn stream(
        &self,
        disk: OpenedDisk,
        range: Option<Range<u64>>,
        by: &Caller,
    ) -> Result<ContentStream, ExportFault> {
        let slot = self.slot()?;
        let hold = Hold::of(&self.0.catalog, &Ulid::generate().to_string(), &disk).await?;
        self.tell_reading(&disk, range.as_ref(), by).await?;
        let cancel = Arc::new(AtomicBool::new(false));
        let from = range.as_ref().map_or(0, |range| range.start);
        let (writer, pieces) = pipe(range.map(|range| range.end - range.start));
        let writing = Writing {
            inner: self.0.clone(),
            disk,
            from,
            cancel: cancel.clone(),
            frames: StoreFrames::new(self.0.store.clone()),
            hold,
            _slot: slot,
        };
        tokio::task::spawn_blocking(move || writing.run(writer));
        Ok(ContentStream { pieces, cancel })
    }

    async fn tell_reading(
        &self,
        disk: &OpenedDisk,
        range: Option<&Range<u64>>,
        by: &Caller,
    ) -> Result<(), ExportFault> {
        let event = NewEvent {
            kind: "image.content-read",
            node_id: None,
            deployment_id: None,
            message: format!("{} reads image {} as {}.", by.name, disk.image, disk.format),
            details: json!({
                "image_id": disk.image_id,
                "disk": disk.role,
                "format": disk.format.name(),
                "from": range.map_or(0, |range| range.start),
                "project_id": by.project_id,
                "by": by.name,
            }),
        };
        Ok(self.0.events.append(event).await.map(drop)?)
    }
}

/// What the thread has that writes a file.
struct Writing {
    inner: Arc<Inner>,
    disk: OpenedDisk,
    from: u64,
    cancel: Arc<AtomicBool>,
    frames: StoreFrames,
    hold: Hold,
    _slot: OwnedSemaphorePermit,
}

impl Writing {
    fn run(self, mut out: PipeWriter) {
        let options = ExportOptions {
            from: self.from,
            cancel: Some(&self.cancel),
            ..ExportOptions::default()
        };
        let plan = ExportPlan::new(&self.disk.manifest, self.disk.format);
        let written = plan.and_then(|plan| plan.write(&self.frames, &mut out, &options));
        // All is read. Whoever gets the last piece finds nothing held any more.
        Handle::current().block_on(self.hold.end());
        match written {
            Ok(done) => {
                if done.sha256.is_some()
                    && let Err(error) = Handle::current().block_on(self.inner.keep_sum(&self.disk, &done))
                {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::warn!(error, "the digest of a file was not kept");
                }
                // Nobody listens any more: then nobody needs the rest.
                out.finish().ok();
            }
            // Only a part of the file was wanted.
            Err(ExportError::Write { .. }) if out.is_full() => {
                out.finish().ok();
            }
            Err(error) => {
                let gone = matches!(&error, ExportError::Cancelled | ExportError::Write { .. });
                let (image, format) = (&self.disk.image, self.disk.format.name());
                if gone {
                    tracing::info!(image, format, "whoever read an image went away");
                } else {
                    let chain = crate::api::rest::problem::chain(&error);
                    tracing::error!(
                        image,
                        format,
                        error = chain,
                        "an image could not be read to its end"
                    );
                }
                out.fail(&error);
            }
        }
    }
}
