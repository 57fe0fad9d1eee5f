//! All has come: it becomes an image.

use std::collections::HashMap;

use imprint_image::{Chunk, Digest, Manifest, PackRef, write::KnownChunk};
use serde_json::json;
use tokio::runtime::Handle;

use super::{Inner, Record, Transfers};
use crate::{
    catalog::{Findings, Finished, Image, ImageKind, ImageState, NewDisk, NewImage, Source},
    copy::CopyFault,
    events::NewEvent,
    identity::Caller,
    ingest::findings_of,
    store::StoreObject,
};

/// A manifest of ours, in the store.
struct Signed {
    manifest: Manifest,
    key: String,
}

impl Transfers {
    /// Makes the image of what has come. Nothing may be missing.
    pub async fn complete(&self, caller: &Caller, id: &str) -> Result<Image, CopyFault> {
        let record = self.0.find(&caller.viewer(), id).await?;
        let places = self.0.places(id).await?;
        let mut disks = Vec::new();
        for position in 0..record.request.disks.len() {
            let position = i64::try_from(position).unwrap_or(0);
            let sent = self.0.manifest(id, position).await?;
            let sent = sent.ok_or(CopyFault::ManifestFirst { position })?;
            disks.push(self.0.sign(id, &sent, &places).await?);
        }
        let image = self.0.enter(caller, &record, &disks).await?;
        self.0.forget(id).await?;
        Ok(image)
    }
}

impl Inner {
    /// Our own manifest of the same disk, over what lies here.
    async fn sign(
        &self,
        id: &str,
        sent: &Manifest,
        places: &HashMap<Digest, KnownChunk>,
    ) -> Result<Signed, CopyFault> {
        let manifest = placed(sent, places)?;
        let signed = self.authority.sign_manifest(&manifest);
        let digest = signed.manifest_digest();
        let object = StoreObject::Manifest(digest);
        let _writing = self.store.writing().await;
        self.catalog
            .write_noted(&self.store, id, &object, signed.encode().into())
            .await?;
        Ok(Signed {
            manifest,
            key: digest.to_string(),
        })
    }

    /// What the content tells, read from what lies here: the sender's word is not taken for it.
    async fn findings(&self, record: &Record, disks: &[Signed]) -> Result<Vec<Option<Findings>>, CopyFault> {
        let (store, limit) = (self.store.clone(), self.facts_limit);
        let manifests: Vec<_> = disks.iter().map(|disk| disk.manifest.clone()).collect();
        let kind = record.request.image.kind.unwrap_or(ImageKind::SystemDisk);
        let runtime = Handle::current();
        let reading =
            tokio::task::spawn_blocking(move || findings_of(&store, &runtime, &manifests, kind, limit));
        Ok(reading.await.map_err(CopyFault::Task)??)
    }

    async fn enter(&self, caller: &Caller, record: &Record, disks: &[Signed]) -> Result<Image, CopyFault> {
        let findings = self.findings(record, disks).await?;
        let reference = format!("{}/{}", record.source_region, record.source_image);
        let mut owner = caller.clone();
        owner.project_id.clone_from(&record.project_id);
        owner.name.clone_from(&record.created_by);
        let new = NewImage {
            spec: &record.request.image,
            by: &owner,
            source: Source::Copy,
            source_reference: &reference,
            idempotency_key: None,
        };
        let begun = self.catalog.begin_image(&new, ImageState::Importing).await?;
        let named: Vec<_> = disks
            .iter()
            .zip(&record.request.disks)
            .zip(&findings)
            .map(|((disk, named), findings)| NewDisk {
                role: &named.role,
                manifest: &disk.manifest,
                key: disk.key.clone(),
                manifest_digest: disk.key.clone(),
                fresh: true,
                wrapped_key: None,
                findings: findings.as_ref(),
            })
            .collect();
        let finished = self
            .catalog
            .finish_image(&Finished {
                image_id: &begun.id,
                import_id: &record.id,
                source_format: &record.request.source_format,
                disks: &named,
            })
            .await;
        let image = match finished {
            Ok(image) => image,
            Err(error) => {
                self.catalog.abandon_image(&begun.id).await?;
                return Err(error.into());
            }
        };
        let event = NewEvent {
            kind: "image.received",
            node_id: None,
            deployment_id: None,
            message: format!("Image {} came from region {}.", image.name, record.source_region),
            details: json!({
                "image_id": image.id,
                "from": reference,
                "project_id": image.project_id,
                "by": record.created_by,
            }),
        };
        self.events.append(event).await?;
        Ok(image)
    }

    /// Forgets a transfer whose content an image has.
    async fn forget(&self, id: &str) -> Result<(), CopyFault> {
        sqlx::query("DELETE FROM transfers WHERE id = ?")
            .bind(id)
            .execute(&self.db)
            .await?;
        self.catalog.unreserve(id).await?;
        self.catalog.forget_pending(id).await?;
        self.forget_named(id);
        Ok(())
    }
}

/// The same disk over the frames that lie here.
fn placed(sent: &Manifest, places: &HashMap<Digest, KnownChunk>) -> Result<Manifest, CopyFault> {
    let missing = sent
        .chunks
        .iter()
        .filter(|chunk| !places.contains_key(&chunk.plain))
        .count();
    if missing > 0 {
        return Err(CopyFault::Incomplete { missing });
    }
    let mut packs: Vec<PackRef> = Vec::new();
    let mut numbers: HashMap<Digest, u32> = HashMap::new();
    let mut chunks = Vec::with_capacity(sent.chunks.len());
    for chunk in &sent.chunks {
        let place = places[&chunk.plain];
        let number = *numbers.entry(place.pack).or_insert_with(|| {
            packs.push(PackRef {
                digest: place.pack,
                size_bytes: place.pack_bytes,
            });
            u32::try_from(packs.len() - 1).expect("no more packs than chunks")
        });
        chunks.push(Chunk {
            index: chunk.index,
            plain: chunk.plain,
            frame: place.frame,
            pack: number,
            offset: place.offset,
            frame_bytes: place.frame_bytes,
        });
    }
    let manifest = Manifest::assemble(
        sent.disk_size_bytes,
        sent.logical_sector_bytes,
        packs,
        chunks,
        sent.holes.clone(),
        sent.partitions.clone(),
    )
    .map_err(CopyFault::Manifest)?;
    if manifest.image_digest != sent.image_digest {
        return Err(CopyFault::Identity {
            expected: sent.image_digest,
            got: manifest.image_digest,
        });
    }
    Ok(manifest)
}
