//! `[logs]`: what is kept of the logs of deployments.

use toml::Table;

use super::{problems::ConfigProblem, size::Size, table::Keys};

const MAX_DAYS: u64 = 36_500;
/// A log that is cut all the time would say nothing.
const LEAST_BYTES: u64 = 64 << 10;
/// It is read as a whole.
const MOST_BYTES: u64 = 64 << 20;

/// What is kept of the logs of deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// Of each deployment; the oldest lines go.
    pub deployment_bytes: u64,
    /// Of all deployments; the logs go that have been quiet for longest.
    pub total_bytes: u64,
    /// Days after its last line that a log stays.
    pub keep_days: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            deployment_bytes: 1 << 20,
            total_bytes: 10 << 30,
            keep_days: 90,
        }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> LogConfig {
    let default = LogConfig::default();
    let mut keys = Keys::new("logs", table, problems);
    let mut size = |key, default| keys.text(key, "\"1MiB\"").map_or(default, |Size(bytes)| bytes);
    let deployment_bytes = size("deployment_size", default.deployment_bytes);
    let total_bytes = size("total_size", default.total_bytes);
    if !(LEAST_BYTES..=MOST_BYTES).contains(&deployment_bytes) {
        keys.note(
            "deployment_size",
            "is not from 64KiB to 64MiB",
            "Write it like \"1MiB\".",
        );
    }
    if total_bytes < deployment_bytes {
        keys.note(
            "total_size",
            "is less than logs.deployment_size",
            "Raise it, or lower the other.",
        );
    }
    let days = keys.number("keep_days", MAX_DAYS, "Give it in days, without quotes.");
    keys.finish();
    LogConfig {
        deployment_bytes,
        total_bytes,
        keep_days: days
            .and_then(|days| u32::try_from(days).ok())
            .unwrap_or(default.keep_days),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_bounds() {
        let of = |text: &str| {
            let mut problems = Vec::new();
            let config = read(text.parse().unwrap(), &mut problems);
            let keys: Vec<String> = problems.into_iter().map(|problem| problem.key).collect();
            (config, keys)
        };
        assert_eq!(of(""), (LogConfig::default(), vec![]));
        let (config, problems) = of("deployment_size = \"64KiB\"\ntotal_size = \"1GiB\"\nkeep_days = 7");
        assert_eq!((config.deployment_bytes, config.total_bytes), (64 << 10, 1 << 30));
        assert_eq!((config.keep_days, problems), (7, vec![]));
        for (text, key) in [
            ("deployment_size = \"63KiB\"", "logs.deployment_size"),
            ("deployment_size = \"65MiB\"", "logs.deployment_size"),
            ("total_size = \"512KiB\"", "logs.total_size"),
            ("keep_days = 0", "logs.keep_days"),
            ("keep = 1", "logs.keep"),
        ] {
            assert_eq!(of(text).1, [key], "{text}");
        }
    }
}
