//! `[images]`: rules for images.

use toml::Table;

use super::{problems::ConfigProblem, table::Keys};

/// Rules for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Days until an ISO image deletes itself.
    pub iso_days: u32,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self { iso_days: 7 }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> ImageConfig {
    let default = ImageConfig::default();
    let mut keys = Keys::new("images", table, problems);
    let days = keys
        .number("iso_days", 3650, "Give the number of days, without quotes.")
        .and_then(|n| u32::try_from(n).ok());
    keys.finish();
    ImageConfig {
        iso_days: days.unwrap_or(default.iso_days),
    }
}
