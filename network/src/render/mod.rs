//! Writes a network for the system that brings it up.
//!
//! The files hold the whole network: what was there before of the same system has to go, which the caller sees to
//! ([`Format::places`]).

mod cloud_init;
mod ifcfg;
mod ifcfg_family;
mod ifupdown;
mod ini;
mod keyfile;
mod keyfile_ip;
mod link_file;
mod networkd;
mod networkd_netdev;
mod resolv;
mod v2;
mod wicked;
mod yaml;

pub use cloud_init::cloud_init_loses;

use crate::model::Network;

/// What a network is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// netplan: Ubuntu.
    Netplan,
    /// systemd-networkd.
    Networkd,
    /// NetworkManager's keyfiles: Enterprise Linux from 9 on, Fedora, openEuler, SLES from 16 on.
    NetworkManager,
    /// ifupdown: Debian.
    Ifupdown,
    /// The network scripts of Enterprise Linux 7 and 8.
    Ifcfg,
    /// wicked: SLES 12 and 15.
    Wicked,
    /// cloud-init's network-config, version 2, of a NoCloud seed.
    CloudInit,
}

/// A file of the installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From the root of the system, without the first slash; [`Format::CloudInit`]: from the folder of the seed.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Its text.
    pub content: String,
}

/// A network as files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The files, by path.
    pub files: Vec<File>,
    /// What the format cannot say.
    pub warnings: Vec<String>,
}

/// Where a system reads its network from: files of a folder whose names end in one of a few ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Folder, from the root of the system.
    pub folder: &'static str,
    /// Beginnings of the names that count; "" for all.
    pub prefix: &'static str,
    /// Ends of the names that count; "" for all.
    pub suffix: &'static str,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 7] = [
        Self::Netplan,
        Self::Networkd,
        Self::NetworkManager,
        Self::Ifupdown,
        Self::Ifcfg,
        Self::Wicked,
        Self::CloudInit,
    ];

    /// Its name in configuration and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Netplan => "netplan",
            Self::Networkd => "networkd",
            Self::NetworkManager => "network-manager",
            Self::Ifupdown => "ifupdown",
            Self::Ifcfg => "ifcfg",
            Self::Wicked => "wicked",
            Self::CloudInit => "cloud-init",
        }
    }

    /// From its name.
    #[must_use]
    pub fn from_word(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == text)
    }

    /// Where the system reads its network from; every file there that we did not write is another opinion.
    #[must_use]
    pub const fn places(self) -> &'static [Place] {
        match self {
            Self::Netplan => NETPLAN,
            Self::Networkd => NETWORKD,
            Self::NetworkManager => NETWORK_MANAGER,
            Self::Ifupdown => IFUPDOWN,
            Self::Ifcfg => IFCFG,
            Self::Wicked => WICKED,
            Self::CloudInit => &[],
        }
    }
}

const NETPLAN: &[Place] = &[place("etc/netplan", "", ".yaml")];
const NETWORKD: &[Place] = &[
    place("etc/systemd/network", "", ".network"),
    place("etc/systemd/network", "", ".netdev"),
    place("etc/systemd/network", "", ".link"),
];
const NETWORK_MANAGER: &[Place] = &[
    place("etc/NetworkManager/system-connections", "", ""),
    place("etc/sysconfig/network-scripts", "ifcfg-", ""),
];
const IFUPDOWN: &[Place] = &[
    place("etc/network", "interfaces", ""),
    place("etc/network/interfaces.d", "", ""),
];
const IFCFG: &[Place] = &[
    place("etc/sysconfig/network-scripts", "ifcfg-", ""),
    place("etc/sysconfig/network-scripts", "route", ""),
    place("etc/sysconfig/network-scripts", "rule", ""),
    place("etc/NetworkManager/system-connections", "", ""),
];
const WICKED: &[Place] = &[
    place("etc/sysconfig/network", "ifcfg-", ""),
    place("etc/sysconfig/network", "ifroute-", ""),
    place("etc/sysconfig/network", "ifrule-", ""),
    place("etc/sysconfig/network", "ifsysctl-", ""),
    place("etc/sysconfig/network", "routes", ""),
];

const fn place(folder: &'static str, prefix: &'static str, suffix: &'static str) -> Place {
    Place {
        folder,
        prefix,
        suffix,
    }
}

/// What stands at the head of every file.
const HEADER: &str = "# Written by Imprint from the deployment's network data.\n";

/// Writes a network.
///
/// The network has to be one that [`check`](crate::check::check) finds nothing wrong with; what is written of another
/// one is well-formed, but says what the network says.
#[must_use]
pub fn render(network: &Network, format: Format) -> Rendered {
    let network = network.settled();
    let mut rendered = match format {
        Format::Netplan => v2::netplan(&network),
        Format::CloudInit => v2::cloud_init(&network),
        Format::Networkd => networkd::render(&network),
        Format::NetworkManager => keyfile::render(&network),
        Format::Ifupdown => ifupdown::render(&network),
        Format::Ifcfg => ifcfg::render(&network),
        Format::Wicked => wicked::render(&network),
    };
    rendered.files.sort_by(|a, b| a.path.cmp(&b.path));
    rendered.warnings.sort();
    rendered.warnings.dedup();
    rendered
}

impl Rendered {
    fn add(&mut self, path: impl Into<String>, mode: u32, content: impl Into<String>) {
        self.files.push(File {
            path: path.into(),
            mode,
            content: content.into(),
        });
    }

    /// A file of these lines, if there are any.
    fn add_lines(&mut self, path: String, lines: &[String]) {
        if !lines.is_empty() {
            self.add(path, 0o644, format!("{HEADER}{}\n", lines.join("\n")));
        }
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }
}
