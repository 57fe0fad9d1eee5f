//! The command line. What `--help` says is a contract: it is checked in under `src/snapshots`.

mod batch;
mod copies;
mod guest;
mod image;
mod image_change;
mod import;
mod job;
mod matching;
mod node;
mod power;
mod reinstall;
mod release;
mod rescue;
mod sharing;
mod store;
mod tenants;
mod volume;
mod webhook;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use batch::BatchCommand;
pub use copies::{CopyArguments, Destination, ExportArguments};
pub use guest::GuestCommand;
pub use image::ImageCommand;
pub use image_change::{ComposeArguments, ImageListArguments, StateArguments, UpdateArguments, When};
pub use import::ImportArguments;
pub use job::JobCommand;
pub use matching::{MatchArguments, ModelCommand, word};
pub use node::NodeCommand;
pub use power::{BmcKind, NewBmc, PowerAct, PowerArguments};
pub use reinstall::ReinstallArguments;
pub use release::ReleaseArguments;
pub use rescue::RescueArguments;
pub use sharing::{Audience, Publish, QuotaCommand, SharingCommand, UsageArguments};
pub use store::StoreCommand;
pub use tenants::{NewToken, ProjectCommand, ProjectSettings, TokenCommand, UserCommand};
pub use volume::{DiskKind, NewVolume, VolumeCommand};
pub use webhook::{NewWebhook, WebhookCommand};

/// Put operating systems onto bare metal: the operator's command of Imprint.
#[derive(Debug, Parser)]
#[command(
    name = "imprint",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = "\
Environment:
  IMPRINT_URL         the controller, as --url
  IMPRINT_TOKEN       the API token itself; there is no flag for it, flags can be read by other users
  IMPRINT_TOKEN_FILE  a file with the API token, as --token-file; wins over IMPRINT_TOKEN
  IMPRINT_CA          the controller's CA, as --ca

Exit codes:
  0 success   1 failure   2 the command line is wrong   3 --timeout is over   130 interrupted

Examples:
  export IMPRINT_URL=https://10.0.0.1:8443 IMPRINT_CA=ca.pem IMPRINT_TOKEN_FILE=admin.token
  imprint image import debian-12.qcow2 --name debian-12
  imprint image import https://example.org/debian-12.qcow2 --name debian-12 --sha256 3f9a…
  imprint node approve 52:54:00:12:34:56 --name web-07
  imprint deploy web-07 --image debian-12 --user-data user.yaml --wait
  imprint why web-07")]
