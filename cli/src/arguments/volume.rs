//! `imprint volume …`

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

/// What a server takes a volume for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DiskKind {
    VirtioBlk,
    Nvme,
}

impl DiskKind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk",
            Self::Nvme => "nvme",
        }
    }
}

/// A volume that its storage has already, or that the controller makes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("content").required(true).multiple(true).args(["size", "from_image"]))]
#[command(group = ArgGroup::new("backing").multiple(true).args(["subsystem", "card_name", "serial", "wwn"]))]
pub struct NewVolume {
    /// Its name
    pub name: String,
    /// Its size (100GiB, or bytes) [default: that of the image's disk]
    #[arg(long, value_name = "SIZE", value_parser = crate::measure::parse_bytes)]
    pub size: Option<u64>,
    /// Image whose disk the volume is to begin with
    #[arg(long, value_name = "IMAGE", conflicts_with = "backing")]
    pub from_image: Option<String>,
    /// Which disk of the image, when it has several
    #[arg(long, value_name = "ROLE", requires = "from_image")]
    pub role: Option<String>,
    /// Storage system that speaks NVMe/TCP: NQN of the subsystem
    #[arg(long, value_name = "NQN", requires = "namespace", requires = "address")]
    pub subsystem: Option<String>,
    /// Number of the namespace in the subsystem
    #[arg(long, value_name = "N", requires = "subsystem")]
    pub namespace: Option<u32>,
    /// IP address and port of the storage system; several are used for failover
    #[arg(long, value_name = "IP:PORT", requires = "subsystem")]
    pub address: Vec<String>,
    /// Volume that the card knows already, by the card's name for it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subsystem", "serial", "wwn"])]
    pub card_name: Option<String>,
    /// Disk that somebody else has presented to the server already, by its serial number
    #[arg(long, value_name = "SERIAL", conflicts_with = "subsystem")]
    pub serial: Option<String>,
    /// The same, by its world-wide name
    #[arg(long, value_name = "WWN", conflicts_with = "subsystem")]
    pub wwn: Option<String>,
    /// Id or name of the project whose it is to be [default: platform]
    #[arg(long)]
    pub project: Option<String>,
    /// Requests a second that it may use, in thousands
    #[arg(long, value_name = "N")]
    pub kiops: Option<u32>,
    /// Megabytes a second that it may use
    #[arg(long, value_name = "N")]
    pub mb_per_s: Option<u32>,
}

/// Volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// All volumes
    #[command(after_help = "Example:\n  imprint volume list")]
    List,
    /// One volume: where it is, and what it waits for
    #[command(after_help = "Example:\n  imprint volume show web-data")]
    Show {
        /// Id or name
        volume: String,
    },
    /// Make a volume, or make one known that its storage has already
    #[command(after_help = "\
With the size alone the controller makes the volume, full of zeros, when its configuration has a back-end
for that ([volumes]). From an image it is `preparing` until it is `available`: the image is written once,
and each volume is a copy that takes room only as it changes, where the file system can. Of a volume that is there already the size has to be right: where a card sets no
serial numbers, the disk is known by it.

Examples:
  imprint volume create scratch --size 20GiB
  imprint volume create web-12-root --from-image debian-12 --size 40GiB
  imprint volume create web-data --size 100GiB --subsystem nqn.2026-01.com.example:array-1 \\
      --namespace 3 --address 192.0.2.7:4420 --address 192.0.2.8:4420
  imprint volume create memory --size 10GiB --card-name Malloc0
  imprint volume create lun-7 --size 500GiB --wwn 0x600140512345678")]
    Create {
        #[command(flatten)]
        new: Box<NewVolume>,
    },
    /// Have a volume shown to a server by its SDI card
    #[command(after_help = "\
Answers at once: the volume is `attaching` until it is `attached`, or has an `error`. Asking again
for the same is no error, and tries again after one. A disk that somebody else has presented already
(--serial, --wwn) is attached at once: no card is asked.

Examples:
  imprint volume attach web-data web-07
  imprint volume attach web-data web-07 --kind nvme --function 2")]
    Attach {
        /// Id or name
        volume: String,
        /// Id, name, UUID, serial or MAC of the server
        node: String,
        /// What the server is to take it for
        #[arg(long, value_enum, default_value = "virtio-blk")]
        kind: DiskKind,
        /// Physical function of the card [default: the first one without a volume]
        #[arg(long, value_name = "N")]
        function: Option<u16>,
    },
    /// Have a volume taken away from its server, which must not use it any more
    #[command(after_help = "\
Answers at once: the volume is `detaching` until it is `available`, or has an `error`.

Refused while a deployment works on it, while a server runs the system on it, and while it is mounted, as the
server's plugin says; --force takes it away all the same, and is written down.

With --abandon the card is not asked, and what it still shows becomes an orphan (`imprint volume orphans`). That
is for cards and servers that are gone: a server that still writes harms what another one does with the
volume.

Examples:
  imprint volume detach web-data
  imprint volume detach web-data --force
  imprint volume detach web-data --abandon")]
    Detach {
        /// Id or name
        volume: String,
        /// Though somebody works with it
        #[arg(long)]
        force: bool,
        /// The same, and without asking the card
        #[arg(long)]
        abandon: bool,
    },
    /// Forget a volume that no server has
    #[command(after_help = "\
What the controller has made is deleted with its bytes. Other bytes stay where they are.

Example:
  imprint volume delete web-data")]
    Delete {
        /// Id or name
        volume: String,
    },
    /// What cards show, and the controller has made, that no volume stands for; asks every card
    #[command(after_help = "Example:\n  imprint volume orphans")]
    Orphans,
}
