//! Manifests come, and it is told what is missing.

use std::sync::{Arc, PoisonError};

use imprint_image::{CHUNK_BYTES, Digest, Manifest, SignedManifest};

use super::{Inner, Named, Record, Transfers};
use crate::{catalog::KnownChunks, copy::CopyFault, identity::Viewer};

impl Transfers {
    /// Takes the signed manifest of a disk: proves it, and looks up what of it the project may use anyway.
    pub async fn put_manifest(
        &self,
        viewer: &Viewer,
        id: &str,
        position: i64,
        bytes: &[u8],
    ) -> Result<(), CopyFault> {
        let record = self.0.find(viewer, id).await?;
        let disk = usize::try_from(position)
            .ok()
            .and_then(|at| record.request.disks.get(at));
        let disk = disk.ok_or(CopyFault::NoDisk { position })?;
        if bytes.is_empty() {
            return Err(CopyFault::Request {
                why: "the manifest is empty",
            });
        }
        let region = self.trusted(&record.source_region)?;
        let manifest = SignedManifest::open(bytes, &region.keys).map_err(CopyFault::Manifest)?;
        if manifest.image_digest.to_string() != disk.image_digest {
            return Err(CopyFault::OtherImage {
                expected: disk.image_digest.clone(),
                got: manifest.image_digest,
            });
        }
        if let Err(fault) = self.0.reserve_bytes(&record, position, &manifest).await {
            // Nobody can complete it: what came of it goes, and what it has reserved.
            self.0.give_up(id).await?;
            return Err(fault);
        }
        self.0.note_known(&record.project_id, id, &manifest).await?;
        sqlx::query(
            "INSERT INTO transfer_disks (transfer_id, position, manifest) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET manifest = excluded.manifest",
        )
        .bind(id)
        .bind(position)
        .bind(bytes)
        .execute(&self.0.db)
        .await?;
        self.0.forget_named(id);
        self.0.touch(id).await
    }

    /// Which chunks of a disk are missing: a bit for each chunk with data, in the order of the disk, the lowest of a byte
    /// first.
    pub async fn missing(&self, viewer: &Viewer, id: &str, position: i64) -> Result<Vec<u8>, CopyFault> {
        let record = self.0.find(viewer, id).await?;
        let manifest = self.0.manifest(&record.id, position).await?;
        let manifest = manifest.ok_or(CopyFault::ManifestFirst { position })?;
        let places = self.0.places(&record.id).await?;
        let mut bits = vec![0u8; manifest.chunks.len().div_ceil(8)];
        for (nth, chunk) in manifest.chunks.iter().enumerate() {
            if !places.contains_key(&chunk.plain) {
                bits[nth / 8] |= 1 << (nth % 8);
            }
        }
        Ok(bits)
    }
}

impl Inner {
    /// Reserves what the disks that are known by now will take in the store.
    async fn reserve_bytes(
        &self,
        record: &Record,
        position: i64,
        manifest: &Manifest,
    ) -> Result<(), CopyFault> {
        let mut bytes = manifest.fetch_bytes();
        for (other, _) in (0_i64..)
            .zip(&record.request.disks)
            .filter(|(other, _)| *other != position)
        {
            if let Some(known) = self.manifest(&record.id, other).await? {
                bytes += known.fetch_bytes();
            }
        }
        let Record {
            id,
            project_id,
            created_by,
            request,
            ..
        } = record;
        self.reserve(id, project_id, created_by, request, bytes).await
    }

    /// Notes the chunks that the project may use anyway, and keeps their packs meanwhile.
    async fn note_known(&self, project_id: &str, id: &str, manifest: &Manifest) -> Result<(), CopyFault> {
        let chunks = KnownChunks::new(self.catalog.clone(), project_id, id);
        for chunk in &manifest.chunks {
            if let Some(known) = chunks.find(&chunk.plain).await? {
                self.insert_place(id, &chunk.plain, &known).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn insert_place(
        &self,
        id: &str,
        plain: &Digest,
        place: &imprint_image::write::KnownChunk,
    ) -> Result<(), CopyFault> {
        let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO transfer_chunks (transfer_id, plain, frame, pack, pack_bytes, frame_at, frame_bytes)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(plain.as_bytes().as_slice())
        .bind(place.frame.as_bytes().as_slice())
        .bind(place.pack.to_string())
        .bind(whole(place.pack_bytes))
        .bind(whole(place.offset))
        .bind(place.frame_bytes)
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// What the manifests of a transfer name.
    pub(super) async fn named(&self, id: &str, disks: usize) -> Result<Arc<Named>, CopyFault> {
        let held = self
            .named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        if let Some(named) = held {
            return Ok(named);
        }
        let mut named = Named::new();
        for position in 0..i64::try_from(disks).unwrap_or(0) {
            let manifest = self.manifest(id, position).await?;
            let manifest = manifest.ok_or(CopyFault::ManifestFirst { position })?;
            for chunk in &manifest.chunks {
                let range = manifest.chunk_range(chunk.index);
                let bytes = u32::try_from(range.end - range.start).unwrap_or(CHUNK_BYTES);
                named.insert(chunk.plain, (chunk.frame, bytes));
            }
        }
        let named = Arc::new(named);
        let mut all = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.to_owned(), named.clone());
        Ok(named)
    }
}
