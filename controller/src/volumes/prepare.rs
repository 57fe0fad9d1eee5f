//! Volumes that begin with the disk of an image.
//!
//! ```text
//! store --proven frames--> base, once for each manifest --clone--> export of the volume
//! ```
//!
//! Nothing of it is kept but what is finished: a controller that dies in between begins anew.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use imprint_image::export::ExportFormat;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    VolumeError, VolumeRecord, VolumeState, Volumes, backend::Fill, decide::Reason, provider::card_id,
};
use crate::{
    api::rest::problem::{Problem, chain},
    catalog::Catalog,
    events::doing,
    export::Exports,
    identity::Viewer,
};

/// Bases that are written at a time; each uses the cores that it can get.
pub(super) const AT_ONCE: usize = 2;

/// Where images come from.
#[derive(Debug, Clone)]
pub struct Images {
    /// Known images.
    pub catalog: Catalog,
    /// Their content.
    pub exports: Exports,
    /// Where images have to be that are used here.
    pub region: String,
}

/// The image that a volume was, or is to be, prepared from, or that a deployment has put onto it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Prepared {
    /// Id of the image.
    pub image_id: String,
    /// What it was called then.
    pub image: String,
    /// BLAKE3 over the plain content of its disk, hex.
    pub image_digest: String,
    /// Since when the volume holds the disk as it is; null: it does not yet, or not any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub prepared_at: Option<Timestamp>,
    /// Key of the disk's manifest in the store.
    #[serde(skip)]
    pub manifest: String,
    /// Logical sector size that the disk was made for.
    #[serde(skip)]
    pub logical_sector_bytes: u32,
}

/// How far a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// Bytes of the image's disk that are dealt with, holes too.
    pub done_bytes: u64,
    /// Bytes of the image's disk.
    pub total_bytes: u64,
}

/// How far the bases are that are being written, by manifest. Never stored: only the newest counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Bases(Arc<Mutex<HashMap<String, Arc<Base>>>>);

#[derive(Debug)]
struct Base {
    done_bytes: AtomicU64,
    total_bytes: u64,
}

/// Ends the thread that writes a base when nobody waits for it any more.
struct CancelAtEnd(Arc<AtomicBool>);

impl Drop for CancelAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Bases {
    pub fn progress(&self, manifest: &str) -> Option<Progress> {
        let bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bases.get(manifest).map(|base| Progress {
            done_bytes: base.done_bytes.load(Ordering::Relaxed),
            total_bytes: base.total_bytes,
        })
    }

    fn begin(&self, manifest: &str, total_bytes: u64) -> Arc<Base> {
        let base = Arc::new(Base {
            done_bytes: AtomicU64::new(0),
            total_bytes,
        });
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(manifest.to_owned(), Arc::clone(&base));
        base
    }

    fn end(&self, manifest: &str) {
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bases.remove(manifest);
    }
}

fn reason(error: VolumeError) -> Reason {
    let why = chain(&error);
    Reason {
        why,
        remedy: format!(
            "{} Then delete the volume, and make it again.",
            Problem::from(error).remedy
        ),
    }
}

impl VolumeRecord {
    /// The image that the volume holds as it is: nobody has written to it since.
    #[must_use]
    pub fn holds(&self) -> Option<&Prepared> {
        self.prepared.as_ref().filter(|image| image.prepared_at.is_some())
    }
}

impl Volumes {
    /// Makes what a volume is to be, for who has the claim to it.
    pub(super) async fn prepare(&self, record: &VolumeRecord) -> Result<(), VolumeError> {
        // Somebody has taken it out of the configuration, and may put it back.
        let backend = self.backend()?;
        let name = card_id(&record.id);
        let made = match &record.prepared {
            Some(image) => self.prepare_from(record, image).await,
            None => backend
                .create(&name, record.size_bytes)
                .await
                .map_err(VolumeError::from),
        };
        let reason = match made {
            Ok(()) => return self.made(record).await.map(drop),
            // It goes better later, and nobody has to do anything.
            Err(error @ VolumeError::Database(_)) => return Err(error),
            Err(error) => {
                tracing::error!(volume.id = record.id, error = %chain(&error), "a volume is not made");
                reason(error)
            }
        };
        self.change_to(record, VolumeState::Error, &reason)
            .await
            .map(drop)
    }

    async fn prepare_from(&self, record: &VolumeRecord, prepared: &Prepared) -> Result<(), VolumeError> {
        let backend = self.backend()?;
        let _slot = self.slots.acquire().await;
        let gone = |why: &str| VolumeError::Image {
            why: format!("image {} {why}", prepared.image),
            remedy: "Choose another image.".to_owned(),
        };
        let images = &self.images;
        let image = images.catalog.get(&prepared.image_id).await?;
        let image = image.ok_or_else(|| gone("was deleted meanwhile"))?;
        let disk = image.disks.iter().find(|disk| disk.manifest == prepared.manifest);
        let disk = disk.ok_or_else(|| gone("has this disk no more"))?;
        let project = Viewer::Project(record.project_id.clone());
        let opened = images
            .exports
            .open(&image, &project, Some(&disk.role), ExportFormat::Raw)
            .await?;
        let held = images.exports.hold(opened).await?;
        let cancel = Arc::new(AtomicBool::new(false));
        let _cancel = CancelAtEnd(Arc::clone(&cancel));
        let (bases, manifest) = (self.bases.clone(), prepared.manifest.clone());
        let total_bytes = disk.disk_size_bytes;
        let fill: Fill = Box::new(move |out| {
            let base = bases.begin(&manifest, total_bytes);
            let told = |bytes| base.done_bytes.store(bytes, Ordering::Relaxed);
            let written = held.write(out, &told, &cancel);
            bases.end(&manifest);
            written
        });
        backend.write_base(&prepared.manifest, fill).await?;
        let name = card_id(&record.id);
        Ok(backend
            .clone_base(&prepared.manifest, &name, record.size_bytes)
            .await?)
    }

    /// Tells how far a volume is.
    pub(super) fn with_progress(&self, mut record: VolumeRecord) -> VolumeRecord {
        if record.state == VolumeState::Preparing {
            let manifest = record.prepared.as_ref().map(|image| image.manifest.as_str());
            record.progress = manifest.and_then(|manifest| self.bases.progress(manifest));
        }
        record
    }

    /// Removes bases that no image needs any more.
    pub(super) async fn clear_bases(&self) {
        if let Err(error) = self.try_clear_bases().await {
            tracing::error!(error = %chain(&error), "bases of volumes are not removed");
        }
    }

    async fn try_clear_bases(&self) -> Result<(), VolumeError> {
        let Some(backend) = self.backend.as_deref() else {
            return Ok(());
        };
        for base in backend.bases().await? {
            let needed: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id \
                     WHERE d.manifest = ?1 AND i.state <> 'deleted') \
                 OR EXISTS (SELECT 1 FROM volumes WHERE manifest = ?1 AND state = 'preparing')",
            )
            .bind(&base)
            .fetch_one(&self.db)
            .await
            .map_err(doing("look whether a base is needed"))?;
            if !needed {
                backend.delete_base(&base).await?;
                tracing::info!(base, "a base of volumes was removed: its image is deleted");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
