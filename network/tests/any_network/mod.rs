//! Networks that are right, of every kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use imprint_network::{
    LinkName, MacAddress, Network,
    model::{
        AdSelect, Addressing, Bond, BondMode, Bridge, Dhcp, Kind, LacpRate, Link, LinkLocal, Nic, Route,
        Rule, Vlan, XmitHash,
    },
};
use ipnet::IpNet;
use proptest::{option, prelude::*, sample::select};

/// Numbers that decide everything about one link, so that links can be put together afterwards.
#[derive(Debug, Clone)]
struct Seeds {
    mac: Option<u8>,
    mtu: Option<u32>,
    flags: [bool; 4],
    addressing: Addressing,
}

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn mac(last: u8, kind: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, kind, last])
}

fn any_dhcp() -> BoxedStrategy<Dhcp> {
    (
        option::of(0..2000_u32),
        prop::array::uniform6(option::of(any::<bool>())),
    )
        .prop_map(|(route_metric, flags)| Dhcp {
            route_metric,
            use_dns: flags[0],
            use_routes: flags[1],
            use_mtu: flags[2],
            use_hostname: flags[3],
            use_ntp: flags[4],
            send_hostname: flags[5],
        })
        .boxed()
}

/// Addresses of a link in subnets that only this link has.
fn any_addressing(index: u8) -> BoxedStrategy<Addressing> {
    let hosts = prop::collection::btree_set(2..250_u8, 0..3);
    let routes = prop::collection::vec(
        (
            any::<[bool; 3]>(),
            option::of(1..500_u32),
            option::of(1..200_u32),
            0..4_u8,
            option::of(1280..9000_u32),
        ),
        0..4,
    );
    let rules = prop::collection::vec((any::<bool>(), option::of(1..30_000_u32), 1..200_u32), 0..3);
    let dns = (
        prop::collection::vec(any::<Ipv4Addr>(), 0..3),
        prop::collection::vec("[a-z]{1,9}(\\.[a-z0-9]{1,5}){0,2}", 0..3),
    );
    let other = (
        option::of(any_dhcp()),
        option::of(any_dhcp()),
        any::<[bool; 2]>(),
        option::of(any::<bool>()),
        option::of(any::<[bool; 2]>()),
    );
    (hosts.clone(), hosts, routes, rules, dns, other)
        .prop_map(move |(v4, v6, routes, rules, dns, other)| {
            let mut ip = Addressing {
                dhcp4: other.0,
                dhcp6: other.1,
                dhcp_by_mac: other.2[0],
                ipv6_privacy: other.2[1],
                accept_ra: other.3,
                link_local: other.4.map(|[ipv4, ipv6]| LinkLocal { ipv4, ipv6 }),
                servers: dns
                    .0
                    .into_iter()
                    .filter(|server| !server.is_unspecified() && !server.is_multicast())
                    .map(IpAddr::V4)
                    .collect(),
                search: dns.1,
                ..Addressing::default()
            };
            let subnet4 = |host: u8| IpAddr::V4(Ipv4Addr::new(10, index, 0, host));
            let subnet6 = |host: u8| {
                IpAddr::V6(Ipv6Addr::new(
                    0x2001,
                    0xdb8,
                    u16::from(index),
                    0,
                    0,
                    0,
                    0,
                    u16::from(host),
                ))
            };
            ip.addresses
                .extend(v4.iter().map(|host| IpNet::new(subnet4(*host), 24).unwrap()));
            ip.addresses
                .extend(v6.iter().map(|host| IpNet::new(subnet6(*host), 64).unwrap()));
            for ([ipv6, direct, everything], metric, table, number, mtu) in routes {
                let to: IpNet = match (ipv6, everything) {
                    (true, true) if !direct => "::/0".parse().unwrap(),
                    (false, true) if !direct => "0.0.0.0/0".parse().unwrap(),
                    (true, _) => format!("2001:db8:f{number}::/48").parse().unwrap(),
                    (false, _) => format!("172.16.{number}.0/24").parse().unwrap(),
                };
                let gateway = if ipv6 { subnet6(1) } else { subnet4(1) };
                ip.routes.insert(Route {
                    via: (!direct).then_some(gateway),
                    on_link: !direct,
                    metric,
                    table,
                    mtu,
                    ..Route::new(to, None)
                });
            }
            for (ipv6, priority, table) in rules {
                let from: IpNet = if ipv6 { "2001:db8::/32" } else { "10.0.0.0/8" }.parse().unwrap();
                ip.rules.insert(Rule {
                    priority,
                    from: Some(from),
                    to: None,
                    table,
                });
            }
            ip
        })
        .boxed()
}

