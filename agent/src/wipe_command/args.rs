//! The command line of `imprint-agent wipe`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imprint_proto::agent::v1::WipePolicy;

const EXAMPLES: &str = "\
Examples:
  Wipe a disk as well as it can, and keep the certificate:
    imprint-agent wipe --target /dev/nvme0n1 --yes-wipe S4EVNX0R123456 --json > certificate.json

  Overwrite two disks side by side, and stop the array that they are in:
    imprint-agent wipe --method overwrite --release --target /dev/sda --yes-wipe Z1F0A --target /dev/sdb --yes-wipe Z1F0B

  Take only the signatures of a disk image away:
    imprint-agent wipe --method quick --target disk.img --yes-wipe disk.img";

/// How to wipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// The best that the disk can do and prove: it erases itself, or all is overwritten
    #[default]
    Auto,
    /// Zeroes that the disk guarantees, by command; written where it has no such command
    Discard,
    /// Zeroes over every byte
    Overwrite,
    /// Signatures and both ends only: the rest can still be read
    Quick,
}

impl Method {
    /// In the words of the wire.
    #[must_use]
    pub fn policy(self) -> WipePolicy {
        match self {
            Self::Auto => WipePolicy::Auto,
            Self::Discard => WipePolicy::Discard,
            Self::Overwrite => WipePolicy::Overwrite,
            Self::Quick => WipePolicy::Quick,
        }
    }
}

/// Make what disks hold unreadable, with proof.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct WipeArgs {
    /// Disk or file to wipe; ALL ITS CONTENT IS LOST. May be given several times
    #[arg(long, value_name = "PATH", required = true)]
    pub target: Vec<PathBuf>,

    /// How to wipe
    #[arg(long, value_name = "METHOD", value_enum, default_value_t)]
    pub method: Method,

    /// Serial number of the disk, or the path as it was given, once for each target
    #[arg(long, value_name = "SERIAL_OR_PATH", required = true)]
    pub yes_wipe: Vec<String>,

    /// Stop what holds a disk first: arrays, logical volumes and other maps. What is mounted is never stopped
    #[arg(long)]
    pub release: bool,

    /// Progress and certificates as lines of JSON on stdout
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
        wipe: WipeArgs,
    }

    #[test]
    fn nothing_is_wiped_without_a_name() {
        let parse = |line: &str| Cli::try_parse_from(format!("wipe {line}").split(' '));
        let both = parse("--target a --target b --yes-wipe S1 --yes-wipe b --method quick --release --json")
            .unwrap();
        assert_eq!(
            (both.wipe.target.len(), both.wipe.method.policy()),
            (2, WipePolicy::Quick)
        );
        assert_eq!(
            parse("--target a --yes-wipe a").unwrap().wipe.method,
            Method::Auto
        );
        for (line, kind) in [
            ("--target a", ErrorKind::MissingRequiredArgument),
            ("--yes-wipe a", ErrorKind::MissingRequiredArgument),
            ("--target a --yes-wipe a --method shred", ErrorKind::InvalidValue),
        ] {
            assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
        }
    }
}
