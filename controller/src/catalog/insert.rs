//! Where the chunks and packs of a finished disk lie.
//!
//! A large image has a million chunks. They are entered first, a few at a time, so that others can write in between;
//! they mean nothing before the last transaction enters the packs and the image.

use std::time::{Duration, Instant};

use imprint_image::Manifest;
use sqlx::SqliteConnection;

use super::{Catalog, CatalogError};

/// Rows of one transaction.
const CHUNKS_AT_ONCE: usize = 1000;

impl Catalog {
    /// Enters where chunks of a project lie. One that is known already stays where it is, both places are right, unless
    /// no manifest has its pack: that was left by an import which was interrupted.
    pub(super) async fn insert_chunks(
        &self,
        project_id: &str,
        manifest: &Manifest,
    ) -> Result<(), CatalogError> {
        for chunks in manifest.chunks.chunks(CHUNKS_AT_ONCE) {
            let begun = Instant::now();
            let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
            for chunk in chunks {
                let pack = &manifest.packs[chunk.pack as usize];
                sqlx::query(
                    "INSERT INTO chunks (plain, frame, pack, pack_bytes, frame_at, frame_bytes, project_id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (plain, project_id) DO UPDATE
                         SET frame = ?2, pack = ?3, pack_bytes = ?4, frame_at = ?5, frame_bytes = ?6
                         WHERE NOT EXISTS (SELECT 1 FROM manifest_packs WHERE manifest_packs.pack = chunks.pack)",
                )
                .bind(chunk.plain.as_bytes().as_slice())
                .bind(chunk.frame.as_bytes().as_slice())
                .bind(pack.digest.to_string())
                .bind(whole(pack.size_bytes))
                .bind(whole(chunk.offset))
                .bind(chunk.frame_bytes)
                .bind(project_id)
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
            give_way(begun.elapsed()).await;
        }
        Ok(())
    }

    /// Removes what interrupted imports have entered of their chunks.
    pub(crate) async fn forget_chunks_without_pack(&self) -> Result<u64, CatalogError> {
        let mut removed = 0;
        loop {
            let begun = Instant::now();
            let done = sqlx::query(
                "DELETE FROM chunks WHERE (plain, project_id) IN (SELECT plain, project_id FROM chunks WHERE NOT EXISTS
                     (SELECT 1 FROM manifest_packs WHERE manifest_packs.pack = chunks.pack) LIMIT ?)",
            )
            .bind(CHUNKS_AT_ONCE as i64)
            .execute(&self.db)
            .await?
            .rows_affected();
            removed += done;
            if done < CHUNKS_AT_ONCE as u64 {
                return Ok(removed);
            }
            give_way(begun.elapsed()).await;
        }
    }
}

/// Leaves the write lock to others for as long as it was held.
async fn give_way(held: Duration) {
    tokio::time::sleep(held.clamp(Duration::from_millis(1), Duration::from_millis(50))).await;
}

pub(super) async fn insert_packs(
    connection: &mut SqliteConnection,
    key: &str,
    manifest: &Manifest,
) -> Result<(), sqlx::Error> {
    for pack in &manifest.packs {
        sqlx::query(
            "INSERT INTO manifest_packs (manifest, pack, bytes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(key)
        .bind(pack.digest.to_string())
        .bind(whole(pack.size_bytes))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Sizes are bounded by the manifest, far below what SQLite's integers hold.
pub(super) fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
