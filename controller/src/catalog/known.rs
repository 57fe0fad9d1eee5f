//! Chunks that the store holds already.

use imprint_image::{Digest, write::KnownChunk};
use sqlx::Row;

use super::{Catalog, CatalogError};

impl Catalog {
    /// Where the frame of a chunk lies, by the digest of its plain bytes. Only of images that are listed: the packs of an
    /// import that still runs may yet be removed.
    pub async fn known_chunk(&self, plain: &Digest) -> Result<Option<KnownChunk>, CatalogError> {
        let row =
            sqlx::query("SELECT frame, pack, pack_bytes, frame_at, frame_bytes FROM chunks WHERE plain = ? AND EXISTS (SELECT 1 FROM image_packs WHERE image_packs.pack = chunks.pack)")
                .bind(plain.as_bytes().as_slice())
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

    /// The digest of the stored manifest of an image that is known already under another name.
    pub(crate) async fn manifest_of(&self, image_digest: &Digest) -> Result<Option<String>, CatalogError> {
        let query = sqlx::query_scalar("SELECT manifest_digest FROM images WHERE image_digest = ? LIMIT 1");
        Ok(query
            .bind(image_digest.to_string())
            .fetch_optional(&self.db)
            .await?)
    }
}
