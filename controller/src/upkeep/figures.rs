//! How full the store is, and what sharing saves.

use serde::Serialize;
use utoipa::ToSchema;

use super::{DamagedObject, Upkeep, UpkeepError};
use crate::{
    catalog::{DamagedImage, ImageBytes},
    store::{StoreObject, StoredObject},
};
use futures::TryStreamExt;

/// How full the store is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StoreFigures {
    /// The folder, or the bucket with its prefix.
    pub place: String,
    /// Objects in the store.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs among them.
    pub packs: u64,
    /// Bytes of the packs.
    pub pack_bytes: u64,
    /// Images that are not deleted.
    pub images: u64,
    /// Bytes of data on all their disks, holes left out.
    pub data_bytes: u64,
    /// What their chunks would take, compressed, if every image had its own.
    pub image_bytes: u64,
    /// `image_bytes` for each byte of the packs that are needed; 1 when nothing is shared.
    pub dedup_ratio: f64,
    /// Objects that nobody needs; `imprint store gc` removes those that are old enough.
    pub unused_objects: u64,
    /// Their bytes.
    pub unused_bytes: u64,
    /// What is free on the disk; null for a bucket.
    pub free_bytes: Option<u64>,
    /// Objects that `imprint store verify` has found damaged or missing.
    pub damaged: Vec<DamagedObject>,
    /// Images that cannot be deployed because of it.
    pub damaged_images: Vec<DamagedImage>,
}

impl Upkeep {
    /// How full the store is now. Lists all of it.
    pub async fn figures(&self) -> Result<StoreFigures, UpkeepError> {
        let needs = self.catalog.needs().await?;
        let stored: Vec<StoredObject> = self.store.list().try_collect().await?;
        let plan = crate::catalog::plan_gc(&needs, &stored, i64::MAX, std::time::Duration::ZERO);
        let is_pack = |found: &&StoredObject| matches!(found.object, StoreObject::Pack(_));
        let pack_bytes = stored.iter().filter(is_pack).map(|found| found.bytes).sum();
        let unused_packs: u64 = plan
            .remove
            .iter()
            .filter(|removal| matches!(removal.object, StoreObject::Pack(_)))
            .map(|removal| removal.bytes)
            .sum();
        let ImageBytes {
            images,
            data,
            stored: image_bytes,
        } = self.catalog.image_bytes().await?;
        let damaged = self.catalog.damaged_objects().await?;
        Ok(StoreFigures {
            place: self.store.place(),
            objects: stored.len() as u64,
            bytes: stored.iter().map(|found| found.bytes).sum(),
            packs: stored.iter().filter(is_pack).count() as u64,
            pack_bytes,
            images,
            data_bytes: data,
            image_bytes,
            dedup_ratio: ratio(image_bytes, pack_bytes.saturating_sub(unused_packs)),
            unused_objects: plan.remove.len() as u64,
            unused_bytes: plan.remove.iter().map(|removal| removal.bytes).sum(),
            free_bytes: self.store.free_bytes(),
            damaged: damaged
                .into_iter()
                .map(|(object, cause)| DamagedObject { object, cause })
                .collect(),
            damaged_images: self.catalog.damaged_images().await?,
        })
    }
}

/// To a hundredth; 1 for an empty store.
fn ratio(images: u64, packs: u64) -> f64 {
    if packs == 0 {
        return 1.0;
    }
    // Exact far beyond what any store holds.
    (images as f64 / packs as f64 * 100.0).round() / 100.0
}
