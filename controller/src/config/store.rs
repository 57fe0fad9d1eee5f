//! Section `[store]`: where manifests and packs are kept, and how long what nobody needs is kept.

use std::{path::PathBuf, str::FromStr, time::Duration};

use toml::Table;
use url::Url;

use super::{problems::ConfigProblem, read::AbsolutePath, table::Keys};

const ENDPOINT_EXAMPLE: &str = "\"https://s3.example.net\"";
const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_RETRY_SECONDS: u64 = 60;
/// Retried requests are not signed anew, and a signature is good for a quarter of an hour.
const MAX_RETRY_SECONDS: u64 = 300;
const DEFAULT_GC_INTERVAL_SECONDS: u64 = 6 * 3600;
const DEFAULT_GC_GRACE_SECONDS: u64 = 3600;
const MAX_GC_SECONDS: u64 = 30 * 24 * 3600;

/// Where manifests and packs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The bucket; `None` means the folder `store` in the data folder.
    pub bucket: Option<BucketConfig>,
    /// How often what nobody needs is looked for.
    pub gc_interval: Duration,
    /// How long an object stays that was written and that nobody needs.
    pub gc_grace: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            bucket: None,
            gc_interval: Duration::from_secs(DEFAULT_GC_INTERVAL_SECONDS),
            gc_grace: Duration::from_secs(DEFAULT_GC_GRACE_SECONDS),
        }
    }
}

/// A bucket of an S3 service. Its credentials are elsewhere: this may be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// Name of the bucket, and what all keys begin with.
    pub url: BucketUrl,
    /// The service; `None` means Amazon's in the region.
    pub endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is named in the path of a URL, not in its host.
    pub path_style: bool,
    /// File with the credentials; `None` means the environment.
    pub credentials_file: Option<PathBuf>,
    /// Certificates of the CA that the service is trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long a request is repeated when the service cannot be reached or is overloaded.
    pub retry: Duration,
}

/// `s3://bucket/prefix`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Name of the bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
}

impl std::fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.prefix)
        }
    }
}

impl FromStr for BucketUrl {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let rest = s.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let named = (3..=63).contains(&bucket.len())
            && bucket.chars().all(|c| edge(c) || c == '.' || c == '-')
            && bucket.starts_with(edge)
            && bucket.ends_with(edge);
        if !named {
            return Err("the bucket's name is not 3 to 63 lower-case letters, digits, dots and hyphens");
        }
        let prefix = prefix.trim_end_matches('/');
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if prefix.len() > 512 || !(prefix.is_empty() || prefix.split('/').all(plain)) {
            return Err(
                "the prefix has something other than letters, digits, dots, hyphens, underscores and single slashes",
            );
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> StoreConfig {
    let mut keys = Keys::new("store", table, problems);
    let bucket = read_bucket(&mut keys);
    let mut seconds =
        |key: &'static str, default| Duration::from_secs(keys.count(key, MAX_GC_SECONDS).unwrap_or(default));
    let gc_interval = seconds("gc_interval_seconds", DEFAULT_GC_INTERVAL_SECONDS);
    let gc_grace = seconds("gc_grace_seconds", DEFAULT_GC_GRACE_SECONDS);
    keys.finish();
    StoreConfig {
        bucket,
        gc_interval,
        gc_grace,
    }
}

/// The keys that name a bucket and how it is reached; `None` when there is no URL.
pub(super) fn read_bucket(keys: &mut Keys<'_>) -> Option<BucketConfig> {
    let url: Option<BucketUrl> = keys.text("url", "\"s3://bucket/prefix\"");
    let endpoint: Option<Url> = keys.text("endpoint", ENDPOINT_EXAMPLE);
    if let Some(cause) = endpoint.as_ref().and_then(refused) {
        keys.note(
            "endpoint",
            cause,
            format!("Write it like {ENDPOINT_EXAMPLE}; credentials go into credentials_file."),
        );
    }
    let region = keys.text::<String>("region", "\"eu-central-1\"");
    let path_style = keys.flag("path_style");
    let mut path = |key: &'static str, example: &str| keys.text(key, example).map(|AbsolutePath(path)| path);
    let credentials_file = path("credentials_file", "\"/etc/imprint/s3.toml\"");
    let ca_file = path("ca_file", "\"/etc/imprint/s3-ca.pem\"");
    let retry = keys.count("retry_seconds", MAX_RETRY_SECONDS);
    let of_buckets = endpoint.is_some()
        || region.is_some()
        || path_style.is_some()
        || credentials_file.is_some()
        || ca_file.is_some()
        || retry.is_some();
    if url.is_none() && of_buckets && !keys.has_problem("url") {
        keys.note(
            "url",
            "is not set, but other keys of this section tell how a bucket is reached",
            "Set it like \"s3://bucket/prefix\", or remove those keys to keep images in the data folder.",
        );
    }
    url.map(|url| BucketConfig {
        url,
        path_style: path_style.unwrap_or(endpoint.is_some()),
        endpoint,
        region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        credentials_file,
        ca_file,
        retry: Duration::from_secs(retry.unwrap_or(DEFAULT_RETRY_SECONDS)),
    })
}

/// What the base URL of a service must not be. The URL itself is not repeated: it may hold a password.
fn refused(url: &Url) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        Some("does not begin with https:// or http:// and a host")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("has a user name or password in it")
    } else if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        Some("has more than scheme, host and port")
    } else {
        None
    }
}
