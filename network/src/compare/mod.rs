//! What of a network is not there: the kernel's state held against the model. Pure; who reads the kernel is elsewhere.

mod obstacles;
#[cfg(test)]
mod tests;

pub use obstacles::{Obstacle, obstacles};

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::{
    mac::MacAddress,
    model::{BondMode, Kind, Link, MAIN_TABLE, Network, Route, is_ipv6},
    name::LinkName,
};

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its links.
    pub links: Vec<KernelLink>,
    /// Its routes.
    pub routes: Vec<KernelRoute>,
}

/// A link as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelLink {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// "vlan", "bond", "bridge", "veth"; unset for hardware.
    pub kind: Option<String>,
    /// Its present address.
    pub mac: Option<MacAddress>,
    /// The address of the hardware.
    pub permanent_mac: Option<MacAddress>,
    /// Somebody wants it up.
    pub up: bool,
    /// It can carry packets.
    pub carrier: bool,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// The bond or bridge that it is a member of.
    pub master: Option<u32>,
    /// The link that it rests on.
    pub parent: Option<u32>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// The mode of a bond.
    pub bond_mode: Option<BondMode>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// A route as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Number of its link.
    pub link: u32,
    /// Its metric; 0 for none.
    pub metric: u32,
    /// Its table.
    pub table: u32,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The link's name in the network data; empty for what belongs to none.
    pub link: String,
    /// What is not as it should be.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.link.as_str() {
            "" => f.write_str(&self.what),
            link => write!(f, "{link}: {}", self.what),
        }
    }
}

/// Said of an interface that is up and has no link: a matter of cables and switches.
pub const NO_CARRIER: &str = "it has no carrier";

/// What of the network the kernel does not have. What it has besides is nobody's business here.
#[must_use]
pub fn compare(network: &Network, kernel: &Kernel) -> Vec<Difference> {
    let network = network.settled();
    let mut differences = Vec::new();
    for (name, link) in &network.links {
        let mut differ = |what: String| {
            differences.push(Difference {
                link: name.to_string(),
                what,
            });
        };
        match find(name, link, kernel) {
            Some(found) => one(&network, name, link, found, kernel, &mut differ),
            None => differ("there is no such interface".to_owned()),
        }
    }
    differences.sort();
    differences
}

/// The kernel's link for one of the network.
#[must_use]
pub fn find<'a>(name: &LinkName, link: &Link, kernel: &'a Kernel) -> Option<&'a KernelLink> {
    let by_name = || kernel.links.iter().find(|found| found.name == name.as_str());
    let Some(mac) = link.nic().and_then(|nic| nic.mac) else {
        return by_name();
    };
    let mut links = kernel.links.iter();
    // Members of bonds have another address than their own, bonds and VLANs that of a member.
    links.find(|found| found.permanent_mac == Some(mac)).or_else(|| {
        let mut links = kernel.links.iter();
        links.find(|found| {
            let virtual_link = ["vlan", "bond", "bridge"]
                .iter()
                .any(|kind| found.kind.as_deref() == Some(kind));
            found.mac == Some(mac) && found.permanent_mac.is_none() && !virtual_link
        })
    })
}

fn one(
    network: &Network,
    name: &LinkName,
    link: &Link,
    found: &KernelLink,
    kernel: &Kernel,
    differ: &mut impl FnMut(String),
) {
    if link.nic().is_some_and(|nic| nic.rename) && found.name != name.as_str() {
        differ(format!("the interface is called {}", found.name));
    }
    if !found.up {
        differ("it is down".to_owned());
    } else if !found.carrier {
        differ(NO_CARRIER.to_owned());
    }
    if let Some(mtu) = link.mtu
        && mtu != found.mtu
    {
        differ(format!("its MTU is {}, not {mtu}", found.mtu));
    }
    let named = |index: Option<u32>| {
        let link = kernel.links.iter().find(|link| Some(link.index) == index);
        link.map(|link| link.name.as_str())
    };
    if let Some((master, _)) = network.master(name)
        && named(found.master) != Some(master.as_str())
    {
        differ(format!("it is no member of {master}"));
    }
    if let Kind::Bond(bond) = &link.kind {
        if let Some(mode) = found.bond_mode.filter(|mode| *mode != bond.mode) {
            differ(format!("its mode is {}, not {}", mode.word(), bond.mode.word()));
        }
        for stranger in strangers(network, name, found, kernel) {
            differ(format!("{} is a member, and is not to be one", stranger.name));
        }
    }
    if let Kind::Vlan(vlan) = &link.kind {
        if found.vlan != Some(vlan.id) {
            let is = found.vlan.map_or_else(|| "none".to_owned(), |id| id.to_string());
            differ(format!("its VLAN is {is}, not {}", vlan.id));
        }
        let parent = network
            .links
            .get(&vlan.parent)
            .and_then(|below| find(&vlan.parent, below, kernel));
        if parent.map(|parent| parent.index) != found.parent {
            differ(format!("it does not rest on {}", vlan.parent));
        }
    }
    let ip = &link.ip;
    for address in &ip.addresses {
        if !found.addresses.contains(address) {
            differ(format!("the address {address} is gone"));
        }
    }
    let any = |ipv6: bool| {
        let mut addresses = found.addresses.iter().filter(|address| is_ipv6(address) == ipv6);
        addresses.any(|address| !ip.addresses.contains(address) && !is_link_local(address))
    };
    if ip.dhcp4.is_some() && !any(false) {
        differ("it has no address from DHCP".to_owned());
    }
    if (ip.dhcp6.is_some() || ip.accept_ra == Some(true)) && !any(true) {
        differ("it has no IPv6 address from DHCP or a router".to_owned());
    }
    for route in &ip.routes {
        if !kernel
            .routes
            .iter()
            .any(|there| is_route(route, there, found.index))
        {
            let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
            let table = route
                .table
                .map(|table| format!(" in table {table}"))
                .unwrap_or_default();
            differ(format!("the route to {}{via}{table} is gone", route.to));
        }
    }
}

/// Members that a bond is not to have. Bridges have members that others put there: containers, virtual machines.
fn strangers<'a>(
    network: &Network,
    name: &LinkName,
    bond: &KernelLink,
    kernel: &'a Kernel,
) -> Vec<&'a KernelLink> {
    let members: Vec<u32> = network
        .links
        .iter()
        .filter(|(member, _)| network.master(member).is_some_and(|(master, _)| master == name))
        .filter_map(|(member, link)| find(member, link, kernel))
        .map(|member| member.index)
        .collect();
    let there = kernel.links.iter().filter(|link| link.master == Some(bond.index));
    there.filter(|link| !members.contains(&link.index)).collect()
}

fn is_route(wanted: &Route, there: &KernelRoute, link: u32) -> bool {
    there.to == wanted.to
        && there.via == wanted.via
        && there.link == link
        && there.table == wanted.table.unwrap_or(MAIN_TABLE)
        && wanted.metric.is_none_or(|metric| metric == there.metric)
}

fn is_link_local(address: &IpNet) -> bool {
    match address.addr() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
