//! Files that arrive in pieces, over connections that break.
//!
//! ```text
//! POST /v1/uploads ---> row + empty file in <spool>/uploads
//! PATCH (Upload-Offset) ---> bytes at the end of the file    HEAD tells how far it is
//! POST .../complete ---> an import job takes the file
//! ```
//!
//! How far an upload is, is the length of its file: what was acknowledged is there, also after a restart. One request
//! writes at a time; a newer one takes over from an older one, since a client that asks again has lost its connection,
//! whether the controller has noticed or not. What nobody has added to for a day is removed.

mod error;
mod keep;
mod write;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

pub use error::UploadError;
pub use keep::NewUpload;

use super::FileSpec;
use crate::{catalog::ImageSpec, clock::Clock, config::IngestConfig, store::Store};

/// Name of the folder in the spool.
pub(super) const FOLDER: &str = "uploads";
/// How often is looked for what has expired.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What the image of an upload is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UploadRequest {
    /// What the new image is to be.
    #[serde(flatten)]
    pub spec: ImageSpec,
    /// What is known of the file.
    #[serde(flatten)]
    pub file: FileSpec,
}

/// A file that arrives in pieces.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Upload {
    /// ULID.
    pub id: String,
    /// The project that the image is to belong to.
    pub project_id: String,
    /// How much is there.
    pub offset: u64,
    /// How much it will be; null while nobody has said it.
    pub length: Option<u64>,
    /// What the image is to be.
    pub request: UploadRequest,
    /// Who uploads.
    pub requested_by: String,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is removed, unless more comes before.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// The uploads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uploads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: SqlitePool,
    clock: Clock,
    store: Store,
    folder: PathBuf,
    limits: IngestConfig,
    /// Who writes to which upload.
    writers: Mutex<HashMap<String, Writer>>,
}

#[derive(Debug, Clone)]
struct Writer {
    /// Tells the one that writes now to end.
    stop: CancellationToken,
    /// Held by the one that writes.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Uploads {
    /// In a folder of the spool.
    pub fn new(
        spool: &Path,
        db: SqlitePool,
        clock: Clock,
        store: Store,
        limits: IngestConfig,
    ) -> io::Result<Self> {
        let folder = spool.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Self(Arc::new(Inner {
            db,
            clock,
            store,
            folder,
            limits,
            writers: Mutex::default(),
        })))
    }

    /// Removes what has expired, now and then, until the controller ends.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sweep().await {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "expired uploads were not removed");
            }
        }
    }
}

impl Inner {
    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    fn life(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.limits.upload_expiry_seconds).unwrap_or(i64::MAX))
    }

    fn expiry(&self) -> i64 {
        let life = i64::try_from(self.life().as_millis()).unwrap_or(i64::MAX);
        self.clock.now_ms().saturating_add(life)
    }
}
