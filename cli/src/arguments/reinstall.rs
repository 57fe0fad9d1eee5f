//! `imprint reinstall`

use std::{path::PathBuf, time::Duration};

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Only the disk of the system is written, and of the image only what is not on it already; other disks stay as they are. User-data
and network configuration are not kept by the controller: give them again. `imprint deploy --reinstall` takes everything else.

Examples:
  imprint reinstall web-07 --user-data user.yaml --wait
  imprint reinstall web-07 web-08 --family debian --wait --timeout 1h")]
pub struct ReinstallArguments {
    /// Id, name, UUID, serial or MAC of each server
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Id or name of the image; without it the one of the last installation
    #[arg(long)]
    pub image: Option<String>,
    /// The newest active image of this family
    #[arg(long, conflicts_with = "image")]
    pub family: Option<String>,
    /// The disk to write; without it and without an image, that of the last installation
    #[arg(long, value_name = "RULE")]
    pub disk: Option<String>,
    /// cloud-init user-data, as it is or packed by gzip, at most 64 KiB
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// network-config version 2 or OpenStack's network_data.json; without it DHCP on the boot NIC
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Wait until all have ended, with a live display; exit code 0 only if all succeeded
    #[arg(long)]
    pub wait: bool,
    /// Stop waiting after this time (90s, 30m, 2h); the deployments go on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = crate::measure::parse_duration)]
    pub timeout: Option<Duration>,
}
