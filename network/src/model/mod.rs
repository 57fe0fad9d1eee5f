//! The one model of a server's network. Readers make it, the check proves it, renderers write it.
//!
//! What is unset stays with the system that reads the rendered file: its default holds.

mod link;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

pub use link::{Bond, Bridge, Kind, Link, Nic, Vlan};
pub use words::{AdSelect, BondMode, LacpRate, XmitHash};

use crate::name::LinkName;

/// The routing table that everything uses without rules.
pub const MAIN_TABLE: u32 = 254;

/// A server's network. Two that mean the same are equal, whatever order they were read in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Links by their names.
    pub links: BTreeMap<LinkName, Link>,
}

/// What a link has on layer 3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Asks a DHCP server for an IPv4 address.
    pub dhcp4: Option<Dhcp>,
    /// Asks a DHCP server for an IPv6 address.
    pub dhcp6: Option<Dhcp>,
    /// The DHCP server knows the machine by the MAC address, not by an identifier of the installation.
    pub dhcp_by_mac: bool,
    /// Whether router advertisements give addresses (SLAAC) and routes; unset: the system's default.
    pub accept_ra: Option<bool>,
    /// Which link-local addresses the link makes; unset: the system's default.
    pub link_local: Option<LinkLocal>,
    /// Uses temporary IPv6 addresses.
    pub ipv6_privacy: bool,
    /// Addresses with their subnets; the first of a subnet is the one to send from.
    pub addresses: Vec<IpNet>,
    /// Routes, in [their order](Route).
    pub routes: BTreeSet<Route>,
    /// Rules that choose a routing table, in [their order](Rule).
    pub rules: BTreeSet<Rule>,
    /// Name servers, the first is asked first.
    pub servers: Vec<IpAddr>,
    /// Domains that short names are searched in.
    pub search: Vec<String>,
}

/// What is taken from a DHCP server, and what it is told; unset: the system's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dhcp {
    /// Metric of the routes that it gives.
    pub route_metric: Option<u32>,
    /// Takes its name servers.
    pub use_dns: Option<bool>,
    /// Takes its routes.
    pub use_routes: Option<bool>,
    /// Takes its MTU.
    pub use_mtu: Option<bool>,
    /// Takes its host name.
    pub use_hostname: Option<bool>,
    /// Takes its time servers.
    pub use_ntp: Option<bool>,
    /// Tells it the host name.
    pub send_hostname: Option<bool>,
}

/// Which link-local addresses a link makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLocal {
    /// 169.254.0.0/16.
    pub ipv4: bool,
    /// fe80::/64.
    pub ipv6: bool,
}

/// A route. Ordered by destination first, so that a host route comes with its siblings, not in the order of writing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination; `0.0.0.0/0` or `::/0` for the default route.
    pub to: IpNet,
    /// Gateway; without one, the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// The lower one wins; unset: the system's default.
    pub metric: Option<u32>,
    /// Routing table; unset: the main one.
    pub table: Option<u32>,
    /// The gateway is on the link although no address says so.
    pub on_link: bool,
    /// Address to send from.
    pub source: Option<IpAddr>,
    /// Largest packet of this route, bytes.
    pub mtu: Option<u32>,
}

/// A rule that sends packets to a routing table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The lower one is asked first; unset: the kernel numbers it.
    pub priority: Option<u32>,
    /// Where packets come from.
    pub from: Option<IpNet>,
    /// Where they go to.
    pub to: Option<IpNet>,
    /// The table they are sent to.
    pub table: u32,
}

impl Route {
    /// A route by destination and gateway alone.
    #[must_use]
    pub fn new(to: IpNet, via: Option<IpAddr>) -> Self {
        Self {
            to,
            via,
            metric: None,
            table: None,
            on_link: false,
            source: None,
            mtu: None,
        }
    }

    /// Whether everything without a better route goes here.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.to.prefix_len() == 0
    }
}

impl Rule {
    /// Whether it is a rule of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        matches!(self.from.or(self.to), Some(IpNet::V6(_)))
    }
}

impl Addressing {
    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its addresses of one family.
    pub fn of_family(&self, ipv6: bool) -> impl Iterator<Item = &IpNet> {
        self.addresses
            .iter()
            .filter(move |address| is_ipv6(address) == ipv6)
    }

