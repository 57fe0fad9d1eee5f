//! Objects of imports that have not ended. An object is noted here before it is written, so that whatever a failed
//! import or a crash leaves in the store can be found and removed.

use bytes::Bytes;

use super::{Catalog, CatalogError};
use crate::store::{Store, StoreError, StoreObject};

/// An object was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The database.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Catalog {
    /// Notes that an import is about to write an object.
    pub(crate) async fn note_pending(
        &self,
        import_id: &str,
        object: &StoreObject,
    ) -> Result<(), CatalogError> {
        sqlx::query("INSERT INTO pending_objects (import_id, object) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(import_id)
            .bind(object.key())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Notes an object and writes it, which mends it where it was damaged. To be called under
    /// [`Store::writing`] or [`Store::removing`].
    pub(crate) async fn write_noted(
        &self,
        store: &Store,
        import_id: &str,
        object: &StoreObject,
        content: Bytes,
    ) -> Result<(), WriteError> {
        self.note_pending(import_id, object).await?;
        store.put(object, content).await?;
        self.forget_damage(std::slice::from_ref(object)).await?;
        Ok(())
    }

    /// Holds the content of an image in the store for running work, also when the image is deleted meanwhile; false when
    /// it is deleted already. `forget_pending` lets it go.
    pub async fn hold(&self, holder: &str, image_id: &str) -> Result<bool, CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let held = sqlx::query(
            "INSERT INTO pending_objects (import_id, object) SELECT ?1, 'manifests/' || d.manifest
                 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                 WHERE i.id = ?2 AND i.state <> 'deleted' GROUP BY d.manifest",
        )
        .bind(holder)
        .bind(image_id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(held.rows_affected() > 0)
    }

    /// Imports that have objects noted. What came of a transfer stays: its sender goes on with it.
    pub(crate) async fn pending_imports(&self) -> Result<Vec<String>, CatalogError> {
        Ok(
            sqlx::query_scalar(
                "SELECT DISTINCT import_id FROM pending_objects WHERE import_id NOT IN (SELECT id FROM transfers)",
            )
            .fetch_all(&self.db)
            .await?,
        )
    }

    /// Removes what an import has noted and nobody else needs, and forgets about it. What cannot be removed just now is
    /// nobody's from here on, and so found as garbage.
    pub(crate) async fn sweep(&self, store: &Store, import_id: &str) -> Result<usize, WriteError> {
        let _nobody_writes = store.removing().await;
        // Manifests come first: their packs may be free after them.
        let query = "SELECT object FROM pending_objects WHERE import_id = ? ORDER BY object";
        let keys: Vec<String> = sqlx::query_scalar(query)
            .bind(import_id)
            .fetch_all(&self.db)
            .await
            .map_err(CatalogError::from)?;
        let mut removed = Ok(0);
        for object in keys.iter().filter_map(|key| StoreObject::from_key(key)) {
            let Ok(count) = removed else { break };
            if self.release(&object, Some(import_id)).await? {
                removed = store.delete(&object).await.map(|()| count + 1);
            }
        }
        self.forget_pending(import_id).await?;
        Ok(removed?)
    }

    /// Forgets what an import has noted.
    pub(crate) async fn forget_pending(&self, import_id: &str) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM pending_objects WHERE import_id = ?")
            .bind(import_id)
            .execute(&self.db)
            .await?;
        Ok(())
    }
}
