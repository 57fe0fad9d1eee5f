//! `imprint rescue`

use std::{path::PathBuf, time::Duration};

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
The server boots the ramdisk with an ssh server and tools; no disk is touched. The password of
root is printed once and good for one login. The rescue ends with --end, or by itself: the server
restarts, and the node is what it was before (docs/rescue.md).

Examples:
  imprint rescue web-07
  imprint rescue web-07 --ssh-key ~/.ssh/id_ed25519.pub --for 12h
  imprint rescue web-07 --new-password
  imprint rescue web-07 --end")]
pub struct RescueArguments {
    /// Id, name, UUID, serial or MAC of the server
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Let this public key in as well, and more than once; repeatable
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Vec<PathBuf>,
    /// End by itself after this time, 5m to 7d; 4h if it is not given
    #[arg(long = "for", value_name = "TIME", value_parser = crate::measure::parse_duration)]
    pub life: Option<Duration>,
    /// Make another one-time password for the rescue that runs
    #[arg(long, conflicts_with_all = ["ssh_key", "life", "end"])]
    pub new_password: bool,
    /// End the rescue: its sessions end, the server restarts
    #[arg(long, conflicts_with_all = ["ssh_key", "life"])]
    pub end: bool,
    /// Do not wait until somebody can get in, or until it has ended
    #[arg(long)]
    pub no_wait: bool,
    /// Give up waiting after this time: 90s, 30m, 2h; the rescue goes on
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait", value_parser = crate::measure::parse_duration)]
    pub timeout: Option<Duration>,
}
