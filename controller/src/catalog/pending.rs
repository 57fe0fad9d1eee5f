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

    /// Imports that have objects noted.
    pub(crate) async fn pending_imports(&self) -> Result<Vec<String>, CatalogError> {
        Ok(
            sqlx::query_scalar("SELECT DISTINCT import_id FROM pending_objects")
                .fetch_all(&self.db)
                .await?,
        )
    }

    /// The objects of an import that nobody else needs: no image uses them, no other import has noted them.
    pub(crate) async fn orphans(&self, import_id: &str) -> Result<Vec<StoreObject>, CatalogError> {
        let keys: Vec<String> = sqlx::query_scalar(
            "SELECT object FROM pending_objects AS p WHERE import_id = ?1
                 AND NOT EXISTS (SELECT 1 FROM manifest_packs WHERE pack = substr(p.object, length('packs/') + 1)
                     AND p.object LIKE 'packs/%')
                 AND NOT EXISTS (SELECT 1 FROM manifests WHERE manifest = substr(p.object, length('manifests/') + 1)
                     AND p.object LIKE 'manifests/%')
                 AND NOT EXISTS (SELECT 1 FROM pending_objects AS o WHERE o.object = p.object AND o.import_id <> ?1)",
        )
        .bind(import_id)
        .fetch_all(&self.db)
        .await?;
        Ok(keys.iter().filter_map(|key| StoreObject::from_key(key)).collect())
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
