//! `imprint image import`

use std::time::Duration;

use clap::Args;

use super::image_change::pair;
use crate::measure;

/// What is imported, and what the image is to be.
#[derive(Debug, Clone, Args)]
pub struct ImportArguments {
    /// The image file, its http(s) URL, `-` for standard input, oci://REGISTRY/NAME:TAG, or s3://BUCKET/KEY with the
    /// controller's name of the bucket
    #[arg(value_name = "FILE_OR_URL")]
    pub source: String,
    /// Name in the catalogue
    #[arg(long)]
    pub name: String,
    /// Format of the file; `auto` looks at its first bytes
    #[arg(long, default_value = "auto")]
    pub format: String,
    /// SHA-256 that the file, as it is, must have: 64 hex digits
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<[u8; 32]>,
    /// Logical sector size that the disk was made for, 512 or 4096; its partition table tells otherwise
    #[arg(long, value_name = "BYTES")]
    pub sector_size: Option<u32>,
    /// What it holds: system-disk, data-disk or iso
    #[arg(long, help_heading = "The image")]
    pub kind: Option<String>,
    /// The family whose version it is
    #[arg(long, help_heading = "The image")]
    pub family: Option<String>,
    /// Which version of the family
    #[arg(long, help_heading = "The image")]
    pub version: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", help_heading = "The image")]
    pub description: Option<String>,
    /// Distribution, such as debian; found in the image when it is left out
    #[arg(long, help_heading = "The image")]
    pub os: Option<String>,
    /// Version of the distribution, such as 12
    #[arg(long, value_name = "VERSION", help_heading = "The image")]
    pub os_version: Option<String>,
    /// Machine, such as x86_64
    #[arg(long, help_heading = "The image")]
    pub arch: Option<String>,
    /// How firmware starts it: uefi, bios, or both with a comma
    #[arg(long, value_name = "MODES", help_heading = "The image")]
    pub boot: Option<String>,
    /// The smallest disk that it is used on, such as 20GiB
    #[arg(long, value_name = "SIZE", value_parser = measure::parse_bytes, help_heading = "The image")]
    pub min_disk: Option<u64>,
    /// The least memory of its machines, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = measure::parse_bytes, help_heading = "The image")]
    pub min_memory: Option<u64>,
    /// A word to find it by; may be given several times
    #[arg(long = "tag", value_name = "TAG", help_heading = "The image")]
    pub tags: Vec<String>,
    /// Something to be noted; may be given several times. Families show `build_date` and `update_policy` of their newest
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair, help_heading = "The image")]
    pub properties: Vec<(String, String)>,
    /// What machines it was made for: baremetal (without it), vm or any
    #[arg(long, help_heading = "The image")]
    pub target: Option<String>,
    /// Who sees it: private (without it), public or community; admins only, and refused like `imprint image publish` would
    #[arg(long, help_heading = "The image")]
    pub visibility: Option<String>,
    /// Model of servers that it was tried on; may be given several times
    #[arg(long, value_name = "MODEL", help_heading = "The image")]
    pub certified_for: Vec<String>,
    /// On what terms it may be used
    #[arg(long, value_name = "NAME", help_heading = "The image")]
    pub license: Option<String>,
    /// Where the text of the licence is
    #[arg(long, value_name = "URL", requires = "license", help_heading = "The image")]
    pub license_url: Option<String>,
    /// Whoever deploys it needs a licence of their own
    #[arg(long, requires = "license", help_heading = "The image")]
    pub license_required: bool,
    /// Id or name of the image that it was made from
    #[arg(long, value_name = "IMAGE", help_heading = "The image")]
    pub parent: Option<String>,
    /// Encrypt it in the store with a key of its own
    #[arg(long, conflicts_with = "no_encrypt", help_heading = "The image")]
    pub encrypt: bool,
    /// Do not encrypt it, whatever the controller's configuration says
    #[arg(long, help_heading = "The image")]
    pub no_encrypt: bool,
    /// Cannot be deleted
    #[arg(long, help_heading = "The image")]
    pub protected: bool,
    /// Let the controller fetch the URL, or the artifact of the registry
    #[arg(long, help_heading = "Fetched by the controller")]
    pub by_controller: bool,
    /// Name of a credential in the controller's configuration
    #[arg(
        long,
        value_name = "NAME",
        requires = "by_controller",
        help_heading = "Fetched by the controller"
    )]
    pub credential: Option<String>,
    /// Title, media type or digest of the artifact's layer, if it has several
    #[arg(long, requires = "by_controller", help_heading = "Fetched by the controller")]
    pub layer: Option<String>,
    /// Wait until the image can be used, with live progress; exit code 0 only then
    #[arg(long, requires = "by_controller", help_heading = "Fetched by the controller")]
    pub wait: bool,
    /// Stop waiting after this time (90s, 30m, 2h); the import goes on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = measure::parse_duration, help_heading = "Fetched by the controller")]
    pub timeout: Option<Duration>,
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim(), &mut digest)
        .map_err(|_| "64 hex digits are needed, as `sha256sum` prints them".to_owned())?;
    Ok(digest)
}
