//! Content that the store holds already, as far as a project may know of it: its own, and that of public images. What
//! others hold for themselves is stored again, so that nobody learns from an import what others have.

use imprint_image::{Digest, write::KnownChunk};
use sqlx::Row;

use super::{Catalog, CatalogError};

impl Catalog {
    /// Where the frame of a chunk lies, by the digest of its plain bytes. Only of manifests that are entered: the packs
    /// of an import that still runs may yet be removed.
    pub async fn known_chunk(
        &self,
        project_id: &str,
        plain: &Digest,
    ) -> Result<Option<KnownChunk>, CatalogError> {
        let row = sqlx::query(
            "SELECT frame, pack, pack_bytes, frame_at, frame_bytes FROM chunks WHERE plain = ?1
                 AND EXISTS (SELECT 1 FROM manifest_packs AS p WHERE p.pack = chunks.pack AND (chunks.project_id = ?2
                     OR EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                         WHERE d.manifest = p.manifest AND i.visibility = 'public' AND i.state <> 'deleted')))
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
                         AND (i.project_id = ?2 OR i.visibility = 'public')) LIMIT 1",
        );
        Ok(query
            .bind(image_digest.to_string())
            .bind(project_id)
            .fetch_optional(&self.db)
            .await?)
    }
}
