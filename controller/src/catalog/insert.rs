//! A finished import becomes an image, which is listed whole or not at all.
//!
//! A large image has a million chunks. They are entered first, a few at a time, so that others can write in between;
//! they mean nothing before the last transaction enters the packs and the image.

use std::time::{Duration, Instant};

use imprint_image::Manifest;
use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{Catalog, CatalogError, Image};
use crate::clock::timestamp_from_ms;

/// Rows of one transaction.
const CHUNKS_AT_ONCE: usize = 1000;

/// What an import made.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// Its name, checked.
    pub name: &'a str,
    /// The manifest, as signed.
    pub manifest: &'a Manifest,
    /// BLAKE3 of the manifest as stored, hex.
    pub manifest_digest: String,
    /// Whether the store got this manifest and its packs. Otherwise an image with the same content had them before,
    /// and they stay as they are.
    pub fresh: bool,
    /// What was imported.
    pub source_format: &'a str,
    /// When.
    pub created_at_ms: i64,
    /// Of the request.
    pub idempotency_key: Option<&'a str>,
    /// Whose objects are no longer pending.
    pub import_id: &'a str,
}

impl Catalog {
    /// Enters an image, its packs and its chunks.
    pub async fn insert(&self, new: &NewImage<'_>) -> Result<Image, CatalogError> {
        let image = describe(new);
        if new.fresh {
            self.insert_chunks(new.manifest).await?;
        }
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        insert_image(&mut tx, &image, new.idempotency_key).await?;
        if new.fresh {
            insert_packs(&mut tx, &image.image_digest, new.manifest).await?;
            sqlx::query("DELETE FROM pending_objects WHERE import_id = ?")
                .bind(new.import_id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(image)
    }

    /// Enters where chunks lie. One that is known already stays where it is, both places are right, unless no image
    /// has its pack: that was left by an import which was interrupted.
    async fn insert_chunks(&self, manifest: &Manifest) -> Result<(), CatalogError> {
        for chunks in manifest.chunks.chunks(CHUNKS_AT_ONCE) {
            let begun = Instant::now();
            let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
            for chunk in chunks {
                let pack = &manifest.packs[chunk.pack as usize];
                sqlx::query(
                    "INSERT INTO chunks (plain, frame, pack, pack_bytes, frame_at, frame_bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (plain) DO UPDATE SET frame = ?2, pack = ?3, pack_bytes = ?4, frame_at = ?5, frame_bytes = ?6
                         WHERE NOT EXISTS (SELECT 1 FROM image_packs WHERE image_packs.pack = chunks.pack)",
                )
                .bind(chunk.plain.as_bytes().as_slice())
                .bind(chunk.frame.as_bytes().as_slice())
                .bind(pack.digest.to_string())
                .bind(whole(pack.size_bytes))
                .bind(whole(chunk.offset))
                .bind(chunk.frame_bytes)
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
                "DELETE FROM chunks WHERE plain IN (SELECT plain FROM chunks WHERE NOT EXISTS
                     (SELECT 1 FROM image_packs WHERE image_packs.pack = chunks.pack) LIMIT ?)",
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

fn describe(new: &NewImage<'_>) -> Image {
    let manifest = new.manifest;
    Image {
        id: Ulid::generate().to_string(),
        name: new.name.to_owned(),
        image_digest: manifest.image_digest.to_string(),
        manifest_digest: new.manifest_digest.clone(),
        disk_size_bytes: manifest.disk_size_bytes,
        data_bytes: manifest.data_bytes(),
        stored_bytes: manifest.fetch_bytes(),
        logical_sector_bytes: manifest.logical_sector_bytes,
        source_format: new.source_format.to_owned(),
        created_at: timestamp_from_ms(new.created_at_ms),
    }
}

async fn insert_image(
    tx: &mut SqliteConnection,
    image: &Image,
    key: Option<&str>,
) -> Result<(), CatalogError> {
    let done = sqlx::query(
        "INSERT INTO images (id, name, image_digest, manifest_digest, disk_size_bytes, data_bytes, stored_bytes,
             logical_sector_bytes, source_format, created_at, idempotency_key)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&image.id)
    .bind(&image.name)
    .bind(&image.image_digest)
    .bind(&image.manifest_digest)
    .bind(whole(image.disk_size_bytes))
    .bind(whole(image.data_bytes))
    .bind(whole(image.stored_bytes))
    .bind(image.logical_sector_bytes)
    .bind(&image.source_format)
    .bind(image.created_at.as_millisecond())
    .bind(key)
    .execute(tx)
    .await;
    match done {
        Err(error) if error.as_database_error().is_some_and(|e| e.is_unique_violation()) => {
            Err(CatalogError::NameTaken {
                name: image.name.clone(),
            })
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

async fn insert_packs(
    tx: &mut SqliteConnection,
    image_digest: &str,
    manifest: &Manifest,
) -> Result<(), CatalogError> {
    for pack in &manifest.packs {
        sqlx::query("INSERT INTO image_packs (image_digest, pack) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(image_digest)
            .bind(pack.digest.to_string())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Sizes are bounded by the manifest, far below what SQLite's integers hold.
fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
