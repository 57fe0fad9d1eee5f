//! Content that the store holds already, as far as a project may know of it: its own, and that of public images. What
//! others hold for themselves is stored again, so that nobody learns from an import what others have.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use imprint_image::{Digest, write::KnownChunk};
use sqlx::Row;

use super::{Catalog, CatalogError};
use crate::store::StoreObject;

/// Looks chunks up for one import. What it has found stays in the store until the import has ended: before a pack is
/// given out for the first time, it is noted as needed.
#[derive(Debug)]
pub struct KnownChunks {
    catalog: Catalog,
    project_id: String,
    import_id: String,
    pinned: Mutex<HashSet<Digest>>,
}

impl KnownChunks {
    /// For an import of the project.
    pub fn new(catalog: Catalog, project_id: &str, import_id: &str) -> Self {
        Self {
            catalog,
            project_id: project_id.to_owned(),
            import_id: import_id.to_owned(),
            pinned: Mutex::default(),
        }
    }

    /// Where the frame of a chunk lies, and will lie.
    pub async fn find(&self, plain: &Digest) -> Result<Option<KnownChunk>, CatalogError> {
        let Some(known) = self.catalog.known_chunk(&self.project_id, plain).await? else {
            return Ok(None);
        };
        if self.pinned().contains(&known.pack) {
            return Ok(Some(known));
        }
        if !self.catalog.pin_pack(&self.import_id, &known.pack).await? {
            return Ok(None);
        }
        self.pinned().insert(known.pack);
        Ok(Some(known))
    }

    fn pinned(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog {
    /// Where the frame of a chunk lies, by the digest of its plain bytes. Only of manifests that are entered: the packs
    /// of an import that still runs may yet be removed. Nothing keeps it there; [`KnownChunks`] does.
    pub(super) async fn known_chunk(
        &self,
        project_id: &str,
        plain: &Digest,
    ) -> Result<Option<KnownChunk>, CatalogError> {
        let row = sqlx::query(
            "SELECT frame, pack, pack_bytes, frame_at, frame_bytes FROM chunks WHERE plain = ?1
                 AND EXISTS (SELECT 1 FROM manifest_packs AS p WHERE p.pack = chunks.pack AND (chunks.project_id = ?2
                     OR EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                         WHERE d.manifest = p.manifest AND i.visibility = 'public' AND i.state <> 'deleted')))
                 AND NOT EXISTS (SELECT 1 FROM store_damage WHERE object = 'packs/' || chunks.pack)
             ORDER BY project_id <> ?2 LIMIT 1",
        )
        .bind(plain.as_bytes().as_slice())
        .bind(project_id)
        .fetch_optional(&self.db)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let frame: Vec<u8> = row.try_get("frame")?;
        let pack: String = row.try_get("pack")?;
        let size = |name: &str| row.try_get::<i64, _>(name).map(|n| u64::try_from(n).unwrap_or(0));
        let (Ok(frame), Ok(pack)) = (<[u8; 32]>::try_from(frame), pack.parse::<Digest>()) else {
            return Ok(None);
        };
        Ok(Some(KnownChunk {
            pack,
            pack_bytes: size("pack_bytes")?,
            offset: size("frame_at")?,
            frame: Digest::from_bytes(frame),
            frame_bytes: row.try_get("frame_bytes")?,
        }))
    }

    /// Notes that an import needs a pack that a manifest names; false when none does any more.
    async fn pin_pack(&self, import_id: &str, pack: &Digest) -> Result<bool, CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let named = "SELECT EXISTS (SELECT 1 FROM manifest_packs WHERE pack = ?)";
        let named: bool = sqlx::query_scalar(named)
            .bind(pack.to_string())
            .fetch_one(&mut *tx)
            .await?;
        if named {
            sqlx::query(
                "INSERT INTO pending_objects (import_id, object) VALUES (?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(import_id)
            .bind(StoreObject::Pack(*pack).key())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        }
        Ok(named)
    }

    /// The key and the digest of a stored manifest with this content, not encrypted, which the project may use.
    pub(crate) async fn known_manifest(
        &self,
        project_id: &str,
        image_digest: &Digest,
    ) -> Result<Option<(String, String)>, CatalogError> {
        let query = sqlx::query_as(
            "SELECT m.manifest, m.manifest_digest FROM manifests AS m WHERE m.image_digest = ?1 AND m.wrapped_key IS NULL
                 AND EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                     WHERE d.manifest = m.manifest AND i.state <> 'deleted'
                         AND (i.project_id = ?2 OR i.visibility = 'public'))
                 AND NOT EXISTS (SELECT 1 FROM manifest_damage WHERE manifest = m.manifest) LIMIT 1",
        );
        Ok(query
            .bind(image_digest.to_string())
            .bind(project_id)
            .fetch_optional(&self.db)
            .await?)
    }
}
