//! Objects of a bucket, read: what an import takes from where exports go.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use object_store::ObjectStoreExt;

use super::{Destination, ExportFault, Exports, ObjectKey, bucket::Bucket};

/// An object of a bucket that the configuration names.
#[derive(Debug, Clone)]
pub struct BucketFile {
    destination: Destination,
    key: ObjectKey,
}

impl Exports {
    /// The object that an export of the project with this destination and key makes. Nothing is asked yet.
    pub fn file(&self, project_id: &str, destination: &str, key: &str) -> Result<BucketFile, ExportFault> {
        let destination = self.destination(project_id, destination)?;
        Ok(BucketFile {
            destination: destination.clone(),
            key: ObjectKey::parse(key)?.of_project(destination, project_id),
        })
    }
}

impl BucketFile {
    /// Its length in bytes, and its bytes in order. A connection that breaks is taken up where it was, by the same
    /// version of the object or not at all.
    pub async fn open(
        self,
    ) -> Result<
        (
            u64,
            impl Stream<Item = Result<Bytes, ExportFault>> + Send + 'static,
        ),
        ExportFault,
    > {
        let bucket = Bucket::open(&self.destination)?;
        let path = self.key.path();
        let found = bucket.objects.get(&path).await;
        let found = found.map_err(|error| bucket.failed("read", &path, &error))?;
        let length = found.meta.size;
        let pieces = found.into_stream();
        Ok((
            length,
            pieces.map_err(move |error| bucket.failed("read", &path, &error)),
        ))
    }
}