    /// Its routes of one family, in an order in which they can be added: those to the link itself first, since the
    /// gateways of others may be reached by them.
    pub fn routes_of(&self, ipv6: bool) -> impl Iterator<Item = &Route> {
        let with_gateway = |wanted: bool| {
            self.routes
                .iter()
                .filter(move |route| is_ipv6(&route.to) == ipv6 && route.via.is_some() == wanted)
        };
        with_gateway(false).chain(with_gateway(true))
    }

    /// Its rules of one family.
    pub fn rules_of(&self, ipv6: bool) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.is_ipv6() == ipv6)
    }

    /// Whether link-local addresses of IPv6 were forbidden.
    #[must_use]
    pub fn no_ipv6_link_local(&self) -> bool {
        self.link_local.is_some_and(|which| !which.ipv6)
    }
}

/// Whether an address or subnet is one of IPv6.
#[must_use]
pub fn is_ipv6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

impl Network {
    /// The links that a link rests on: a VLAN's parent, the members of a bond or bridge.
    #[must_use]
    pub fn below<'a>(&'a self, link: &'a Link) -> Vec<&'a LinkName> {
        match &link.kind {
            Kind::Nic(_) => Vec::new(),
            Kind::Bond(bond) => bond.members.iter().collect(),
            Kind::Vlan(vlan) => vec![&vlan.parent],
            Kind::Bridge(bridge) => bridge.members.iter().collect(),
        }
    }

    /// The bond or bridge that a link is a member of.
    #[must_use]
    pub fn master(&self, member: &LinkName) -> Option<(&LinkName, &Link)> {
        self.links.iter().find(|(_, link)| match &link.kind {
            Kind::Bond(bond) => bond.members.contains(member),
            Kind::Bridge(bridge) => bridge.members.contains(member),
            Kind::Nic(_) | Kind::Vlan(_) => false,
        })
    }

    /// VLANs on a link.
    pub fn vlans_on<'a>(&'a self, parent: &'a LinkName) -> impl Iterator<Item = &'a LinkName> {
        self.links.iter().filter_map(move |(name, link)| {
            matches!(&link.kind, Kind::Vlan(vlan) if vlan.parent == *parent).then_some(name)
        })
    }

    /// Links so that each comes after those that it rests on, else by name. Links of a circle come last.
    #[must_use]
    pub fn bottom_up(&self) -> Vec<(&LinkName, &Link)> {
        let mut left: Vec<(&LinkName, &Link)> = self.links.iter().collect();
        let mut done: BTreeSet<&LinkName> = BTreeSet::new();
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let ready = |(_, link): &(&LinkName, &Link)| {
                self.below(link)
                    .iter()
                    .all(|name| done.contains(name) || !self.links.contains_key(*name))
            };
            let Some(place) = left.iter().position(ready) else {
                break;
            };
            let next = left.remove(place);
            done.insert(next.0);
            order.push(next);
        }
        order.extend(left);
        order
    }

    /// The MAC address that a link speaks with: its own setting, the NIC's, or that of what it rests on.
    ///
    /// A bond or bridge would otherwise take that of whichever member comes first.
    #[must_use]
    pub fn effective_mac(&self, name: &LinkName) -> Option<crate::MacAddress> {
        let mut name = name;
        // As many steps as there are links, so that a circle ends.
        for _ in 0..=self.links.len() {
            let link = self.links.get(name)?;
            if link.mac.is_some() {
                return link.mac;
            }
            name = match &link.kind {
                Kind::Nic(nic) => return nic.mac,
                Kind::Vlan(vlan) => &vlan.parent,
                Kind::Bond(bond) => bond.primary.as_ref().or(bond.members.first())?,
                Kind::Bridge(bridge) => bridge.members.first()?,
            };
        }
        None
    }

    /// The same with the MAC address of every bond and bridge said. Unsaid, it would be that of whichever member comes
    /// first, or one that the system makes up, and the switch and the DHCP server would know the machine by another one
    /// after each boot.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut network = self.clone();
        for (name, link) in &mut network.links {
            if matches!(link.kind, Kind::Bond(_) | Kind::Bridge(_)) {
                link.mac = self.effective_mac(name);
            }
        }
        network
    }

    /// The same with all physical interfaces renamed to the names of their links, for systems that know interfaces by
    /// name only. `wanted` chooses which ones.
    #[must_use]
    pub(crate) fn renamed(&self, wanted: impl Fn(&LinkName) -> bool) -> Self {
        let mut network = self.clone();
        for (name, link) in &mut network.links {
            if let Kind::Nic(nic) = &mut link.kind
                && nic.mac.is_some()
                && wanted(name)
            {
                nic.rename = true;
            }
        }
        network
    }
}
