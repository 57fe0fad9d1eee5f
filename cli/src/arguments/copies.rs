//! `imprint image export` and `imprint image copy`

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "\
Formats: raw, raw.zst, qcow2, qcow2-zstd (compressed, for QEMU 5.1 and newer), vmdk (streamOptimized), vhd (dynamic).

The file gets its name when it is complete and its digest is right; FILE.sha256 and FILE.json, what is known of the image, \
are put beside it. A transfer that broke off goes on when the command is given again.

Examples:
  imprint image export debian-12 debian-12.qcow2
  imprint image export debian-12 disk.img --format raw
  imprint image export debian-12 --to s3:backup/images/debian-12.qcow2 --format qcow2 --wait")]
pub struct ExportArguments {
    /// Id or name
    pub image: String,
    /// The new file
    #[arg(required_unless_present = "to", conflicts_with = "to")]
    pub file: Option<PathBuf>,
    /// A bucket of the controller's configuration, and the key of the object in it; without a key the image's name
    #[arg(long, value_name = "s3:NAME[/KEY]", value_parser = destination)]
    pub to: Option<Destination>,
    /// Format of the file; without it the one that FILE ends with, else raw
    #[arg(long)]
    pub format: Option<String>,
    /// Role of the disk, when the image has several
    #[arg(long)]
    pub disk: Option<String>,
    /// Replace what is there already
    #[arg(long)]
    pub overwrite: bool,
    /// With --to: wait until the job has ended
    #[arg(long, requires = "to")]
    pub wait: bool,
    /// With --wait: stop waiting after this time (90s, 30m, 2h); the job goes on
    #[arg(long, value_name = "TIME", value_parser = crate::measure::parse_duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

/// `s3:NAME/KEY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub name: String,
    pub key: Option<String>,
}

fn destination(text: &str) -> Result<Destination, String> {
    let rest = text.strip_prefix("s3:").ok_or("write it like s3:NAME/KEY")?;
    if rest.starts_with('/') {
        return Err(
            "it is the name that the controller's configuration has for a bucket, not a URL: s3:NAME/KEY"
                .to_owned(),
        );
    }
    let (name, key) = match rest.split_once('/') {
        Some((name, key)) => (name, Some(key.to_owned()).filter(|key| !key.is_empty())),
        None => (rest, None),
    };
    if name.is_empty() {
        return Err("write it like s3:NAME/KEY".to_owned());
    }
    Ok(Destination {
        name: name.to_owned(),
        key,
    })
}

#[derive(Debug, Args)]
#[command(after_help = "\
The copy belongs to the project of the token and is private. A copy of a shared image stays when the sharing ends. To \
another region only those chunks are sent that are not there yet; a copy that broke off goes on when the command is given \
again.

Examples:
  imprint image copy golden my-golden --wait
  imprint image copy golden --to-region west --wait")]
pub struct CopyArguments {
    /// Id or name
    pub image: String,
    /// Name of the copy; that of the image when it goes to another region
    #[arg(required_unless_present = "to_region")]
    pub name: Option<String>,
    /// Another region, as the controller's configuration calls it
    #[arg(long, value_name = "REGION")]
    pub to_region: Option<String>,
    /// Description of the copy; that of the image without it
    #[arg(long)]
    pub description: Option<String>,
    /// Id of the project that it is to belong to; administrators only
    #[arg(long)]
    pub project: Option<String>,
    /// Whether the copy is encrypted in the store
    #[arg(long, value_enum, default_value_t = Encrypt::Keep)]
    pub encrypt: Encrypt,
    /// Wait until the job has ended
    #[arg(long)]
    pub wait: bool,
    /// With --wait: stop waiting after this time (90s, 30m, 2h); the job goes on
    #[arg(long, value_name = "TIME", value_parser = crate::measure::parse_duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encrypt {
    Keep,
    Yes,
    No,
}

impl Encrypt {
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Yes => "yes",
            Self::No => "no",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_name_and_maybe_a_key() {
        let of = |name: &str, key: Option<&str>| Destination {
            name: name.to_owned(),
            key: key.map(str::to_owned),
        };
        for (text, expected) in [
            ("s3:backup/a/b.raw", Some(of("backup", Some("a/b.raw")))),
            ("s3:backup", Some(of("backup", None))),
            ("s3:backup/", Some(of("backup", None))),
            ("s3://bucket/key", None),
            ("s3:", None),
            ("backup/key", None),
        ] {
            assert_eq!(destination(text).ok(), expected, "{text}");
        }
    }
}
