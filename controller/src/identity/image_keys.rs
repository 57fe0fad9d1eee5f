//! The data keys of encrypted images: wrapped in the database, plain in memory for as long as something needs them.
//!
//! A data key is made with its image and wrapped by a [`KeyWrapper`] for the image's manifest alone: a wrapped key that
//! is moved to another manifest does not open. Who can read the database has no key, who has the wrapper's key has no
//! database; who has both, which is the data folder as a whole, has everything.
//!
//! The keys of what is sealed beside images, the passwords of BMCs, are wrapped in the same way, for their node alone.
//!
//! When no image and no running deployment needs a manifest any more, its wrapped key is overwritten
//! ([`ImageKeys::destroy_unused`]): what is left of the image in stores and in their backups can't be read again.

mod error;
mod local;
mod rewrap;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path, sync::Arc};

pub use error::{ImageKeyError, WrapError};
use futures::future::BoxFuture;
use imprint_image::seal::DataKey;
pub use local::LocalWrapper;
pub use rewrap::{RewrapError, Rewrapped, rewrap};
use sqlx::SqlitePool;

use super::IdentityError;

/// Wraps data keys: encrypts them with a key that it holds, or that a key management service holds for it.
///
/// What wrapped a key is noted with it ([`KeyWrapper::id`]), so that a wrapper can change its own key, and another
/// wrapper can take its place, while older keys still open.
pub trait KeyWrapper: fmt::Debug + Send + Sync {
    /// What wraps new keys: the name of the wrapper and, behind a colon, which of its keys. "local:5f3e09c1a2b4d687"
    fn id(&self) -> String;

    /// Whether this wrapper unwraps what `by` has wrapped.
    fn knows(&self, by: &str) -> bool;

    /// Wraps a key, so that it is unwrapped with the same context only.
    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, WrapError>>;

    /// Unwraps what `by` has wrapped.
    fn unwrap_key<'a>(
        &'a self,
        by: &'a str,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, WrapError>>;
}

/// A data key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The wrapped key.
    pub bytes: Vec<u8>,
    /// What wrapped it.
    pub by: String,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(by {})", self.by)
    }
}

/// Of `manifests AS m`: those with a key that nobody needs.
macro_rules! needless {
    () => {
        "WHERE m.wrapped_by IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                 WHERE d.manifest = m.manifest AND i.state <> 'deleted')
             AND NOT EXISTS (SELECT 1 FROM deployments AS r WHERE r.manifest = m.manifest AND r.state = 'running')"
    };
}

/// The data keys of all images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImageKeys {
    db: SqlitePool,
    /// The first one wraps new keys.
    wrappers: Arc<[Arc<dyn KeyWrapper>]>,
}

impl ImageKeys {
    /// Over the database, with the wrapper of the data folder, which is made when it is not there.
    pub fn open_folder(db: SqlitePool, data_dir: &Path) -> Result<Self, IdentityError> {
        let local: Arc<dyn KeyWrapper> = Arc::new(LocalWrapper::obtain(data_dir)?);
        Ok(Self::new(db, [local]))
    }

    /// With wrappers of the caller's choice: the first one wraps new keys, all of them unwrap.
    #[must_use]
    pub fn new(db: SqlitePool, wrappers: impl Into<Arc<[Arc<dyn KeyWrapper>]>>) -> Self {
        Self {
            db,
            wrappers: wrappers.into(),
        }
    }

    /// What wraps new keys.
    fn current(&self) -> Result<&Arc<dyn KeyWrapper>, ImageKeyError> {
        self.wrappers.first().ok_or(ImageKeyError::NoWrapper)
    }

    /// Wraps the key of the image whose manifest has this name in the store.
    pub async fn wrap(&self, key: &DataKey, manifest: &str) -> Result<WrappedKey, ImageKeyError> {
        let (wrapper, context) = (self.current()?, context(manifest));
        let (by, bytes) = (wrapper.id(), wrapper.wrap(key, &context).await?);
        // A key that cannot be had again is an image that cannot be had again: better told now.
        let again = wrapper.unwrap_key(&by, &bytes, &context).await?;
        if again.id() != key.id() || bytes.is_empty() {
            return Err(WrapError::Broken { by }.into());
        }
        Ok(WrappedKey { bytes, by })
    }

    /// Wraps the key of the password of a node's BMC.
    pub(crate) async fn wrap_bmc_key(
        &self,
        key: &DataKey,
        node_id: &str,
    ) -> Result<WrappedKey, ImageKeyError> {
        self.wrap_for(key, &bmc_context(node_id)).await
    }

