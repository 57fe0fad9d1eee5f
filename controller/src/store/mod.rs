//! Where manifests and packs are kept: `manifests/<key>` and `packs/<digest>`, in a local folder or in a bucket of an S3
//! service.
//!
//! Packs are named by their content, so writing one twice is harmless, and nothing in the store ever changes. Objects
//! appear whole: in a folder they are written beside their place, synced, then moved.
//!
//! Whoever writes an object notes it in the database first and holds [`Store::writing`] meanwhile; whoever removes what
//! nobody needs looks a last time and removes it under [`Store::removing`]. So an object that is written again in the
//! moment in which its last image goes is either noted before the look, or written after the removal.

mod bucket;
mod credentials;
mod error;
mod fault;
mod folder;
mod object;
#[cfg(test)]
mod s3_tests;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

pub use bucket::{configured as open_bucket, connect as connect_bucket};
pub use credentials::Credentials;
pub use error::{StoreError, is_full};
pub use fault::{BucketFault, FaultKind};
pub use object::{StoreObject, StoredObject};

use crate::config::StoreConfig;

/// What one read takes from the disk: long enough that a request for a pack is a few reads and a few big writes to the
/// socket, short enough that a thousand slow readers fit into memory.
const READ_BYTES: u64 = 512 << 10;

/// The artifact store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    place: Arc<Place>,
    sweeping: Arc<RwLock<()>>,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Bucket(String),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place).finish()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(url) => f.write_str(url),
        }
    }
}

impl Store {
    /// Makes the folder of the store.
    pub fn create(data_dir: &Path) -> Result<(), StoreError> {
        folder::create(data_dir)
    }

    /// Opens the store that the configuration names and tries that it can be used. `owners` are the names of this
    /// controller, the one it uses first: a bucket that is another one's is refused.
    pub async fn open(data_dir: &Path, config: &StoreConfig, owners: &[String]) -> Result<Self, StoreError> {
        let Some(bucket) = &config.bucket else {
            return Self::open_folder(data_dir);
        };
        let place = bucket.url.to_string();
        let objects = bucket::configured(bucket)?;
        bucket::check(&objects, &place, owners).await?;
        tracing::info!(store = place, "the artifact store can be used");
        Ok(Self::over(Arc::new(objects), Place::Bucket(place)))
    }

    /// Opens the folder of the data folder, tries that it can be written to, and removes what a crash left half written.
    pub fn open_folder(data_dir: &Path) -> Result<Self, StoreError> {
        let path = folder::path(data_dir);
        let objects = folder::open(&path)?;
        Ok(Self::over(Arc::new(objects), Place::Folder(path)))
    }

    fn over(objects: Arc<dyn ObjectStore>, place: Place) -> Self {
        Self {
            objects,
            place: Arc::new(place),
            sweeping: Arc::default(),
        }
    }

    /// The folder or the bucket, for operators.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Held while an object is noted in the database and written: meanwhile nothing is removed.
    pub async fn writing(&self) -> OwnedRwLockReadGuard<()> {
        self.sweeping.clone().read_owned().await
    }

    /// Held while it is looked whether an object is needed and while it is removed: meanwhile nothing is written.
    pub async fn removing(&self) -> OwnedRwLockWriteGuard<()> {
        self.sweeping.clone().write_owned().await
    }

