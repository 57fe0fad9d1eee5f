//! The command line of `imprint-agent write`.

use std::path::PathBuf;

use clap::Args;

use crate::stream::{Delta, WriterChoice};

const EXAMPLES: &str = "\
Examples:
  Install an image on a disk. If the disk holds this image or an older version of it, only what differs is fetched:
    imprint-agent write --manifest https://store/manifests/3f9a… --pubkey key.pub --ca ca.pem --target /dev/vdb

  Write every chunk, whatever the disk holds, and read all of it back:
    imprint-agent write --manifest /srv/store/manifests/3f9a… --target /dev/vdb --delta off --read-back

  Install an encrypted image:
    imprint-agent write --manifest /srv/store/manifests/3f9a… --key-file image.key --target /dev/vdb

  Make a disk image of a plain file:
    truncate -s 10G disk.raw
    imprint-agent write --image debian.raw.xz --sha256 9c1b… --target disk.raw";

/// Write an image onto a disk or into a file, verified.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
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

    /// Data key of an encrypted image: a file with 64 hex digits that nobody else may read
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub key_file: Option<PathBuf>,

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

    /// Whether to look for chunks that the disk holds already: they are read and proven, neither fetched nor written.
    /// `auto` goes by a sample of the disk, and reads on as long as that is faster than fetching; `always` reads all of
    /// it and spares the network; `off` reads nothing
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        conflicts_with = "image"
    )]
    pub delta: Delta,

    /// Speak HTTP/2, over one connection; without this, only with servers that know nothing else
    #[arg(long)]
    pub http2: bool,

    /// What writes to the disk: `auto` is io_uring where the kernel allows it, else threads
    #[arg(
        long,
        value_name = "WRITER",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub writer: WriterChoice,

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
            "--manifest m --target t --delta auto --http2",
            "--manifest m --target t --delta off",
            "--manifest m --target t --delta always",
            "--manifest m --target t --writer threads",
            "--manifest m --target t --key-file k",
            "--image i --target t --writer auto",
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
            ("--image i --target t --delta off", ErrorKind::ArgumentConflict),
            ("--image i --target t --key-file k", ErrorKind::ArgumentConflict),
            ("--manifest m --target t --delta on", ErrorKind::InvalidValue),
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
