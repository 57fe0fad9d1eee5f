//! `rewrap-keys`: a new key wraps all data keys, and the older ones are gone. The images stay as they are.
//!
//! The new key is in its file before the first data key is wrapped with it, and the older ones leave the file after the
//! last one. So whatever ends this in the middle, every data key opens, and the next run completes it.

use std::{path::Path, sync::Arc};

use sqlx::SqlitePool;

use super::{ImageKeyError, ImageKeys, KeyWrapper, LocalWrapper, WrappedKey};
use crate::{db, identity::IdentityError, webhooks};

/// Data keys could not be wrapped anew. All of them open as before.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// The file of the keys.
    #[error(transparent)]
    File(#[from] IdentityError),
    /// A data key cannot be unwrapped, so its image is lost already; the older keys are kept.
    #[error(
        "the data key of manifest {manifest} cannot be wrapped anew; delete its image, or restore the data folder from a backup"
    )]
    Key {
        /// The manifest.
        manifest: String,
        /// Why.
        #[source]
        source: ImageKeyError,
    },
    /// The secret of a webhook cannot be unwrapped; the older keys are kept.
    #[error(
        "the secret of webhook {webhook} cannot be wrapped anew; delete it, or restore the data folder from a backup"
    )]
    Webhook {
        /// The webhook.
        webhook: String,
        /// Why.
        #[source]
        source: ImageKeyError,
    },
    /// The same for the password of a BMC.
    #[error(
        "the key of the password of node {node_id}'s BMC cannot be wrapped anew; forget the BMC (imprint node set-bmc --none), or restore the data folder from a backup"
    )]
    BmcKey {
        /// The node.
        node_id: String,
        /// Why.
        #[source]
        source: ImageKeyError,
    },
    /// The database did not answer.
    #[error("cannot replace the wrapped keys in the database")]
    Database(#[from] sqlx::Error),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// What wraps all data keys now.
    pub by: String,
    /// How many there are.
    pub keys: u64,
}

/// Makes a new key in the data folder and wraps all data keys with it. Nobody else may work on the folder meanwhile.
pub async fn rewrap(db: &SqlitePool, data_dir: &Path) -> Result<Rewrapped, RewrapError> {
    let mut local = LocalWrapper::obtain(data_dir)?;
    local.renew()?;
    let by = local.id();
    let shared: Arc<dyn KeyWrapper> = Arc::new(local);
    let keys = ImageKeys::new(db.clone(), [shared]);
    let all: Vec<(String, Vec<u8>, String)> = sqlx::query_as(
        "SELECT manifest, wrapped_key, wrapped_by FROM manifests WHERE wrapped_by IS NOT NULL AND wrapped_by <> ?",
    )
    .bind(&by)
    .fetch_all(db)
    .await?;
    let hooks: Vec<(String, Vec<u8>, String)> =
        sqlx::query_as("SELECT id, secret, secret_by FROM webhooks WHERE secret_by <> ?")
            .bind(&by)
            .fetch_all(db)
            .await?;
    let of_bmcs: Vec<(String, Vec<u8>, String)> = sqlx::query_as(
        "SELECT node_id, wrapped_key, wrapped_by FROM bmcs WHERE wrapped_by IS NOT NULL AND wrapped_by <> ?",
    )
    .bind(&by)
    .fetch_all(db)
    .await?;
    let count = (all.len() + hooks.len() + of_bmcs.len()) as u64;
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    for (manifest, bytes, older) in all {
        let wrapped = anew(&keys, &manifest, WrappedKey { bytes, by: older }).await;
        let wrapped = wrapped.map_err(|source| RewrapError::Key {
            manifest: manifest.clone(),
            source,
        })?;
        sqlx::query("UPDATE manifests SET wrapped_key = ?, wrapped_by = ? WHERE manifest = ?")
            .bind(wrapped.bytes)
            .bind(wrapped.by)
            .bind(manifest)
            .execute(&mut *tx)
            .await?;
    }
    for (id, bytes, older) in hooks {
        let context = webhooks::context(&id);
        let failed = |source| RewrapError::Webhook {
            webhook: id.clone(),
            source,
        };
        let secret = keys.unwrap_for(&bytes, &older, &context).await.map_err(failed)?;
        let wrapped = keys.wrap_for(&secret, &context).await.map_err(failed)?;
        sqlx::query("UPDATE webhooks SET secret = ?, secret_by = ? WHERE id = ?")
            .bind(wrapped.bytes)
            .bind(wrapped.by)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
    }
    for (node_id, bytes, older) in of_bmcs {
        let wrapped = bmc_anew(&keys, &node_id, &WrappedKey { bytes, by: older }).await;
        let wrapped = wrapped.map_err(|source| RewrapError::BmcKey {
            node_id: node_id.clone(),
            source,
        })?;
        sqlx::query("UPDATE bmcs SET wrapped_key = ?, wrapped_by = ? WHERE node_id = ?")
            .bind(wrapped.bytes)
            .bind(wrapped.by)
            .bind(node_id)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    LocalWrapper::obtain(data_dir)?.forget_older()?;
    // Nobody has an older key any more; what they have wrapped need not stay either.
    if !db::empty_log(db).await? {
        tracing::warn!("the database's log could not be emptied; the next start of the controller does it");
    }
    Ok(Rewrapped { by, keys: count })
}

async fn anew(keys: &ImageKeys, manifest: &str, older: WrappedKey) -> Result<WrappedKey, ImageKeyError> {
    let key = keys.unwrap_key(manifest, &older).await?;
    keys.wrap(&key, manifest).await
}

async fn bmc_anew(keys: &ImageKeys, node_id: &str, older: &WrappedKey) -> Result<WrappedKey, ImageKeyError> {
    let key = keys.unwrap_bmc_key(older, node_id).await?;
    keys.wrap_bmc_key(&key, node_id).await
}