    /// Writes an object. It is kept for good when this returns.
    pub async fn put(&self, object: &StoreObject, content: Bytes) -> Result<(), StoreError> {
        let len = content.len() as u64;
        self.objects
            .put(&object.path(), content.into())
            .await
            .map(drop)
            .map_err(|e| self.failed("write", object, len, e))
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, object: &StoreObject) -> Result<(), StoreError> {
        match self.objects.delete(&object.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("remove", object, 0, e)),
        }
    }

    /// The length of an object.
    pub async fn size(&self, object: &StoreObject) -> Result<u64, StoreError> {
        self.objects
            .head(&object.path())
            .await
            .map(|m| m.size)
            .map_err(|e| self.failed("read", object, 0, e))
    }

    /// A whole object, which must not be longer than `limit`.
    pub async fn get(&self, object: &StoreObject, limit: u64) -> Result<Bytes, StoreError> {
        let failed = |e| self.failed("read", object, 0, e);
        let found = self.objects.get(&object.path()).await.map_err(failed)?;
        let bytes = found.meta.size;
        if bytes > limit {
            let key = object.key();
            return Err(StoreError::TooLong { key, bytes, limit });
        }
        found.bytes().await.map_err(failed)
    }

    /// A part of an object, in pieces. The range must lie within the object.
    ///
    /// Of a folder the next piece is read while the last one is sent; a bucket gets one request for all of it.
    pub fn stream(
        &self,
        object: StoreObject,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        match *self.place {
            Place::Folder(_) => self.read_pieces(object, range).boxed(),
            Place::Bucket(_) => self.read_at_once(object, range).boxed(),
        }
    }

    fn read_pieces(
        &self,
        object: StoreObject,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let store = self.clone();
        let starts = (range.start..range.end).step_by(usize::try_from(READ_BYTES).expect("half a MiB fits"));
        let reads = starts.map(move |start| {
            let (store, end) = (store.clone(), range.end.min(start + READ_BYTES));
            async move {
                let read = store.objects.get_range(&object.path(), start..end).await;
                read.map_err(|e| store.failed("read", &object, 0, e))
            }
        });
        stream::iter(reads).buffered(2)
    }

    fn read_at_once(
        &self,
        object: StoreObject,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let (store, mended) = (self.clone(), self.clone());
        let pieces = async move {
            if range.is_empty() {
                return Ok::<_, object_store::Error>(stream::empty().boxed());
            }
            let options = GetOptions {
                range: Some(range.into()),
                ..GetOptions::default()
            };
            let found = store.objects.get_opts(&object.path(), options).await?;
            Ok(found.into_stream())
        };
        stream::once(pieces)
            .try_flatten()
            .map_err(move |e| mended.failed("read", &object, 0, e))
    }

    /// All objects, in no order. What is not named as an object is left out.
    pub fn list(&self) -> impl Stream<Item = Result<StoredObject, StoreError>> + Send + use<> {
        let store = self.clone();
        let all = stream::iter(["manifests", "packs"]).flat_map({
            let store = self.clone();
            move |part| store.objects.list(Some(&part.into()))
        });
        all.filter_map(move |found| {
            let found = match found {
                Ok(meta) => StoreObject::from_key(meta.location.as_ref()).map(|object| {
                    Ok(StoredObject {
                        object,
                        bytes: meta.size,
                        written_at_ms: meta.last_modified.timestamp_millis(),
                    })
                }),
                Err(e) => Some(Err(store.unlisted(e))),
            };
            futures::future::ready(found)
        })
    }

    /// Refuses when less than `needed` bytes and a reserve are free. A bucket has no end.
    pub fn require_space(&self, needed: u64) -> Result<(), StoreError> {
        match &*self.place {
            Place::Folder(path) => folder::require_space(path, needed),
            Place::Bucket(_) => Ok(()),
        }
    }

    /// What is free on the disk; `None` where nobody can tell.
    pub fn free_bytes(&self) -> Option<u64> {
        match &*self.place {
            Place::Folder(path) => folder::free_bytes(path).ok(),
            Place::Bucket(_) => None,
        }
    }

    fn unlisted(&self, source: object_store::Error) -> StoreError {
        self.broken("list", "objects".to_owned(), source)
    }

    fn failed(
        &self,
        what: &'static str,
        object: &StoreObject,
        len: u64,
        source: object_store::Error,
    ) -> StoreError {
        let missing = matches!(source, object_store::Error::NotFound { .. }) && what != "write";
        if missing && !source.to_string().contains("NoSuchBucket") {
            return StoreError::Missing { key: object.key() };
        }
        crate::metrics::store_error();
        if is_full(&source) {
            return StoreError::NoSpace {
                needed: len,
                free: self.free_bytes().unwrap_or(0),
            };
        }
        self.broken(what, object.key(), source)
    }

    fn broken(&self, what: &'static str, key: String, source: object_store::Error) -> StoreError {
        match &*self.place {
            Place::Folder(_) => StoreError::Failed { what, key, source },
            Place::Bucket(place) => StoreError::Bucket {
                what,
                key,
                place: place.clone(),
                fault: BucketFault::of(&source),
            },
        }
    }
}