pub struct Arguments {
    #[command(flatten)]
    pub connection: ConnectionArguments,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct ConnectionArguments {
    /// Address of the controller, for example https://10.0.0.1:8443
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub url: Option<String>,
    /// File that holds the API token; without it IMPRINT_TOKEN is used
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub token_file: Option<PathBuf>,
    /// PEM file with the controller's CA, the only one trusted then; without it those of this system are
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub ca: Option<PathBuf>,
    /// Tables for people, or the server's own JSON for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = "Connection")]
    pub output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Import images, find them and look after them
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look at servers and take them into service
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at installed systems through their guest plugin, and set passwords
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Network volumes that SDI cards show to servers as disks
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Say what kinds of servers there are, and what they need
    #[command(subcommand)]
    Model(ModelCommand),
    /// Which images fit a server, or which servers an image, and why not the others; changes nothing
    Match(MatchArguments),
    /// Put an image onto one or more servers
    Deploy(DeployArguments),
    /// Install servers anew: with the same image, or with another
    Reinstall(ReinstallArguments),
    /// Wipe the disks of servers, with proof: they are available then
    Release(ReleaseArguments),
    /// Work in the ramdisk of a server by ssh, with a one-time password
    Rescue(RescueArguments),
    /// Look at batches of deployments and stop them
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Look at deployments, releases and rescues, and cancel them
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Look at the controller's long work, wait for it and cancel it
    #[command(subcommand)]
    Job(JobCommand),
    /// Look after the artifact store: its size, its garbage, whether all of it is whole
    #[command(subcommand)]
    Store(StoreCommand),
    /// Follow running deployments live, until interrupted
    #[command(after_help = "\
With --output json each event and each progress report is one line.

Examples:
  imprint watch
  imprint watch web-07")]
    Watch {
        /// Only this server: id, name, UUID, serial or MAC
        node: Option<String>,
    },
    /// What a server does or waits for, what failed and what to do about it
    #[command(after_help = "\
Examples:
  imprint why web-07
  imprint why 52:54:00:12:34:56 --output json")]
    Why {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// What has happened
    #[command(after_help = "\
With --follow and --output json each event is one line.

Examples:
  imprint events --node web-07
  imprint events --last 20
  imprint events --follow")]
    Events {
        /// Only those of this server: id, name, UUID, serial or MAC
        #[arg(long)]
        node: Option<String>,
        /// Only the newest N; all without it, 10 with --follow
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// Go on with new ones as they happen, until interrupted
        #[arg(long, short)]
        follow: bool,
    },
    /// Where events are sent to
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Projects, and who is what in them
    #[command(subcommand)]
    Project(ProjectCommand),
    /// What projects may keep
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// What is to be paid for: storage, deployments, images that have a price
    Usage(UsageArguments),
    /// Users (admins only)
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who the token is, and what it may do
    #[command(after_help = "Example:\n  imprint whoami")]
    Whoami,
    /// Versions of this command and of the controller
    #[command(after_help = "Example:\n  imprint version")]
    Version,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Disk rules name one disk by stable facts, all of which must hold: serial, wwn, nguid, model, vendor, transport, pci, path,
size, rotational. Without a rule the server must have exactly one disk that can be written.

With --output json the deployments are printed as an array, also for one server: as they were created, or with --wait
as they ended.

Examples:
  imprint deploy web-07 --image debian-12 --wait
  imprint deploy web-07 web-08 web-09 --image debian-12 --user-data user.yaml --wait --timeout 1h
  imprint deploy $(cat rack-7) --image debian-12 --at-once 10 --stop-after 2 --wait
  imprint deploy db-01 --image debian-12 --disk 'transport=nvme,size>=400GB' --network net.yaml
  imprint deploy web-10 --family debian --wait
  imprint deploy web-12 --image debian-12 --volume web-12-root --volume-kind nvme
  imprint deploy web-13 --volume web-12-root --keep-content --wait
  imprint deploy web-11 --image debian-12 --kernel-argument console=ttyS1,115200 --fresh-uuids
  imprint deploy store-3 --image dataset --disk serial=S3X0NB0K --no-finish
  imprint deploy shop-1 --image shop --role db --disk transport=sata --no-finish")]
pub struct DeployArguments {
    /// Id, name, UUID, serial or MAC of each server
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Id or name of the image; without it the one that is on the volume
    #[arg(long, required_unless_present_any = ["family", "volume"])]
    pub image: Option<String>,
    /// The newest active image of this family
    #[arg(long, conflicts_with = "image")]
    pub family: Option<String>,
    /// Which disk of an image that has several
    #[arg(long)]
    pub role: Option<String>,
    /// The disk to write: a rule, or root device hints of Ironic or Metal3 (docs/disk-rules.md); without it the one that the
    /// server's hardware model starts from, else the only one
    #[arg(long, value_name = "RULE")]
    pub disk: Option<String>,
    /// Onto this volume instead of a disk (imprint volume); an SDI card shows it to the server if none does yet
    #[arg(long, value_name = "VOLUME", conflicts_with = "disk")]
    pub volume: Option<String>,
    /// As what the card shows the volume; without it virtio-blk
    #[arg(long, value_enum, value_name = "KIND", requires = "volume")]
    pub volume_kind: Option<DiskKind>,
    /// Keep what a system has left on the volume, and make it this server's: nothing is streamed
    #[arg(long, requires = "volume")]
    pub keep_content: bool,
    /// Let go what is on the disk of this name: serial, WWN, NGUID, EUI-64, volume id; repeatable
    #[arg(long, value_name = "SERIAL")]
    pub wipe: Vec<String>,
    /// Only tell what would be done: which disk, what is on it, what goes, what stays
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// cloud-init user-data, as it is or packed by gzip, at most 64 KiB
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// network-config version 2 or OpenStack's network_data.json; without it DHCP on the boot NIC
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Host name; without it the server's name
    #[arg(long)]
    pub hostname: Option<String>,
    /// What the firmware tries first after this deployment
    #[arg(long, value_enum, value_name = "ORDER")]
    pub boot_order: Option<BootOrder>,
    /// What becomes of users that the image brings; without it what the image's property image_users says, else keep
    #[arg(long, value_enum, value_name = "POLICY")]
    pub image_users: Option<ImageUsers>,
    /// The form of cloud-init's seed; without it what the image's property data_source says, else nocloud
    #[arg(long, value_enum, value_name = "FORM")]
    pub data_source: Option<DataSource>,
    /// Give the image's file systems UUIDs of their own
    #[arg(long)]
    pub fresh_uuids: bool,
    /// Add this to the command line of the installed kernels; repeatable
    #[arg(long, value_name = "WORD")]
    pub kernel_argument: Vec<String>,
    /// Which console the installed system gets besides those of the image
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub console: Option<Console>,
    /// Put cloud-init's seed on a partition of its own where no root can be written (LUKS); no report of the first boot then.
    /// Without it as the image's facts say
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub seed_partition: Option<bool>,
    /// Write the image's bytes and nothing else: a data disk
    #[arg(long)]
    pub no_finish: bool,
    /// Allow servers in state active; what is on the disk is lost
    #[arg(long)]
    pub reinstall: bool,
    /// Deploy an image of another model of servers all the same; that is written down
    #[arg(long)]
    pub allow_unverified: bool,
    /// Wait until all have ended, with a live display; exit code 0 only if all succeeded
    #[arg(long)]
    pub wait: bool,
    /// As a batch that lets so many run at a time; the others wait for their turn
    #[arg(long, value_name = "N", conflicts_with = "dry_run")]
    pub at_once: Option<u32>,
    /// As a batch in which no further one begins after so many failures
    #[arg(long, value_name = "N", conflicts_with = "dry_run")]
    pub stop_after: Option<u32>,
    /// Stop waiting after this time (90s, 30m, 2h); the deployments go on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = crate::measure::parse_duration)]
    pub timeout: Option<std::time::Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BootOrder {
    /// The network stays first; only the next boot goes to the disk
    NetworkFirst,
    /// The installed system's entry comes first
    DiskFirst,
    /// The order is left as it is; only the next boot goes to the disk
    NextBootOnly,
}

/// What becomes of users that the image brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageUsers {
    /// They stay as they are
    Keep,
    /// Their authorized_keys go
    RemoveKeys,
    /// Their passwords are locked
    LockPasswords,
    /// Both
    RemoveAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Console {
    /// None by itself, the default
    None,
    /// The serial one that the firmware names
    Firmware,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataSource {
    /// NoCloud, the default
    Nocloud,
    /// The layout of OpenStack's configuration drive
    ConfigDrive,
}

#[derive(Debug, Subcommand)]
pub enum DeploymentCommand {
    /// All deployments
    #[command(after_help = "Examples:\n  imprint deployment list\n  imprint deployment list --node web-07")]
    List {
        /// Only those of this server: id, name, UUID, serial or MAC
        #[arg(long)]
        node: Option<String>,
    },
    /// One deployment with its steps
    #[command(after_help = "Example:\n  imprint deployment show 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Show {
        /// Id of the deployment
        deployment: String,
    },
    /// What the agent and its kernel said while they worked on it
    #[command(after_help = "\
A line that begins with # says how much is missing: the log is kept for a while, and up to a size.

Examples:
  imprint deployment log 01JD3Y6N9M1V9S1M6V1M3B3W5T
  imprint deployment log 01JD3Y6N9M1V9S1M6V1M3B3W5T --tail 50 --follow")]
    Log {
        /// Id of the deployment
        deployment: String,
        /// Only the last N lines
        #[arg(long, value_name = "N")]
        tail: Option<u32>,
        /// Go on with new lines as they come, until the deployment has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a running deployment; a disk that was begun cannot boot afterwards
    #[command(after_help = "Example:\n  imprint deployment cancel 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Cancel {
        /// Id of the deployment
        deployment: String,
    },
    /// Take the system of a failed deployment as it is: it is up, but not all of it went well
    #[command(after_help = "Example:\n  imprint deployment accept 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Accept {
        /// Id of the deployment
        deployment: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn helps(command: &mut clap::Command, path: &str, all: &mut String) {
        all.push_str(&format!("$ {path} --help\n{}\n", command.render_long_help()));
        for sub in command.get_subcommands_mut() {
            let path = format!("{path} {}", sub.get_name());
            if sub.get_name() != "help" {
                helps(sub, &path, all);
            }
        }
    }

    #[test]
    fn every_command_is_described_as_checked_in() {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut all = String::new();
        helps(&mut command, "imprint", &mut all);
        let all: String = all.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        insta::assert_snapshot!("help", all);
    }

    #[test]
    fn every_command_that_does_something_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(
                        help.contains("Example") && help.contains(&path),
                        "{path} has no example"
                    );
                }
            }
        }
        let command = Arguments::command();
        command.clone().debug_assert();
        check(&command, "imprint");
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for (line, kind) in [
            (
                &["imprint", "deploy", "--image", "x"][..],
                ErrorKind::MissingRequiredArgument,
            ),
            (
                &["imprint", "deploy", "n", "--image", "x", "--timeout", "5m"],
                ErrorKind::MissingRequiredArgument,
            ),
            (
                &[
                    "imprint",
                    "deploy",
                    "n",
                    "--image",
                    "x",
                    "--wait",
                    "--timeout",
                    "soon",
                ],
                ErrorKind::ValueValidation,
            ),
            (
                &["imprint", "node", "list", "--token", "secret"],
                ErrorKind::UnknownArgument,
            ),
            (
                &["imprint", "node", "list", "--output", "yaml"],
                ErrorKind::InvalidValue,
            ),
        ] {
            assert_eq!(
                Arguments::try_parse_from(line).unwrap_err().kind(),
                kind,
                "{line:?}"
            );
        }
    }
}
