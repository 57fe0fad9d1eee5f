//! `[events]`: how long what happened is kept.

use toml::Table;

use super::{problems::ConfigProblem, table::Keys};

const MAX_DAYS: u64 = 36_500;

/// How long what happened is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventConfig {
    /// Days that an event stays; `None`: for ever.
    pub keep_days: Option<u32>,
}

impl Default for EventConfig {
    fn default() -> Self {
        Self { keep_days: Some(400) }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> EventConfig {
    let mut keys = Keys::new("events", table, problems);
    let days = keys.number_from(
        "keep_days",
        0..=MAX_DAYS,
        "Give it in days, without quotes; 0 keeps all for ever.",
    );
    keys.finish();
    EventConfig {
        keep_days: match days.and_then(|days| u32::try_from(days).ok()) {
            None => EventConfig::default().keep_days,
            Some(0) => None,
            Some(days) => Some(days),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_or_for_ever() {
        for (text, days, wrong) in [
            ("", Some(400), false),
            ("keep_days = 0", None, false),
            ("keep_days = 1", Some(1), false),
            ("keep_days = -1", Some(400), true),
            ("keep_days = 36501", Some(400), true),
            ("keep_days = \"7\"", Some(400), true),
            ("keep = 7", Some(400), true),
        ] {
            let mut problems = Vec::new();
            let config = read(text.parse().unwrap(), &mut problems);
            assert_eq!((config.keep_days, !problems.is_empty()), (days, wrong), "{text}");
        }
    }
}
