//! Section `[ingest]`: what an import may cost, and where the controller fetches files from.

use std::path::PathBuf;

use ipnet::IpNet;
use toml::Table;
use url::Url;

use super::{problems::ConfigProblem, read::AbsolutePath, size::Size, table::Keys};

const MAX_SECONDS: u64 = 30 * 24 * 3600;
const MAX_RATIO: u64 = 1_000_000;

/// What an import may cost, and where files may be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestConfig {
    /// Largest file, as it arrives.
    pub max_file_bytes: u64,
    /// Smallest disk of a system.
    pub system_disk_min_bytes: u64,
    /// Largest disk of a system.
    pub system_disk_max_bytes: u64,
    /// Largest disk of data.
    pub data_disk_max_bytes: u64,
    /// Largest installation medium.
    pub iso_max_bytes: u64,
    /// How many bytes of data one byte of a compressed file may become.
    pub max_ratio: u64,
    /// How long an import may run.
    pub max_seconds: u64,
    /// How long the facts of a disk may be looked for.
    pub facts_seconds: u64,
    /// How long an upload stays that nobody goes on with.
    pub upload_expiry_seconds: u64,
    /// Networks that files are fetched from although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Certificates of CAs that servers are trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Credentials that callers can name.
    pub credentials: Vec<CredentialConfig>,
}

/// A credential that callers can name. The file is read when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialConfig {
    /// Its name.
    pub name: String,
    /// The servers that may see it.
    pub origins: Vec<Url>,
    /// File with the value of the Authorization header: `Bearer …`, `Basic …`, or `user:password`.
    pub file: PathBuf,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            max_file_bytes: 2 << 40,
            system_disk_min_bytes: 1 << 30,
            system_disk_max_bytes: 1 << 40,
            data_disk_max_bytes: 2 << 40,
            iso_max_bytes: 64 << 30,
            max_ratio: 1000,
            max_seconds: 12 * 3600,
            facts_seconds: 300,
            upload_expiry_seconds: 24 * 3600,
            allow_networks: Vec::new(),
            ca_file: None,
            credentials: Vec::new(),
        }
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> IngestConfig {
    let default = IngestConfig::default();
    let mut keys = Keys::new("ingest", table, problems);
    let mut size = |key, default| keys.text(key, "\"512GiB\"").map_or(default, |Size(bytes)| bytes);
    let max_file_bytes = size("max_file_size", default.max_file_bytes);
    let system_disk_min_bytes = size("system_disk_min_size", default.system_disk_min_bytes);
    let system_disk_max_bytes = size("system_disk_max_size", default.system_disk_max_bytes);
    let data_disk_max_bytes = size("data_disk_max_size", default.data_disk_max_bytes);
    let iso_max_bytes = size("iso_max_size", default.iso_max_bytes);
    let max_ratio = keys.number("max_ratio", MAX_RATIO, "Give it without quotes.");
    let mut seconds = |key, default| keys.count(key, MAX_SECONDS).unwrap_or(default);
    let max_seconds = seconds("max_seconds", default.max_seconds);
    let facts_seconds = seconds("facts_seconds", default.facts_seconds);
    let upload_expiry_seconds = seconds("upload_expiry_seconds", default.upload_expiry_seconds);
    let allow_networks = keys.list("allow_networks", "\"10.0.0.0/8\"").unwrap_or_default();
    let ca_file = keys
        .text("ca_file", "\"/etc/imprint/ca.pem\"")
        .map(|AbsolutePath(path)| path);
    let tables = keys.tables("credentials");
    if system_disk_min_bytes > system_disk_max_bytes {
        keys.note(
            "system_disk_min_size",
            "is more than system_disk_max_size",
            "Lower it, or raise the other.",
        );
    }
    keys.finish();
    let credentials = tables
        .into_iter()
        .filter_map(|table| credential(table, problems))
        .collect();
    IngestConfig {
        max_file_bytes,
        system_disk_min_bytes,
        system_disk_max_bytes,
        data_disk_max_bytes,
        iso_max_bytes,
        max_ratio: max_ratio.unwrap_or(default.max_ratio),
        max_seconds,
        facts_seconds,
        upload_expiry_seconds,
        allow_networks,
        ca_file,
        credentials,
    }
}

fn credential(table: Table, problems: &mut Vec<ConfigProblem>) -> Option<CredentialConfig> {
    let mut keys = Keys::new("ingest.credentials", table, problems);
    let name: Option<String> = keys.text("name", "\"mirror\"");
    let origins: Vec<Url> = keys
        .list("origins", "\"https://mirror.example.net\"")
        .unwrap_or_default();
    let file = keys
        .text("file", "\"/etc/imprint/mirror.secret\"")
        .map(|AbsolutePath(path)| path);
    if origins.iter().any(|url| {
        !matches!(url.scheme(), "http" | "https") || url.path() != "/" || !url.username().is_empty()
    }) {
        keys.note(
            "origins",
            "has something other than scheme, host and port",
            "Write it like \"https://mirror.example.net\".",
        );
    }
    let complete = match (name, file) {
        (Some(name), Some(file)) if !name.is_empty() && !origins.is_empty() => {
            Some(CredentialConfig { name, origins, file })
        }
        _ => {
            keys.note(
                "name",
                "name, origins and file are not all set",
                "Set all three for each credential.",
            );
            None
        }
    };
    keys.finish();
    complete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (IngestConfig, Vec<String>) {
        let mut problems = Vec::new();
        let config = read(text.parse().unwrap(), &mut problems);
        let keys = problems.into_iter().map(|problem| problem.key).collect();
        (config, keys)
    }

    #[test]
    fn everything_has_a_default_and_can_be_said() {
        assert_eq!(of(""), (IngestConfig::default(), vec![]));
        let (config, problems) = of(r#"
            max_file_size = "1GiB"
            system_disk_min_size = "0"
            iso_max_size = "8GB"
            max_ratio = 50
            allow_networks = ["10.0.0.0/8", "fd00::/8"]
            ca_file = "/etc/imprint/ca.pem"
            [[credentials]]
            name = "mirror"
            origins = ["https://mirror.example.net", "http://10.0.0.1:8080"]
            file = "/etc/imprint/mirror.secret"
        "#);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            (config.max_file_bytes, config.system_disk_min_bytes),
            (1 << 30, 0)
        );
        assert_eq!((config.iso_max_bytes, config.max_ratio), (8_000_000_000, 50));
        assert_eq!(
            (config.allow_networks.len(), config.credentials[0].origins.len()),
            (2, 2)
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, key) in [
            ("max_file_size = \"much\"", "ingest.max_file_size"),
            ("system_disk_min_size = \"2TiB\"", "ingest.system_disk_min_size"),
            ("allow_networks = [\"10.0.0.0/33\"]", "ingest.allow_networks"),
            ("max_seconds = 0", "ingest.max_seconds"),
            ("max_sise = 1", "ingest.max_sise"),
            ("credentials = 1", "ingest.credentials"),
            ("[[credentials]]\nname = \"a\"", "ingest.credentials.name"),
            (
                "[[credentials]]\nname = \"a\"\norigins = [\"https://a.example/path\"]\nfile = \"/a\"",
                "ingest.credentials.origins",
            ),
            (
                "[[credentials]]\nname = \"a\"\norigins = [\"https://a.example\"]\nfile = \"/a\"\nsecret = \"x\"",
                "ingest.credentials.secret",
            ),
        ] {
            assert_eq!(of(text).1, [key], "{text}");
        }
    }
}
