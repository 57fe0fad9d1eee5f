//! `imprint node set-bmc`, `bmc` and `power`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a server is powered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BmcKind {
    Redfish,
    Ipmi,
    Manual,
}

impl BmcKind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redfish => "redfish",
            Self::Ipmi => "ipmi",
            Self::Manual => "manual",
        }
    }
}

/// How a server boots the ramdisk.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RamdiskBoot {
    Pxe,
    UefiHttp,
    /// From a virtual CD that the controller makes for it
    Cd,
}

impl RamdiskBoot {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::UefiHttp => "uefi-http",
            Self::Cd => "cd",
        }
    }
}

/// What a server boots once.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BootTarget {
    Pxe,
    UefiHttp,
    Cd,
    Disk,
}

impl BootTarget {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::UefiHttp => "uefi-http",
            Self::Cd => "cd",
            Self::Disk => "disk",
        }
    }
}

/// What is done with the power of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerAct {
    /// Ask the BMC whether it is on
    Status,
    /// Switch it on
    On,
    /// Have its system shut down; with --force switch it off
    Off,
    /// Switch it off, if it is on, then on
    Cycle,
}

impl PowerAct {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
        }
    }
}

/// The management controller of a server.
#[derive(Debug, Args)]
pub struct NewBmc {
    /// Id, name, UUID, serial or MAC
    pub node: String,
    /// Redfish: https://HOST[:PORT]; IPMI: HOST[:PORT]
    #[arg(required_unless_present_any = ["none", "instructions"])]
    pub address: Option<String>,
    /// What it speaks
    #[arg(long, value_enum, default_value = "redfish")]
    pub kind: BmcKind,
    /// Who the controller is there
    #[arg(long, requires = "address")]
    pub user: Option<String>,
    /// File whose first line is the password; there is no flag for the password, flags can be read by others
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Read the password from standard input, its first line
    #[arg(long, requires = "user", conflicts_with = "password_file")]
    pub password_stdin: bool,
    /// Trust this certificate and no other: its SHA-256, hex
    #[arg(long, value_name = "SHA256", requires = "address")]
    pub fingerprint: Option<String>,
    /// Trust certificates of these CAs: a PEM file [default: those that the controller's host trusts]
    #[arg(
        long,
        value_name = "FILE",
        requires = "address",
        conflicts_with = "fingerprint"
    )]
    pub bmc_ca: Option<PathBuf>,
    /// The address is http://: whoever is in the management network can read the password
    #[arg(long, requires = "address", conflicts_with_all = ["fingerprint", "bmc_ca"])]
    pub plain_http: bool,
    /// Which of its systems, by id or path, when it has several
    #[arg(long, value_name = "ID", requires = "address")]
    pub system: Option<String>,
    /// How it boots the ramdisk: from the network, or from a virtual CD that the controller makes for it [default: pxe]
    #[arg(long, value_enum, value_name = "HOW")]
    pub boot: Option<RamdiskBoot>,
    /// Read the server's serial console by IPMI (Serial over LAN) while deployments run, for `imprint deployment log`
    #[arg(long, requires = "address")]
    pub serial_over_lan: bool,
    /// What people have to know who power it by hand ("rack 4, unit 12")
    #[arg(long, value_name = "TEXT")]
    pub instructions: Option<String>,
    /// Where it differs from others; repeatable (docs/power.md)
    #[arg(long = "quirk", value_name = "KEY=VALUE")]
    pub quirks: Vec<String>,
    /// It has none: forget it, with its password
    #[arg(long, conflicts_with_all = ["address", "instructions", "quirks", "boot"])]
    pub none: bool,
}

/// What is to be done with the power of a server.
#[derive(Debug, Args)]
pub struct PowerArguments {
    /// Id, name, UUID, serial or MAC
    pub node: String,
    /// What is to be done
    #[arg(value_enum)]
    pub act: PowerAct,
    /// With off: without asking the system to shut down
    #[arg(long)]
    pub force: bool,
    /// With on and cycle: what it boots this once
    #[arg(long, value_enum, value_name = "TARGET")]
    pub boot: Option<BootTarget>,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
}
