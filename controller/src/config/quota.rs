//! `[quota]`: what projects may keep that say nothing of their own.

use toml::Table;

use super::{problems::ConfigProblem, table::Keys};

const MAX_IMAGES: u64 = 1_000_000_000;
/// More than any store has, and far below what the database can keep.
const MAX_BYTES: u64 = 1 << 56;

/// What projects may keep that say nothing of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Private images of each user.
    pub images_per_user: u64,
    /// Bytes in the store of a project's private images; `None`: as much as there is.
    pub stored_bytes_per_project: Option<u64>,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            images_per_user: 50,
            stored_bytes_per_project: None,
        }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> QuotaConfig {
    let default = QuotaConfig::default();
    let mut keys = Keys::new("quota", table, problems);
    let images = keys.number(
        "images_per_user",
        MAX_IMAGES,
        "Give the number of images, without quotes.",
    );
    let bytes = keys.number(
        "stored_bytes_per_project",
        MAX_BYTES,
        "Give it in bytes, without quotes; leave it out for no limit.",
    );
    keys.finish();
    QuotaConfig {
        images_per_user: images.unwrap_or(default.images_per_user),
        stored_bytes_per_project: bytes,
    }
}
