//! The networks of the matrix: what the deployment is given, and what the kernel has to show for it.

use crate::far_end;
use crate::network;

/// How a server is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Nothing is given: DHCP.
    Dhcp,
    /// Static IPv4 and IPv6 on one interface that gets a name, two routes each of its own.
    Static,
    /// A bond (active-backup) of two interfaces with addresses of its own, and a VLAN on it; all with MTU 9000. As
    /// network-config version 2.
    Bond,
    /// The same as OpenStack's network_data.json with LACP.
    BondOpenStack,
}

/// Where static addresses end.
const ME: &str = "10.77.0.60";
const ME6: &str = "fd77::60";
const ON_VLAN: &str = "10.78.0.60";
const ON_VLAN6: &str = "fd78::60";
/// Networks that are nowhere, to have routes to.
pub const ELSEWHERE: &str = "192.0.2.0/24";
pub const ELSEWHERE6: &str = "2001:db8:77::/48";

/// What an interface has to be like.
#[derive(Debug)]
pub struct Wanted {
    /// One of its addresses, by which it is found.
    pub address: &'static str,
    /// The other.
    pub address6: &'static str,
    /// Its name, if one was given.
    pub name: Option<&'static str>,
    pub mtu: u32,
    pub kind: Kind,
}

/// What sort of interface.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Card,
    /// With the kernel's name of its mode; all cards are its members.
    Bond(&'static str),
    /// On the interface before it in the list.
    Vlan(u16),
}

impl Wiring {
    #[cfg(test)]
    pub const ALL: &[Self] = &[Self::Dhcp, Self::Static, Self::Bond, Self::BondOpenStack];

    pub fn nics(self) -> u8 {
        if self.has_vlan() { 2 } else { 1 }
    }

    pub fn mtu(self) -> u32 {
        if self.has_vlan() { 9000 } else { network::MTU }
    }

    pub fn has_vlan(self) -> bool {
        matches!(self, Self::Bond | Self::BondOpenStack)
    }

    /// The address that the server has to report, where that is known.
    pub fn address(self) -> Option<&'static str> {
        (self != Self::Dhcp).then_some(ME)
    }

    /// What the kernel has to show.
    pub fn wanted(self) -> Vec<Wanted> {
        let bond = |mode| {
            vec![
                Wanted {
                    address: ME,
                    address6: ME6,
                    name: Some("bond0"),
                    mtu: 9000,
                    kind: Kind::Bond(mode),
                },
                Wanted {
                    address: ON_VLAN,
                    address6: ON_VLAN6,
                    name: Some("bond0.100"),
                    mtu: 9000,
                    kind: Kind::Vlan(far_end::VLAN),
                },
            ]
        };
        match self {
            Self::Dhcp => Vec::new(),
            Self::Static => vec![Wanted {
                address: ME,
                address6: ME6,
                name: Some("lan0"),
                mtu: 1400,
                kind: Kind::Card,
            }],
            Self::Bond => bond("active-backup"),
            Self::BondOpenStack => bond("802.3ad"),
        }
    }

    /// Routes (destination, gateway) that have to be there.
    pub fn routes(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Dhcp => Vec::new(),
            Self::Static => vec![
                ("default", "10.77.0.1"),
                ("default", "fd77::1"),
                (ELSEWHERE, "10.77.0.2"),
                (ELSEWHERE6, "fd77::2"),
            ],
            Self::Bond | Self::BondOpenStack => vec![
                ("default", "10.77.0.1"),
                ("default", "fd77::1"),
                (ELSEWHERE, "10.78.0.1"),
                (ELSEWHERE6, "fd78::1"),
            ],
        }
    }

    /// Network data of the deployment.
    pub fn data(self, macs: &[String]) -> Option<String> {
        let mac = |index: usize| macs.get(index).map_or("", String::as_str);
        match self {
            Self::Dhcp => None,
            Self::Static => Some(format!(
                "version: 2
ethernets:
  lan0:
    match: {{macaddress: '{}'}}
    set-name: lan0
    mtu: 1400
    accept-ra: false
    addresses: [{ME}/24, '{ME6}/64']
    routes:
      - {{to: default, via: 10.77.0.1}}
      - {{to: default, via: 'fd77::1'}}
      - {{to: {ELSEWHERE}, via: 10.77.0.2}}
      - {{to: '{ELSEWHERE6}', via: 'fd77::2'}}
    nameservers: {{addresses: [10.77.0.1], search: [lab.example]}}
",
                mac(0)
            )),
            Self::Bond => Some(format!(
                "version: 2
ethernets:
  nic0:
    match: {{macaddress: '{}'}}
  nic1:
    match: {{macaddress: '{}'}}
bonds:
  bond0:
    interfaces: [nic0, nic1]
    mtu: 9000
    parameters: {{mode: active-backup, mii-monitor-interval: 100, primary: nic0}}
    accept-ra: false
    addresses: [{ME}/24, '{ME6}/64']
    routes:
      - {{to: default, via: 10.77.0.1}}
      - {{to: default, via: 'fd77::1'}}
    nameservers: {{addresses: [10.77.0.1], search: [lab.example]}}
vlans:
  bond0.100:
    id: 100
    link: bond0
    mtu: 9000
    accept-ra: false
    addresses: [{ON_VLAN}/24, '{ON_VLAN6}/64']
    routes:
      - {{to: {ELSEWHERE}, via: 10.78.0.1}}
      - {{to: '{ELSEWHERE6}', via: 'fd78::1'}}
",
                mac(0),
                mac(1)
            )),
            Self::BondOpenStack => Some(openstack(mac(0), mac(1))),
        }
    }
}

fn openstack(first: &str, second: &str) -> String {
    let network = |id: &str, link: &str, kind: &str, address: &str, mask: &str, routes: serde_json::Value| {
        serde_json::json!({
            "id": id, "link": link, "type": kind, "ip_address": address, "netmask": mask, "routes": routes,
        })
    };
    let route = |network: &str, mask: &str, gateway: &str| serde_json::json!({ "network": network, "netmask": mask, "gateway": gateway });
    serde_json::json!({
        "links": [
            { "id": "nic0", "type": "phy", "ethernet_mac_address": first, "mtu": 9000 },
            { "id": "nic1", "type": "phy", "ethernet_mac_address": second, "mtu": 9000 },
            {
                "id": "bond0", "type": "bond", "bond_links": ["nic0", "nic1"], "bond_mode": "4", "bond_miimon": 100,
                "bond_xmit_hash_policy": "layer3+4", "ethernet_mac_address": first, "mtu": 9000,
            },
            {
                "id": "vlan100", "type": "vlan", "vlan_link": "bond0", "vlan_id": "100", "vlan_mac_address": first,
                "mtu": 9000,
            },
        ],
        "networks": [
            network("n0", "bond0", "ipv4", ME, "255.255.255.0", serde_json::json!([route("0.0.0.0", "0.0.0.0", "10.77.0.1")])),
            network("n1", "bond0", "ipv6", ME6, "64", serde_json::json!([route("::", "::", "fd77::1")])),
            network("n2", "vlan100", "ipv4", ON_VLAN, "255.255.255.0", serde_json::json!([route("192.0.2.0", "255.255.255.0", "10.78.0.1")])),
            network("n3", "vlan100", "ipv6", ON_VLAN6, "64", serde_json::json!([route("2001:db8:77::", "48", "fd78::1")])),
        ],
        "services": [{ "type": "dns", "address": "10.77.0.1" }],
    })
    .to_string()
}
