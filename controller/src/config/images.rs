//! `[images]`: rules for images.

use toml::Table;

use super::{problems::ConfigProblem, table::Keys};

/// Rules for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Days until an ISO image deletes itself.
    pub iso_days: u32,
    /// With how many projects an image is shared.
    pub max_members: usize,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            iso_days: 7,
            max_members: 128,
        }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> ImageConfig {
    let default = ImageConfig::default();
    let mut keys = Keys::new("images", table, problems);
    let days = keys
        .number("iso_days", 3650, "Give the number of days, without quotes.")
        .and_then(|n| u32::try_from(n).ok());
    let members = keys
        .number(
            "max_members",
            100_000,
            "Give the number of projects, without quotes.",
        )
        .and_then(|n| usize::try_from(n).ok());
    keys.finish();
    ImageConfig {
        iso_days: days.unwrap_or(default.iso_days),
        max_members: members.unwrap_or(default.max_members),
    }
}
