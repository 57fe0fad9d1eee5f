//! Known images, and where each chunk of them lies.

mod error;
mod insert;
mod known;
mod names;
mod pending;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

pub use error::CatalogError;
pub use insert::NewImage;
pub use names::{check_name, edit_distance};

use crate::{clock::timestamp_from_ms, store::StoreObject};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// An image that can be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Image {
    /// ULID.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// BLAKE3 over the plain content, hex: the identity of the image.
    pub image_digest: String,
    /// BLAKE3 of the signed manifest, hex.
    #[serde(skip)]
    pub manifest_digest: String,
    /// Size of the disk.
    pub disk_size_bytes: u64,
    /// Bytes of the disk that are not holes.
    pub data_bytes: u64,
    /// Bytes of all frames.
    pub stored_bytes: u64,
    /// Logical sector size that the image was made for.
    pub logical_sector_bytes: u32,
    /// What was imported: "raw", "qcow2", "raw.zst", …
    pub source_format: String,
    /// When it was imported.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A part of the list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePage {
    /// In the order of their import.
    pub items: Vec<Image>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

/// The catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    db: SqlitePool,
}

impl Catalog {
    /// Over the database.
    pub fn new(db: SqlitePool) -> Self {
        Self { db }
    }

    /// One image, by id or name.
    pub async fn find(&self, id_or_name: &str) -> Result<Image, CatalogError> {
        let row = sqlx::query("SELECT * FROM images WHERE id = ?1 OR name = ?1")
            .bind(id_or_name)
            .fetch_optional(&self.db)
            .await?;
        if let Some(row) = row {
            return Ok(from_row(&row)?);
        }
        let known: Vec<String> = sqlx::query_scalar("SELECT name FROM images")
            .fetch_all(&self.db)
            .await?;
        Err(CatalogError::NotFound {
            any: !known.is_empty(),
            near: names::near(id_or_name, known),
            wanted: id_or_name.to_owned(),
        })
    }

    /// A page of all images. `page_size` 0 means the default.
    pub async fn list(&self, page_size: u32, page_token: Option<&str>) -> Result<ImagePage, CatalogError> {
        let size = if page_size == 0 {
            DEFAULT_PAGE
        } else {
            page_size.min(MAX_PAGE)
        };
        let after = match page_token {
            None | Some("") => String::new(),
            Some(token) => token
                .parse::<Ulid>()
                .map_err(|_| CatalogError::BadPageToken)?
                .to_string(),
        };
        let rows = sqlx::query("SELECT * FROM images WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(size + 1)
            .fetch_all(&self.db)
            .await?;
        let mut items = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > size as usize;
        items.truncate(size as usize);
        let next_page_token = items.last().filter(|_| more).map(|image| image.id.clone());
        Ok(ImagePage {
            items,
            next_page_token,
        })
    }

    /// The image that an earlier request with this key made.
    pub(crate) async fn made_by(&self, idempotency_key: &str) -> Result<Option<Image>, CatalogError> {
        let row = sqlx::query("SELECT * FROM images WHERE idempotency_key = ?")
            .bind(idempotency_key)
            .fetch_optional(&self.db)
            .await?;
        Ok(row.as_ref().map(from_row).transpose()?)
    }

    /// Whether a name is taken.
    pub(crate) async fn has_name(&self, name: &str) -> Result<bool, CatalogError> {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM images WHERE name = ?)").bind(name);
        Ok(query.fetch_one(&self.db).await?)
    }

    /// Whether an object of the store belongs to an image: its manifest, or a pack that the manifest names.
    pub async fn uses(&self, image_digest: &str, object: &StoreObject) -> Result<bool, CatalogError> {
        match object {
            StoreObject::Manifest(digest) => Ok(digest.to_string() == image_digest),
            StoreObject::Pack(pack) => {
                let query = "SELECT EXISTS (SELECT 1 FROM image_packs WHERE image_digest = ? AND pack = ?)";
                let query = sqlx::query_scalar(query)
                    .bind(image_digest)
                    .bind(pack.to_string());
                Ok(query.fetch_one(&self.db).await?)
            }
        }
    }
}

fn from_row(row: &SqliteRow) -> Result<Image, sqlx::Error> {
    let bytes = |name: &str| row.try_get::<i64, _>(name).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(Image {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        image_digest: row.try_get("image_digest")?,
        manifest_digest: row.try_get("manifest_digest")?,
        disk_size_bytes: bytes("disk_size_bytes")?,
        data_bytes: bytes("data_bytes")?,
        stored_bytes: bytes("stored_bytes")?,
        logical_sector_bytes: row.try_get("logical_sector_bytes")?,
        source_format: row.try_get("source_format")?,
        created_at: timestamp_from_ms(row.try_get("created_at")?),
    })
}
