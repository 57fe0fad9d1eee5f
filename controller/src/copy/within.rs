//! A copy within the region: a row of its own over the same content.

use std::sync::Arc;

use imprint_image::Manifest;
use serde_json::{Value, json};

use super::{Copies, CopyFault, Encrypt, Inner, reseal::Resealed};
use crate::{
    catalog::{
        Finished, Image, ImageDisk, ImageSpec, ImageState, NewDisk, NewImage, QuotaReservation, Source,
    },
    events::NewEvent,
    identity::Caller,
    jobs::{Job, JobContext, Jobs, NewJob},
};

impl Copies {
    pub(super) async fn within(
        &self,
        jobs: &Jobs,
        caller: &Caller,
        image: &Image,
        mut spec: ImageSpec,
        encrypt: Encrypt,
        mut new: NewJob,
    ) -> Result<Job, CopyFault> {
        spec.parent = Some(image.id.clone());
        let begun = self
            .0
            .catalog
            .begin_image(
                &NewImage {
                    spec: &spec,
                    by: caller,
                    source: Source::Copy,
                    source_reference: &image.id,
                    idempotency_key: None,
                },
                ImageState::Queued,
            )
            .await?;
        new.image_id = Some(begun.id.clone());
        let convert = conversion(image, encrypt);
        let copy = Within {
            inner: self.0.clone(),
            source: image.clone(),
            convert,
            copy: begun.clone(),
            caller: caller.clone(),
        };
        let started = match copy.reserve().await {
            Ok(()) => {
                let started = jobs.start(new, move |context| async move { Ok(copy.run(&context).await?) });
                started.await.map_err(CopyFault::from)
            }
            Err(fault) => Err(fault),
        };
        match started {
            Ok(job) if job.image_id.as_ref() == Some(&begun.id) => Ok(job),
            // Refused; or another request with the same key was quicker.
            other => {
                let abandoned = self.0.catalog.abandon_image(&begun.id).await;
                let released = self.0.catalog.unreserve(&begun.id).await;
                let job = other?;
                abandoned.and(released)?;
                Ok(job)
            }
        }
    }
}

/// Whether the content has to be encrypted, or decrypted; none when it stays as it is.
fn conversion(image: &Image, encrypt: Encrypt) -> Option<bool> {
    let wanted = match encrypt {
        Encrypt::Keep => return None,
        Encrypt::Yes => true,
        Encrypt::No => false,
    };
    image
        .disks
        .iter()
        .any(|disk| disk.encrypted != wanted)
        .then_some(wanted)
}

struct Within {
    inner: Arc<Inner>,
    source: Image,
    /// Whether the copy is to be encrypted, when its image is not so.
    convert: Option<bool>,
    copy: Image,
    caller: Caller,
}

impl Within {
    /// Takes what the copy will count of its project's quota, before anything is stored for it.
    async fn reserve(&self) -> Result<(), CopyFault> {
        let catalog = &self.inner.catalog;
        let bytes = if self.convert.is_some() {
            self.source.stored_bytes
        } else {
            let manifests: Vec<&str> = self.source.disks.iter().map(|d| d.manifest.as_str()).collect();
            catalog.bytes_new_to(&self.copy.project_id, &manifests).await?
        };
        let reservation = QuotaReservation {
            holder: self.copy.id.clone(),
            project_id: self.copy.project_id.clone(),
            created_by: self.copy.created_by.clone(),
            images: 1,
            bytes,
        };
        Ok(catalog.reserve(&reservation).await?)
    }

    async fn run(self, context: &JobContext) -> Result<Value, CopyFault> {
        let catalog = &self.inner.catalog;
        let result = self.copy(context).await;
        let abandoned = match &result {
            Ok(_) => Ok(()),
            Err(_) => catalog.abandon_image(&self.copy.id).await,
        };
        // What was reserved and held is the copy's now, or nobody's.
        let released = catalog.unreserve(&self.copy.id).await;
        let swept = catalog.sweep(&self.inner.store, &self.copy.id).await;
        let image = result?;
        abandoned.and(released)?;
        swept?;
        Ok(json!({ "image_id": image.id, "image_digest": image.image_digest }))
    }

