//! What is on a volume: an image that the back-end has written, or what a system has made of one.

use sqlx::SqliteConnection;

use super::{VolumeError, Volumes};
use crate::events::{DatabaseError, doing};

/// What is known to be on a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct VolumeContent {
    /// The image that it was written from; unset: nobody knows what is on it.
    pub image_id: Option<String>,
    /// Key of the manifest of the image's disk.
    pub manifest: Option<String>,
    /// It is the image still: no server has had it since.
    pub is_prepared: bool,
}

impl Volumes {
    /// What is on the volume with this id.
    pub async fn content(&self, id: &str) -> Result<VolumeContent, VolumeError> {
        let found = sqlx::query_as(
            "SELECT image_id, manifest, prepared_at IS NOT NULL AS is_prepared FROM volumes WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&self.db)
        .await
        .map_err(doing("read what is on the volume"))?;
        found.ok_or_else(|| VolumeError::NotFound(id.to_owned()))
    }
}

/// A server may change it from now on.
pub(crate) async fn in_use(connection: &mut SqliteConnection, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE volumes SET prepared_at = NULL WHERE id = ?")
        .bind(id)
        .execute(connection)
        .await
        .map_err(doing("note that a server uses the volume"))?;
    Ok(())
}

/// Something else is written to it: nobody knows what is on it before that is done.
pub(crate) async fn overwritten(connection: &mut SqliteConnection, id: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE volumes SET prepared_at = NULL, image_id = NULL, image_name = NULL, image_digest = NULL, manifest = NULL, \
         logical_sector_bytes = NULL WHERE id = ?",
    )
    .bind(id)
    .execute(connection)
    .await
    .map_err(doing("note that the volume is overwritten"))?;
    Ok(())
}

/// A deployment of the image that was on it has failed: what it has touched nobody may start from.
pub(crate) async fn spoilt(connection: &mut SqliteConnection, id: &str) -> Result<(), DatabaseError> {
    let prepared: Option<bool> =
        sqlx::query_scalar("SELECT prepared_at IS NOT NULL FROM volumes WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(doing("read what is on the volume"))?;
    match prepared {
        Some(false) => overwritten(connection, id).await,
        // The agent never had it; or it is gone.
        Some(true) | None => Ok(()),
    }
}

/// A deployment has ended well: its system is on it.
pub(crate) async fn has_system(
    connection: &mut SqliteConnection,
    id: &str,
    deployment_id: &str,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE volumes SET image_id = d.image_id, image_name = d.image_name, image_digest = d.image_digest, \
         manifest = d.manifest, logical_sector_bytes = d.logical_sector_bytes FROM deployments d \
         WHERE volumes.id = ? AND d.id = ?",
    )
    .bind(id)
    .bind(deployment_id)
    .execute(connection)
    .await
    .map_err(doing("note what is on the volume"))?;
    Ok(())
}
