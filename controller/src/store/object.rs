//! Names of objects.

use imprint_image::Digest;
use object_store::path::Path as Key;

/// One object of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreObject {
    /// The signed manifest with this key.
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

    pub(super) fn path(&self) -> Key {
        Key::from(self.key())
    }
}

/// An object that the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredObject {
    /// Which.
    pub object: StoreObject,
    /// Its length.
    pub bytes: u64,
    /// When it was written, unix ms.
    pub written_at_ms: i64,
}