fn any_seeds(index: u8) -> BoxedStrategy<Seeds> {
    (
        option::of(any::<u8>()),
        option::of(1500..9001_u32),
        any::<[bool; 4]>(),
        any_addressing(index),
    )
        .prop_map(|(mac, mtu, flags, addressing)| Seeds {
            mac,
            mtu,
            flags,
            addressing,
        })
        .boxed()
}

fn any_bond() -> BoxedStrategy<Bond> {
    let times = prop::array::uniform3(option::of(1..5000_u32));
    let words = (
        select(BondMode::ALL),
        option::of(select(LacpRate::ALL)),
        option::of(select(XmitHash::ALL)),
        option::of(select(AdSelect::ALL)),
    );
    (words, times, any::<[bool; 3]>())
        .prop_map(|((mode, lacp_rate, hash, ad_select), times, flags)| {
            let mut bond = Bond::new(mode);
            let lacp = mode == BondMode::Lacp;
            bond.hash = hash.filter(|_| mode.has_hash());
            bond.lacp_rate = lacp_rate.filter(|_| lacp);
            bond.ad_select = ad_select.filter(|_| lacp);
            bond.min_links = (lacp && flags[0]).then_some(1);
            if mode.has_arp() && flags[1] {
                bond.arp_interval = times[0];
                bond.arp_targets = ["10.9.0.1", "10.9.0.2"]
                    .iter()
                    .map(|text| text.parse().unwrap())
                    .collect();
            } else {
                bond.miimon = times[0];
                bond.up_delay = times[1];
                bond.down_delay = times[2];
            }
            if mode.has_primary() && flags[2] {
                bond.primary = Some(name("port0"));
            }
            bond
        })
        .boxed()
}

/// Two to five interfaces, perhaps a bond of the first two, VLANs, and a bridge of the last interface.
pub fn any_network() -> BoxedStrategy<Network> {
    let nics = (2..6_u8).prop_flat_map(|count| (0..count).map(any_seeds).collect::<Vec<_>>());
    let above = (
        option::of((any_bond(), any_seeds(20))),
        prop::collection::btree_map(1..4095_u16, any_seeds(0), 0..3),
        option::of((any_seeds(40), option::of(any::<bool>()), option::of(2..31_u32))),
    );
    (nics, above)
        .prop_map(|(nics, (bond, vlans, bridge))| {
            let mut network = Network::default();
            let last = nics.len() - 1;
            let bridged = bridge.is_some() && nics.len() > 2;
            for (index, seeds) in nics.into_iter().enumerate() {
                let member = (bond.is_some() && index < 2) || (bridged && index == last);
                let number = u8::try_from(index).unwrap();
                let nic = Nic {
                    mac: Some(mac(number, 0)),
                    rename: seeds.flags[0],
                    pattern: None,
                };
                // Lower links carry anything.
                let mut link = build(
                    Kind::Nic(nic),
                    Seeds {
                        mtu: seeds.mtu.map(|_| 9216),
                        ..seeds
                    },
                    member,
                    1,
                );
                link.wake_on_lan = link.optional;
                network.links.insert(name(&format!("port{index}")), link);
            }
            let parent = if let Some((mut bond, seeds)) = bond {
                bond.members = [name("port0"), name("port1")].into();
                network.links.insert(
                    name("bond0"),
                    build(Kind::Bond(bond), Seeds { mtu: None, ..seeds }, false, 2),
                );
                name("bond0")
            } else {
                name("port0")
            };
            for (index, (id, mut seeds)) in vlans.into_iter().enumerate() {
                // Their addresses would be those of the first interface.
                seeds.addressing = Addressing {
                    dhcp4: seeds.addressing.dhcp4,
                    accept_ra: seeds.addressing.accept_ra,
                    ..Addressing::default()
                };
                let kind = Kind::Vlan(Vlan {
                    parent: parent.clone(),
                    id,
                });
                network
                    .links
                    .insert(name(&format!("vlan{index}")), build(kind, seeds, false, 3));
            }
            if let Some((seeds, stp, forward_delay)) = bridge.filter(|_| bridged) {
                let kind = Kind::Bridge(Bridge {
                    members: [name(&format!("port{last}"))].into(),
                    stp,
                    forward_delay,
                });
                network.links.insert(name("br0"), build(kind, seeds, false, 4));
            }
            network
        })
        .boxed()
}

fn build(kind: Kind, seeds: Seeds, member: bool, number: u8) -> Link {
    let mut link = Link::new(kind);
    link.mac = seeds.mac.map(|last| mac(last, number));
    link.mtu = seeds.mtu;
    link.optional = seeds.flags[1];
    if !member {
        link.ip = seeds.addressing;
    }
    link
}
