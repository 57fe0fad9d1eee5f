//! An object of a bucket, written in parts: whole in the end, or not there at all.

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path as Key};
use tokio_util::sync::CancellationToken;

use super::{Destination, ExportFault, ObjectKey, pipe::PipeReader};
use crate::store::{BucketFault, open_bucket};

/// Parts that are on their way at the same time.
const PARTS_AT_ONCE: usize = 4;
const MIN_PART_BYTES: u64 = 16 << 20;
/// S3 takes 10,000 parts; a file whose length is not known may be a little longer than its disk.
const MAX_PARTS: u64 = 9000;

/// A bucket that was opened for writing.
pub(super) struct Bucket {
    pub(super) objects: Box<dyn ObjectStore>,
    place: String,
}

impl Bucket {
    pub(super) fn open(destination: &Destination) -> Result<Self, ExportFault> {
        Ok(Self {
            objects: Box::new(open_bucket(&destination.bucket)?),
            place: destination.bucket.url.to_string(),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn failed(&self, what: &'static str, key: &Key, error: &object_store::Error) -> ExportFault {
        ExportFault::Bucket {
            what,
            key: key.to_string(),
            place: self.place.clone(),
            fault: BucketFault::of(error),
        }
    }

    /// Refuses a key that is taken.
    pub(super) async fn require_free(&self, key: &ObjectKey) -> Result<(), ExportFault> {
        match self.objects.head(&key.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Ok(_) => Err(ExportFault::Exists {
                place: self.place.clone(),
                key: key.to_string(),
            }),
            Err(error) => Err(self.failed("look for", &key.path(), &error)),
        }
    }

    /// Writes what comes out of the pipe. `Ok(false)`: the pipe said that it is not the whole, or `cancel` was; then
    /// nothing of it is left.
    pub(super) async fn write(
        &self,
        key: &ObjectKey,
        most_bytes: u64,
        pieces: &mut PipeReader,
        cancel: &CancellationToken,
    ) -> Result<bool, ExportFault> {
        let path = key.path();
        let failed = |error| self.failed("write", &path, &error);
        let upload = self.objects.put_multipart(&path).await.map_err(failed)?;
        let part_bytes = (most_bytes / MAX_PARTS).max(MIN_PART_BYTES);
        let part_bytes = usize::try_from(part_bytes).expect("the largest disk has parts of some GiB");
        let mut parts = WriteMultipart::new_with_chunk_size(upload, part_bytes);
        let sent = send(&mut parts, pieces, cancel).await;
        if let Ok(true) = sent {
            return parts.finish().await.map(|_| true).map_err(failed);
        }
        // An upload that can't be taken back is removed by the bucket's own rules; it is no object.
        if let Err(error) = parts.abort().await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(place = self.place, key = %path, error, "parts of a broken upload may be left in the bucket");
        }
        sent.map_err(failed)
    }

    /// Writes a small object.
    pub(super) async fn put(&self, key: &ObjectKey, content: String) -> Result<(), ExportFault> {
        let path = key.path();
        let content = PutPayload::from(Bytes::from(content));
        let done = self.objects.put(&path, content).await;
        done.map(drop)
            .map_err(|error| self.failed("write", &path, &error))
    }

    /// The length of an object.
    pub(super) async fn size(&self, key: &ObjectKey) -> Result<u64, ExportFault> {
        let path = key.path();
        let meta = self.objects.head(&path).await;
        meta.map(|meta| meta.size)
            .map_err(|error| self.failed("look at", &path, &error))
    }

    /// Removes objects of an export that did not come to its end.
    pub(super) async fn remove(&self, keys: &[&ObjectKey]) {
        for key in keys {
            if let Err(error) = self.objects.delete(&key.path()).await
                && !matches!(error, object_store::Error::NotFound { .. })
            {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(place = self.place, %key, error, "an object of a failed export is left in the bucket");
            }
        }
    }
}

async fn send(
    parts: &mut WriteMultipart,
    pieces: &mut PipeReader,
    cancel: &CancellationToken,
) -> Result<bool, object_store::Error> {
    loop {
        let piece = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(false),
            piece = pieces.recv() => piece,
        };
        match piece {
            None => return Ok(true),
            Some(Err(_)) => return Ok(false),
            Some(Ok(piece)) => {
                parts.wait_for_capacity(PARTS_AT_ONCE).await?;
                parts.put(piece);
            }
        }
    }
}