    async fn copy(&self, context: &JobContext) -> Result<Image, CopyFault> {
        let catalog = &self.inner.catalog;
        catalog.start_image(&self.copy.id).await?;
        context.progress("proving the manifests", 0, 0);
        // From here on it stays in the store until the copy has it.
        if !catalog.hold(&self.copy.id, &self.source.id).await? {
            return Err(CopyFault::Changed);
        }
        let mut manifests = Vec::with_capacity(self.source.disks.len());
        for disk in &self.source.disks {
            manifests.push(self.inner.exports.manifest(&self.source.name, disk).await?);
        }
        // Recalled or deleted while the job waited: then there is nothing to copy any more.
        let now = catalog.find(&self.caller.viewer(), &self.source.id).await?;
        if now.disks != self.source.disks {
            return Err(CopyFault::Changed);
        }
        crate::export::require_content(&now, &self.caller.viewer())?;
        if context.cancel.is_cancelled() {
            return Err(CopyFault::Cancelled);
        }
        let fresh = self.convert.is_some();
        let mut stored = Vec::with_capacity(manifests.len());
        for (disk, manifest) in self.source.disks.iter().zip(manifests) {
            stored.push(self.stored(disk, manifest, context).await?);
        }
        // The same content, so the same is known of it.
        let mut findings = Vec::with_capacity(stored.len());
        for disk in &self.source.disks {
            let known = if fresh {
                catalog.findings(&disk.manifest).await?
            } else {
                None
            };
            findings.push(known);
        }
        let disks: Vec<_> = self
            .source
            .disks
            .iter()
            .zip(&stored)
            .zip(&findings)
            .map(|((disk, stored), findings)| NewDisk {
                role: &disk.role,
                manifest: &stored.manifest,
                key: stored.key.clone(),
                manifest_digest: stored.digest.clone(),
                fresh,
                wrapped_key: stored.wrapped_key.clone(),
                findings: findings.as_ref(),
            })
            .collect();
        let image = catalog
            .finish_image(&Finished {
                image_id: &self.copy.id,
                import_id: &self.copy.id,
                source_format: &self.source.source_format,
                disks: &disks,
            })
            .await?;
        self.tell(&image).await?;
        Ok(image)
    }

    /// Where a disk of the copy is in the store: where that of its image is, or anew.
    async fn stored(
        &self,
        disk: &ImageDisk,
        manifest: Manifest,
        context: &JobContext,
    ) -> Result<Resealed, CopyFault> {
        let (copy, project) = (&self.copy.id, &self.copy.project_id);
        if let Some(encrypt) = self.convert {
            return self.inner.reseal(copy, project, manifest, encrypt, context).await;
        }
        let keys = &self.inner.image_keys;
        let wrapped_key = match keys.open(&disk.manifest).await? {
            Some(key) => Some(keys.wrap(&key, &disk.manifest).await?),
            None => None,
        };
        Ok(Resealed {
            manifest,
            key: disk.manifest.clone(),
            digest: disk.manifest_digest.clone(),
            wrapped_key,
        })
    }

    async fn tell(&self, image: &Image) -> Result<(), CopyFault> {
        let event = NewEvent {
            kind: "image.copied",
            node_id: None,
            deployment_id: None,
            message: format!("Image {} was copied to {}.", self.source.name, image.name),
            details: json!({
                "image_id": image.id,
                "from_image_id": self.source.id,
                "from_project_id": self.source.project_id,
                "project_id": image.project_id,
                "by": self.caller.name,
            }),
        };
        Ok(self.inner.events.append(event).await.map(drop)?)
    }
}
