//! The artifact store.

use serde::Deserialize;

/// How full it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StoreFigures {
    pub place: String,
    pub objects: u64,
    pub bytes: u64,
    pub packs: u64,
    pub images: u64,
    pub data_bytes: u64,
    pub image_bytes: u64,
    pub dedup_ratio: f64,
    pub unused_objects: u64,
    pub unused_bytes: u64,
    pub free_bytes: Option<u64>,
    pub damaged: Vec<DamagedObject>,
    pub damaged_images: Vec<DamagedImage>,
}

/// An object that is not as it should be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DamagedObject {
    pub object: String,
    pub cause: String,
}

/// An image that is hit by it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DamagedImage {
    pub id: String,
    pub name: String,
    pub damaged_objects: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VerifyReport {
    pub manifests: u64,
    pub packs: u64,
    pub frames: u64,
    pub bytes: u64,
    pub damaged_objects: u64,
    pub damaged: Vec<DamagedObject>,
    pub images: Vec<DamagedImage>,
    pub healed: u64,
}

/// What a garbage collection removed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GcReport {
    pub dry_run: bool,
    pub manifests: u64,
    pub packs: u64,
    pub bytes: u64,
    pub orphans: u64,
    pub young: u64,
    pub young_bytes: u64,
    pub missing: u64,
}
