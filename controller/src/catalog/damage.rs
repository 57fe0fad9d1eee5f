//! What was found damaged in the store, and which images that hits.

use imprint_image::Digest;
use serde::Serialize;
use serde_json::json;
use sqlx::{FromRow, SqliteConnection};
use utoipa::ToSchema;

use super::{Catalog, CatalogError};
use crate::{
    events::{EventLog, NewEvent},
    store::StoreObject,
};

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which.
    pub object: StoreObject,
    /// What is wrong with it.
    pub cause: String,
    /// The manifests that need the damaged part of it.
    pub manifests: Vec<Digest>,
}

/// An image that cannot be written to a disk as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
pub struct DamagedImage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// How many objects it needs that are damaged or missing.
    pub damaged_objects: i64,
}

const DAMAGED_IMAGES: &str = "SELECT i.id, i.name, i.project_id, COUNT(DISTINCT md.object) AS damaged_objects
     FROM manifest_damage AS md JOIN image_disks AS d ON d.manifest = md.manifest JOIN images AS i ON i.id = d.image_id
     WHERE i.state <> 'deleted' GROUP BY i.id ORDER BY i.id";

impl Catalog {
    /// Keeps what was found, with an alarm for each image that was not known to be damaged.
    pub(crate) async fn note_damage(
        &self,
        events: &EventLog,
        found: &[Damage],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if found.is_empty() {
            return Ok(());
        }
        let mut change = events.begin().await?;
        let before = damaged_images(change.connection()).await?;
        for damage in found {
            let object = damage.object.key();
            sqlx::query(
                "INSERT INTO store_damage (object, cause, found_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (object) DO UPDATE SET cause = ?2",
            )
            .bind(&object)
            .bind(&damage.cause)
            .bind(self.clock.now_ms())
            .execute(change.connection())
            .await?;
            for manifest in &damage.manifests {
                sqlx::query(
                    "INSERT INTO manifest_damage (manifest, object) VALUES (?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(manifest.to_string())
                .bind(&object)
                .execute(change.connection())
                .await?;
            }
        }
        let after = damaged_images(change.connection()).await?;
        let newly: Vec<&DamagedImage> = after
            .iter()
            .filter(|image| !before.iter().any(|b| b.id == image.id))
            .collect();
        for image in newly {
            tracing::error!(
                image.id = image.id,
                image = image.name,
                "the stored content of an image is damaged"
            );
            let event = NewEvent {
                kind: "alarm.image-damaged",
                node_id: None,
                deployment_id: None,
                message: format!(
                    "The stored content of image {} is damaged: {} of its objects. Import the same file again, or restore \
                     them from a backup, then run `imprint store verify --image {}`.",
                    image.name, image.damaged_objects, image.id
                ),
                details: json!({ "image_id": image.id, "project_id": image.project_id, "objects": image.damaged_objects }),
            };
            change.append(event).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Forgets the damage of objects that were found good or written again.
    pub(crate) async fn forget_damage(&self, objects: &[StoreObject]) -> Result<u64, CatalogError> {
        let mut healed = 0;
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        for object in objects {
            let done = sqlx::query("DELETE FROM store_damage WHERE object = ?")
                .bind(object.key())
                .execute(&mut *tx)
                .await?;
            healed += done.rows_affected();
        }
        tx.commit().await?;
        Ok(healed)
    }

    /// Objects that were found damaged, with the cause.
    pub async fn damaged_objects(&self) -> Result<Vec<(String, String)>, CatalogError> {
        Ok(
            sqlx::query_as("SELECT object, cause FROM store_damage ORDER BY object")
                .fetch_all(&self.db)
                .await?,
        )
    }

    /// Images that are hit by it.
    pub async fn damaged_images(&self) -> Result<Vec<DamagedImage>, CatalogError> {
        let mut connection = self.db.acquire().await?;
        Ok(damaged_images(&mut connection).await?)
    }
}

async fn damaged_images(connection: &mut SqliteConnection) -> Result<Vec<DamagedImage>, sqlx::Error> {
    sqlx::query_as(DAMAGED_IMAGES).fetch_all(connection).await
}
