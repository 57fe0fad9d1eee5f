//! The command line of `imprint-agent write`.

use std::path::PathBuf;

use clap::Args;

/// Write an image onto a disk or into a file, verified.
#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// Manifest of an image; its packs are at ../packs/ beside it
    #[arg(
        long,
        value_name = "URL_OR_FILE",
        required_unless_present = "image",
        conflicts_with = "image"
    )]
    pub manifest: Option<String>,

    /// Plain image: raw, or raw in gzip, xz or zstd
    #[arg(long, value_name = "URL_OR_FILE")]
    pub image: Option<String>,

    /// Disk or file to write to; ALL ITS CONTENT IS LOST
    #[arg(long, value_name = "PATH")]
    pub target: PathBuf,

    /// Key that must have signed the manifest: 64 hex digits, or a file with one key a line
    #[arg(long, value_name = "HEX_OR_FILE", conflicts_with = "image")]
    pub pubkey: Option<String>,

    /// SHA-256 of the plain image file, as it is (compressed or not)
    #[arg(long, value_name = "HEX", conflicts_with = "manifest")]
    pub sha256: Option<String>,

    /// Write a plain image that nothing proves
    #[arg(long, conflicts_with_all = ["manifest", "sha256"])]
    pub unverified: bool,

    /// Certificates to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Read every chunk again from the disk after the write, and compare
    #[arg(long, conflicts_with = "image")]
    pub read_back: bool,

    /// Note in this file what is done; a killed write that is started again goes on (until the next boot)
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub journal: Option<PathBuf>,

    /// Memory for frames and buffers
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_memory: u32,

    /// How long a server that can't be reached is asked again while nothing comes
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub patience: u64,

    /// Progress and outcome as lines of JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        write: WriteArgs,
    }

    #[test]
    fn the_contract_is_accepted_and_what_makes_no_sense_is_not() {
        let parse = |line: &str| Cli::try_parse_from(format!("write {line}").split(' '));
        for line in [
            "--manifest m --target t",
            "--manifest http://x/m --target /dev/x --pubkey k --ca f --read-back --max-memory 32 --journal j --json",
            "--image i --target t --sha256 ab",
            "--image i --target t --unverified",
            "--image i --target t",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for (line, kind) in [
            ("--target t", ErrorKind::MissingRequiredArgument),
            ("--manifest m", ErrorKind::MissingRequiredArgument),
            ("--manifest m --image i --target t", ErrorKind::ArgumentConflict),
            (
                "--image i --target t --sha256 ab --unverified",
                ErrorKind::ArgumentConflict,
            ),
            ("--image i --target t --read-back", ErrorKind::ArgumentConflict),
            (
                "--manifest m --target t --unverified",
                ErrorKind::ArgumentConflict,
            ),
            (
                "--manifest m --target t --max-memory 0",
                ErrorKind::ValueValidation,
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
        }
    }
}
