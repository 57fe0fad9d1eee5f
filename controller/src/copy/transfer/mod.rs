//! The receiving side: an image comes from another region, in parts.
//!
//! ```text
//! begin --> manifest of each disk (signature, identity) --> what is missing --> packs (each frame proven) --> complete
//! ```
//!
//! Only chunks that the project may use anyway count as known, so nobody learns from a transfer what others have.
//! Every part is kept in the database and in the store when its request is answered; after a break the sender asks what
//! is missing and goes on. In the end our own manifest is made of what is there: it must have the identity that was
//! announced, and it is signed with our own key. Nothing of the transfer is an image before that. What the content tells is
//! read here once more: facts, lint report and software are not taken on trust.
//!
//! The part of the project's quota is reserved under the transfer's id, the image when it begins, its bytes when the
//! manifests tell them, before anything is stored; it is given back when the transfer ends, in whatever way.

mod begin;
mod complete;
mod disks;
mod packs;
mod sweep;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use imprint_image::{Digest, Manifest, write::KnownChunk};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

pub use begin::{BeginTransfer, Transfer, TransferDisk};

use super::CopyFault;
use crate::{
    catalog::Catalog,
    clock::Clock,
    config::{Config, RegionConfig},
    events::EventLog,
    identity::{Authority, Viewer},
    store::Store,
};

/// Takes images from other regions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transfers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: SqlitePool,
    catalog: Catalog,
    store: Store,
    authority: Authority,
    events: EventLog,
    clock: Clock,
    regions: Vec<RegionConfig>,
    /// How long the facts of an image may be looked for.
    facts_limit: Duration,
    /// What the manifests of a transfer name, so that they are not decoded for each pack.
    named: Mutex<HashMap<String, Arc<Named>>>,
}

/// The chunks that the manifests of a transfer name: the digest of the frame that the sender has, by that of the plain
/// bytes, and their length.
type Named = HashMap<Digest, (Digest, u32)>;

/// A row of `transfers`.
#[derive(Debug, Clone)]
struct Record {
    id: String,
    project_id: String,
    created_by: String,
    source_region: String,
    source_image: String,
    request: BeginTransfer,
}

impl Transfers {
    /// Over store and catalogue.
    #[must_use]
    pub fn new(
        db: SqlitePool,
        catalog: Catalog,
        store: Store,
        authority: Authority,
        events: EventLog,
        clock: Clock,
        config: &Config,
    ) -> Self {
        Self(Arc::new(Inner {
            db,
            catalog,
            store,
            authority,
            events,
            clock,
            regions: config.regions.clone(),
            facts_limit: Duration::from_secs(config.ingest.facts_seconds),
            named: Mutex::default(),
        }))
    }
}

impl Inner {
    /// The transfer, if it is one of the viewer's.
    async fn find(&self, viewer: &Viewer, id: &str) -> Result<Record, CopyFault> {
        let project = match viewer {
            Viewer::All => None,
            Viewer::Project(project) => Some(project.as_str()),
        };
        let row = sqlx::query("SELECT * FROM transfers WHERE id = ?1 AND (?2 IS NULL OR project_id = ?2)")
            .bind(id)
            .bind(project)
            .fetch_optional(&self.db)
            .await?;
        let row = row.ok_or_else(|| CopyFault::NoTransfer {
            id: id.chars().take(64).collect(),
        })?;
        Ok(record(&row)?)
    }

    /// The manifest of a disk that came before; proven then, and in our database since.
    async fn manifest(&self, id: &str, position: i64) -> Result<Option<Manifest>, CopyFault> {
        let bytes: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT manifest FROM transfer_disks WHERE transfer_id = ? AND position = ?")
                .bind(id)
                .bind(position)
                .fetch_optional(&self.db)
                .await?;
        bytes
            .map(|bytes| imprint_image::SignedManifest::open_unverified(&bytes))
            .transpose()
            .map_err(CopyFault::Manifest)
    }

    /// Where the chunks of a transfer lie that are there.
    async fn places(&self, id: &str) -> Result<HashMap<Digest, KnownChunk>, CopyFault> {
        let rows = sqlx::query("SELECT * FROM transfer_chunks WHERE transfer_id = ?")
            .bind(id)
            .fetch_all(&self.db)
            .await?;
        Ok(rows.iter().map(place).collect::<Result<_, _>>()?)
    }

    async fn touch(&self, id: &str) -> Result<(), CopyFault> {
        sqlx::query("UPDATE transfers SET touched_at = ? WHERE id = ?")
            .bind(self.clock.now_ms())
            .bind(id)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    fn forget_named(&self, id: &str) {
        self.named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

fn record(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let request: String = row.try_get("request")?;
    Ok(Record {
        id: row.try_get("id")?,
        project_id: row.try_get("project_id")?,
        created_by: row.try_get("created_by")?,
        source_region: row.try_get("source_region")?,
        source_image: row.try_get("source_image")?,
        request: serde_json::from_str(&request).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    })
}

fn place(row: &SqliteRow) -> Result<(Digest, KnownChunk), sqlx::Error> {
    let digest = |name: &str| -> Result<Digest, sqlx::Error> {
        let bytes: Vec<u8> = row.try_get(name)?;
        Digest::try_from(&bytes[..]).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    let size = |name: &str| row.try_get::<i64, _>(name).map(|n| u64::try_from(n).unwrap_or(0));
    let pack: String = row.try_get("pack")?;
    Ok((
        digest("plain")?,
        KnownChunk {
            pack: pack
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            pack_bytes: size("pack_bytes")?,
            offset: size("frame_at")?,
            frame: digest("frame")?,
            frame_bytes: row.try_get("frame_bytes")?,
        },
    ))
}
