//! Where manifests and packs are kept: `manifests/<image digest>` and `packs/<pack digest>`, in a local folder.
//!
//! Packs are named by their content, so writing one twice is harmless, and nothing in the store ever changes. Objects
//! appear whole (written beside their place, synced, then moved).

use std::{
    error::Error,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use imprint_image::Digest;
use object_store::{ObjectStoreExt, local::LocalFileSystem, path::Path as Key};

const FOLDER: &str = "store";
/// What one read takes from the disk: long enough that a request for a pack is a few reads and a few big writes to the
/// socket, short enough that a thousand slow readers fit into memory.
const READ_BYTES: u64 = 512 << 10;
/// Kept free, so that the database and the log can still be written when images have filled the disk.
const RESERVE_BYTES: u64 = 128 << 20;

/// What the store cannot do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is not there or cannot be used.
    #[error("the artifact store {} cannot be reached; check that its disk is mounted and that this user may write to it", path.display())]
    Unreachable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such object.
    #[error("the store has no object {key}")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The disk is full.
    #[error("the disk of the artifact store is full: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// What was to be written, with the reserve.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// Reading or writing failed.
    #[error("cannot {what} {key} in the artifact store")]
    Failed {
        /// "read", "write", …
        what: &'static str,
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

/// One object of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreObject {
    /// The signed manifest of the image with this digest.
    Manifest(Digest),
    /// The pack with this digest.
    Pack(Digest),
}

impl StoreObject {
    /// "packs/1f…"
    pub fn key(&self) -> String {
        match self {
            Self::Manifest(digest) => format!("manifests/{digest}"),
            Self::Pack(digest) => format!("packs/{digest}"),
        }
    }

    /// The inverse of [`StoreObject::key`].
    pub fn from_key(key: &str) -> Option<Self> {
        match key.split_once('/')? {
            ("manifests", digest) => digest.parse().ok().map(Self::Manifest),
            ("packs", digest) => digest.parse().ok().map(Self::Pack),
            _ => None,
        }
    }

    fn path(&self) -> Key {
        Key::from(self.key())
    }
}

/// The artifact store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<LocalFileSystem>,
    folder: PathBuf,
}

impl Store {
    /// Makes the folder of the store.
    pub fn create(data_dir: &Path) -> Result<(), StoreError> {
        let path = data_dir.join(FOLDER);
        for folder in [&path, &path.join("manifests"), &path.join("packs")] {
            fs::create_dir_all(folder).map_err(|source| StoreError::Unreachable {
                path: folder.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Opens it, tries that it can be written to, and removes what a crash left half written.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let folder = data_dir.join(FOLDER);
        let unreachable = |source| StoreError::Unreachable {
            path: folder.clone(),
            source,
        };
        for part in ["manifests", "packs"] {
            tempfile::tempfile_in(folder.join(part)).map_err(unreachable)?;
            remove_drafts(&folder.join(part)).map_err(unreachable)?;
        }
        let objects =
            LocalFileSystem::new_with_prefix(&folder).map_err(|e| unreachable(io::Error::other(e)))?;
        Ok(Self {
            objects: Arc::new(objects.with_fsync(true)),
            folder,
        })
    }

    /// Writes an object. It is on the disk when this returns.
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

    /// A part of an object, in pieces, the next one being read while the last one is sent. The range must lie within
    /// the object.
    pub fn stream(
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

    /// Refuses when less than `needed` bytes and the reserve are free.
    pub fn require_space(&self, needed: u64) -> Result<(), StoreError> {
        let free = self.free_bytes()?;
        let needed = needed.saturating_add(RESERVE_BYTES);
        if free < needed {
            Err(StoreError::NoSpace { needed, free })
        } else {
            Ok(())
        }
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let stat = nix::sys::statvfs::statvfs(&self.folder).map_err(|e| StoreError::Unreachable {
            path: self.folder.clone(),
            source: e.into(),
        })?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn failed(
        &self,
        what: &'static str,
        object: &StoreObject,
        len: u64,
        source: object_store::Error,
    ) -> StoreError {
        if matches!(source, object_store::Error::NotFound { .. }) && what != "write" {
            return StoreError::Missing { key: object.key() };
        }
        if is_full(&source) {
            return StoreError::NoSpace {
                needed: len,
                free: self.free_bytes().unwrap_or(0),
            };
        }
        StoreError::Failed {
            what,
            key: object.key(),
            source,
        }
    }
}

/// An object is written as `<name>#<number>` before it gets its name.
fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether an error comes down to a full disk.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        }) {
            return true;
        }
        // What `io::Error::other` wraps is its inner error, not its source.
        next = match io.and_then(|e| e.get_ref()) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_come_back_whole_and_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Store::open(dir.path()),
            Err(StoreError::Unreachable { .. })
        ));
        Store::create(dir.path()).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let object = StoreObject::Pack(Digest::of(&content));
        assert!(matches!(
            store.size(&object).await,
            Err(StoreError::Missing { .. })
        ));
        store.put(&object, content.clone().into()).await.unwrap();
        assert_eq!(store.size(&object).await.unwrap(), 3_000_000);
        for range in [0..3_000_000, 5..6, 524_288..1_048_577, 2_999_999..3_000_000] {
            let parts: Vec<_> = store
                .stream(object, range.clone())
                .map(Result::unwrap)
                .collect()
                .await;
            let expected = &content[range.start as usize..range.end as usize];
            assert!(parts.concat() == expected, "{range:?}");
        }
        let draft = dir.path().join("store").join(format!("{}#1", object.key()));
        fs::write(&draft, "half").unwrap();
        drop(Store::open(dir.path()).unwrap());
        assert!(!draft.exists() && store.size(&object).await.is_ok());
        store.delete(&object).await.unwrap();
        store.delete(&object).await.unwrap();
        assert!(matches!(
            store.size(&object).await,
            Err(StoreError::Missing { .. })
        ));
        assert!(matches!(
            store.require_space(u64::MAX),
            Err(StoreError::NoSpace { .. })
        ));
    }

    #[test]
    fn a_full_disk_is_seen_through_wrappers() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let generic = object_store::Error::Generic {
            store: "local",
            source: Box::new(full()),
        };
        assert!(is_full(&full()) && is_full(&generic) && is_full(&io::Error::other(generic)));
        assert!(!is_full(&io::Error::other("no")));
    }
}
