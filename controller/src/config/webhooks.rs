//! `[webhooks]`: where events may be sent to.

use std::path::PathBuf;

use ipnet::IpNet;
use toml::Table;

use super::{problems::ConfigProblem, read::AbsolutePath, table::Keys};

const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// Where events may be sent to, and for how long a receiver may refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Networks that events are sent to although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Whether `http://` is taken as well: what is sent is signed, and can be read on the way.
    pub allow_http: bool,
    /// Certificates of CAs that receivers are trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The wait after the first refusal of an event; it doubles with each one, up to an hour.
    pub retry_seconds: u64,
    /// How long the same event may be refused before the webhook is disabled.
    pub give_up_seconds: u64,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            allow_http: false,
            ca_file: None,
            retry_seconds: 5,
            give_up_seconds: 3 * 24 * 3600,
        }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> WebhookConfig {
    let default = WebhookConfig::default();
    let mut keys = Keys::new("webhooks", table, problems);
    let allow_networks = keys.list("allow_networks", "\"10.0.0.0/8\"").unwrap_or_default();
    let allow_http = keys.flag("allow_http").unwrap_or(default.allow_http);
    let ca_file = keys
        .text("ca_file", "\"/etc/imprint/ca.pem\"")
        .map(|AbsolutePath(path)| path);
    let retry = keys.count("retry_seconds", 3600);
    let give_up = keys.count("give_up_seconds", MAX_SECONDS);
    keys.finish();
    WebhookConfig {
        allow_networks,
        allow_http,
        ca_file,
        retry_seconds: retry.unwrap_or(default.retry_seconds),
        give_up_seconds: give_up.unwrap_or(default.give_up_seconds),
    }
}