    /// Unwraps the key of the password of a node's BMC.
    pub(crate) async fn unwrap_bmc_key(
        &self,
        wrapped: &WrappedKey,
        node_id: &str,
    ) -> Result<DataKey, ImageKeyError> {
        self.unwrap_for(&wrapped.bytes, &wrapped.by, &bmc_context(node_id))
            .await
    }

    /// Wraps a secret of another kind, for a context that is no manifest's.
    pub(crate) async fn wrap_for(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, ImageKeyError> {
        let wrapper = self.current()?;
        let (by, bytes) = (wrapper.id(), wrapper.wrap(key, context).await?);
        Ok(WrappedKey { bytes, by })
    }

    /// What [`ImageKeys::wrap_for`] has wrapped.
    pub(crate) async fn unwrap_for(
        &self,
        bytes: &[u8],
        by: &str,
        context: &[u8],
    ) -> Result<DataKey, ImageKeyError> {
        let wrapper = self.wrappers.iter().find(|wrapper| wrapper.knows(by));
        let wrapper = wrapper.ok_or_else(|| WrapError::Unknown { by: by.to_owned() })?;
        Ok(wrapper.unwrap_key(by, bytes, context).await?)
    }

    /// The data key of a manifest; none when it is not encrypted.
    pub async fn open(&self, manifest: &str) -> Result<Option<DataKey>, ImageKeyError> {
        let row: Option<(Option<Vec<u8>>, Option<String>)> =
            sqlx::query_as("SELECT wrapped_key, wrapped_by FROM manifests WHERE manifest = ?")
                .bind(manifest)
                .fetch_optional(&self.db)
                .await?;
        let name = || manifest.to_owned();
        match row.ok_or_else(|| ImageKeyError::Unknown { manifest: name() })? {
            (None, _) => Ok(None),
            (Some(bytes), Some(by)) => {
                let key = self.unwrap_key(manifest, &WrappedKey { bytes, by }).await?;
                Ok(Some(key))
            }
            (Some(_), None) => Err(ImageKeyError::Destroyed { manifest: name() }),
        }
    }

    async fn unwrap_key(&self, manifest: &str, wrapped: &WrappedKey) -> Result<DataKey, ImageKeyError> {
        let WrappedKey { bytes, by } = wrapped;
        let wrapper = self.wrappers.iter().find(|wrapper| wrapper.knows(by));
        let wrapper = wrapper.ok_or_else(|| WrapError::Unknown { by: by.clone() })?;
        Ok(wrapper.unwrap_key(by, bytes, &context(manifest)).await?)
    }

    /// What has wrapped keys and is not here: their images cannot be used.
    pub async fn missing_wrappers(&self) -> Result<Vec<String>, ImageKeyError> {
        let all: Vec<String> = sqlx::query_scalar(
            "SELECT wrapped_by FROM manifests WHERE wrapped_by IS NOT NULL \
             UNION SELECT wrapped_by FROM bmcs WHERE wrapped_by IS NOT NULL",
        )
        .fetch_all(&self.db)
        .await?;
        let is_missing = |by: &String| !self.wrappers.iter().any(|wrapper| wrapper.knows(by));
        Ok(all.into_iter().filter(is_missing).collect())
    }

    /// Destroys the keys of all manifests that no image and no running deployment needs any more; tells how many there
    /// were. The caller has the database's log emptied then, which still holds them.
    pub async fn destroy_unused(&self) -> Result<u64, ImageKeyError> {
        // Mostly there is nothing to do, and the write lock is left to others.
        let query = concat!("SELECT EXISTS (SELECT 1 FROM manifests AS m ", needless!(), ")");
        if !sqlx::query_scalar::<_, bool>(query).fetch_one(&self.db).await? {
            return Ok(0);
        }
        let query = concat!(
            "UPDATE manifests AS m SET wrapped_key = x'', wrapped_by = NULL ",
            needless!()
        );
        Ok(sqlx::query(query).execute(&self.db).await?.rows_affected())
    }
}

/// What a data key is wrapped for.
fn context(manifest: &str) -> Vec<u8> {
    format!("imprint.manifest:{manifest}").into_bytes()
}

fn bmc_context(node_id: &str) -> Vec<u8> {
    format!("imprint.bmc:{node_id}").into_bytes()
}
