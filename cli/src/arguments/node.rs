//! `imprint node …`

use clap::Subcommand;

use super::power::{NewBmc, PowerArguments};

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// All servers
    #[command(after_help = "\
States: discovered, enrolled, available, deploying, releasing, rescue, active, failed, retired.

Examples:
  imprint node list
  imprint node list --state discovered")]
    List {
        /// Only those in this state
        #[arg(long)]
        state: Option<String>,
    },
    /// One server with its hardware
    #[command(after_help = "Example:\n  imprint node show web-07")]
    Show {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// Announce a server that is to come: it is in service from its first call
    #[command(after_help = "\
Examples:
  imprint node announce web-07 --mac 52:54:00:12:34:56
  imprint node announce web-08 --mac 52:54:00:12:34:57 --mac 52:54:00:12:34:58 --serial S3X0NB0K")]
    Announce {
        /// Its name: letters, digits and inner hyphens
        name: String,
        /// MAC address of a NIC that it boots from; repeatable
        #[arg(long, required = true, value_name = "MAC")]
        mac: Vec<String>,
        /// SMBIOS UUID
        #[arg(long)]
        uuid: Option<String>,
        /// Serial number
        #[arg(long)]
        serial: Option<String>,
    },
    /// Keep a server out of use: nothing is begun on it, what runs goes on
    #[command(after_help = "\
Examples:
  imprint node maintenance web-07 --reason 'new memory, ticket 4711'
  imprint node maintenance web-07 --end")]
    Maintenance {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// Why, for whoever asks
        #[arg(long, required_unless_present = "end")]
        reason: Option<String>,
        /// It may be used again
        #[arg(long, conflicts_with = "reason")]
        end: bool,
    },
    /// Take a server out of service for good; `approve` takes it back
    #[command(after_help = "\
Refused while it has a system: release it first.

Example:
  imprint node retire web-07")]
    Retire {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// What proves that disks were wiped, newest first; kept when servers are long gone
    #[command(after_help = "\
Examples:
  imprint node wipes web-07
  imprint node wipes --disk S3X0NB0K --output json")]
    Wipes {
        /// Only those of this server: its id, or the name that it had
        node: Option<String>,
        /// Only those of this disk: serial number or WWN
        #[arg(long, value_name = "SERIAL")]
        disk: Option<String>,
    },
    /// Keep what a server writes on its serial console, from standard input, in the log of its deployment
    #[command(after_help = "\
Goes on until the input ends. What comes while no deployment runs is kept nowhere.

Examples:
  tail -F /var/consoles/web-07 | imprint node console web-07
  imprint deployment log 01JD3Y6N9M1V9S1M6V1M3B3W5T --follow")]
    Console {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// Forget a server and its deployments; refused while one runs
    #[command(after_help = "\
Its events stay. If it boots from the network again it is discovered as a new server.

Example:
  imprint node delete web-07")]
    Delete {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// Say where a server's SDI card is, or that it has none
    #[command(after_help = "\
The card shows network volumes to the server (`imprint volume`). Its OPI service is asked without TLS:
keep it in the management network.

Examples:
  imprint node set-card web-07 10.0.9.17:50051
  imprint node set-card web-07 --none")]
    SetCard {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// HOST:PORT of its OPI service
        #[arg(required_unless_present = "none")]
        address: Option<String>,
        /// It has none
        #[arg(long, conflicts_with = "address")]
        none: bool,
    },
    /// Say where a server's BMC is, or that it has none
    #[command(after_help = "\
The password is kept encrypted, for this address and user alone; it is left out when both stay as they are.
Certificates of BMCs are mostly made by themselves: `imprint node power NODE status` shows the fingerprint of
the one that is not trusted. With --instructions alone the server is powered by hand.

Examples:
  imprint node set-bmc web-07 https://10.0.9.7 --user imprint --password-file bmc.password --fingerprint 5f3e…
  pass show bmc | imprint node set-bmc web-08 10.0.9.8 --kind ipmi --user imprint --password-stdin
  imprint node set-bmc web-11 https://10.0.9.11 --user imprint --password-file bmc.password --boot cd
  imprint node set-bmc web-09 --instructions 'rack 4, unit 12; call +49 30 1234'
  imprint node set-bmc web-07 --none")]
    SetBmc {
        #[command(flatten)]
        new: Box<NewBmc>,
    },
    /// A server's BMC: where it is, or what it says of the server
    #[command(after_help = "\
Examples:
  imprint node bmc web-07
  imprint node bmc web-07 --hardware")]
    Bmc {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// Ask it: inventory, temperatures, fans, power
        #[arg(long)]
        hardware: bool,
    },
    /// Put an image into a server's virtual CD, or take it out
    #[command(after_help = "\
Examples:
  imprint node media web-07 https://images.example.net/rescue.iso
  imprint node power web-07 cycle --boot cd
  imprint node media web-07 --ramdisk
  imprint node media web-07 --eject")]
    Media {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// http(s)://… of the image, as the BMC reaches it
        #[arg(value_name = "URL", required_unless_present_any = ["eject", "ramdisk"])]
        image: Option<String>,
        /// The ramdisk, made for this server: where the network has no PXE
        #[arg(long, conflicts_with = "image")]
        ramdisk: bool,
        /// Nothing is to be inside
        #[arg(long, conflicts_with_all = ["image", "ramdisk"])]
        eject: bool,
    },
    /// Switch a server by its BMC
    #[command(after_help = "\
Waits until it is done; exits with 0 only then. Something else that is under way is not disturbed.

Examples:
  imprint node power web-07 status
  imprint node power web-07 on
  imprint node power web-07 off --force
  imprint node power web-07 cycle --boot pxe")]
    Power {
        #[command(flatten)]
        wanted: PowerArguments,
    },
    /// Give a server to a project, whose members then see it and deploy on it
    #[command(after_help = "\
Refused while a deployment runs on it. The project `platform` has every server that was not assigned.

Examples:
  imprint node assign web-07 --project web
  imprint node assign web-07 --project platform")]
    Assign {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// Id or name of the project
        #[arg(long)]
        project: String,
    },
    /// Take a discovered or a retired server into service
    #[command(after_help = "\
Examples:
  imprint node approve 52:54:00:12:34:56 --name web-07
  imprint node approve 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Approve {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// Give it this name
        #[arg(long)]
        name: Option<String>,
    },
    /// After a backup was restored: let the controller go on with a server as its database says
    #[command(after_help = "\
Until then nothing is sent to the server, and it boots its own disk. Agents that hold just what the database says are taken
up without this.

Example:
  imprint node confirm web-07")]
    Confirm {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
}
