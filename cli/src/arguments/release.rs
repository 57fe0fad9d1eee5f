//! `imprint release`

use std::time::Duration;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "\
The server boots the ramdisk from the network, its local disks are wiped, and what was done is proven by samples that are
read back (docs/wipe.md). Volumes stay as they are. `imprint node wipes` shows the certificates.

Examples:
  imprint release web-07 --wait
  imprint release web-07 web-08 --wipe overwrite --wait --timeout 12h
  imprint release store-3 --leave transport=sas")]
pub struct ReleaseArguments {
    /// Id, name, UUID, serial or MAC of each server
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// How the disks are wiped
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = WipeMethod::Auto)]
    pub wipe: WipeMethod,
    /// Leave the disks alone that this rule means; repeatable (docs/disk-rules.md)
    #[arg(long, value_name = "RULE")]
    pub leave: Vec<String>,
    /// Wait until all have ended; succeed only if all did
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this time: 90s, 30m, 2h; the releases go on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = crate::measure::parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WipeMethod {
    /// The best that each disk can do and prove
    Auto,
    /// Zeroes by a command that guarantees them
    Discard,
    /// Zeroes over every byte that can be addressed
    Overwrite,
    /// Signatures and both ends only: the rest stays readable
    Quick,
}

impl WipeMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Discard => "discard",
            Self::Overwrite => "overwrite",
            Self::Quick => "quick",
        }
    }
}
