//! Links: what a network's packets go through.

use std::{collections::BTreeSet, net::IpAddr};

use super::{AdSelect, Addressing, BondMode, LacpRate, XmitHash};
use crate::{mac::MacAddress, name::LinkName};

/// A link of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub kind: Kind,
    /// MAC address that it is given; unset: its own, or that of what it rests on.
    pub mac: Option<MacAddress>,
    /// Largest packet, bytes; unset: the system's default.
    pub mtu: Option<u32>,
    /// The system does not wait for it when it starts.
    pub optional: bool,
    /// A magic packet wakes the machine through it.
    pub wake_on_lan: bool,
    /// Layer 3.
    pub ip: Addressing,
}

/// Kinds of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A physical interface.
    Nic(Nic),
    /// Several as one.
    Bond(Bond),
    /// A VLAN on another link.
    Vlan(Vlan),
    /// A switch in software.
    Bridge(Bridge),
}

/// How a physical interface is recognised. Without MAC address and pattern: by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its permanent MAC address.
    pub mac: Option<MacAddress>,
    /// A shell pattern of the kernel's names ("en*").
    pub pattern: Option<String>,
    /// It gets the link's name; else it keeps the kernel's, and the link's name is only used in configuration.
    pub rename: bool,
}

/// Several links as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Its members.
    pub members: BTreeSet<LinkName>,
    /// How they are used.
    pub mode: BondMode,
    /// How often LACP packets are asked for.
    pub lacp_rate: Option<LacpRate>,
    /// How a member is chosen for a packet.
    pub hash: Option<XmitHash>,
    /// How often the carrier is looked at, ms.
    pub miimon: Option<u32>,
    /// How long a member has to have its carrier, ms.
    pub up_delay: Option<u32>,
    /// How long it may be without, ms.
    pub down_delay: Option<u32>,
    /// The member that is preferred.
    pub primary: Option<LinkName>,
    /// Members that have to be up for the bond to be up.
    pub min_links: Option<u32>,
    /// When another aggregator is chosen.
    pub ad_select: Option<AdSelect>,
    /// How often addresses are asked for by ARP, ms.
    pub arp_interval: Option<u32>,
    /// Those addresses, IPv4.
    pub arp_targets: BTreeSet<IpAddr>,
}

/// A VLAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// The link that it is on.
    pub parent: LinkName,
    /// 1 to 4094.
    pub id: u16,
}

/// A switch in software.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its members.
    pub members: BTreeSet<LinkName>,
    /// Spanning tree protocol; unset: the system's default.
    pub stp: Option<bool>,
    /// How long a port listens and learns before it forwards, s.
    pub forward_delay: Option<u32>,
}

impl Link {
    /// A link of a kind, with nothing else said.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            mac: None,
            mtu: None,
            optional: false,
            wake_on_lan: false,
            ip: Addressing::default(),
        }
    }

    /// The physical interface.
    #[must_use]
    pub fn nic(&self) -> Option<&Nic> {
        match &self.kind {
            Kind::Nic(nic) => Some(nic),
            _ => None,
        }
    }
}

impl Bond {
    /// A bond of a mode without members.
    #[must_use]
    pub fn new(mode: BondMode) -> Self {
        Self {
            members: BTreeSet::new(),
            mode,
            lacp_rate: None,
            hash: None,
            miimon: None,
            up_delay: None,
            down_delay: None,
            primary: None,
            min_links: None,
            ad_select: None,
            arp_interval: None,
            arp_targets: BTreeSet::new(),
        }
    }

    /// Its settings in the kernel's words ("miimon", "100"), the mode first: what ifcfg, wicked, NetworkManager and
    /// `ip link` take.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("mode", self.mode.word().to_owned())];
        let mut add = |key, value: Option<String>| options.extend(value.map(|value| (key, value)));
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        add("miimon", number(self.miimon));
        add("updelay", number(self.up_delay));
        add("downdelay", number(self.down_delay));
        add("lacp_rate", self.lacp_rate.map(|rate| rate.word().to_owned()));
        add("xmit_hash_policy", self.hash.map(|hash| hash.word().to_owned()));
        add("ad_select", self.ad_select.map(|select| select.word().to_owned()));
        add("min_links", number(self.min_links));
        add("arp_interval", number(self.arp_interval));
        if !self.arp_targets.is_empty() {
            let targets: Vec<String> = self.arp_targets.iter().map(ToString::to_string).collect();
            add("arp_ip_target", Some(targets.join(",")));
        }
        add("primary", self.primary.as_ref().map(ToString::to_string));
        options
    }
}
