//! Names, MAC addresses, sizes, and who rests on whom.

use std::collections::BTreeMap;

use super::{Findings, kind_word, place};
use crate::{
    mac::MacAddress,
    model::{Bond, Bridge, Kind, Link, Network, Nic, Vlan},
    name::LinkName,
};

/// Largest packets that the kernel takes.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Smallest with which IPv6 works (RFC 8200).
const MTU_IPV6: u32 = 1280;
/// Longest pauses of bonds, ms.
const MAX_MS: u32 = 600_000;

pub(super) fn check(network: &Network, findings: &mut Findings) {
    let mut macs: BTreeMap<MacAddress, &LinkName> = BTreeMap::new();
    let mut masters: BTreeMap<&LinkName, &LinkName> = BTreeMap::new();
    for (name, link) in &network.links {
        if let Some(mac) = link.mac
            && !mac.is_unicast()
        {
            findings.error(
                place(name, "mac"),
                format!("{mac} cannot be the address of one interface"),
            );
        }
        mtu(network, name, link, findings);
        match &link.kind {
            Kind::Nic(nic) => check_nic(name, nic, &mut macs, findings),
            Kind::Bond(bond) => check_bond(network, name, bond, findings),
            Kind::Vlan(vlan) => check_vlan(network, name, vlan, findings),
            Kind::Bridge(bridge) => check_bridge(network, name, bridge, findings),
        }
        let members = match &link.kind {
            Kind::Bond(bond) => &bond.members,
            Kind::Bridge(bridge) => &bridge.members,
            Kind::Nic(_) | Kind::Vlan(_) => continue,
        };
        for member in members {
            if let Some(other) = masters.insert(member, name) {
                findings.error(
                    place(name, "members"),
                    format!("`{member}` is a member of `{other}` already"),
                );
            }
            if let Some(below) = network.links.get(member)
                && !below.ip.is_empty()
                && has_layer3(below)
            {
                findings.error(
                    place(member, ""),
                    format!("it is a member of `{name}` and can have no addresses, DHCP or routes; give them to `{name}`"),
                );
            }
        }
    }
}

fn has_layer3(link: &Link) -> bool {
    let ip = &link.ip;
    ip.dhcp4.is_some()
        || ip.dhcp6.is_some()
        || ip.accept_ra == Some(true)
        || !ip.addresses.is_empty()
        || !ip.routes.is_empty()
}

fn mtu(network: &Network, name: &LinkName, link: &Link, findings: &mut Findings) {
    let Some(mtu) = link.mtu else { return };
    let path = || place(name, "mtu");
    if !MTU.contains(&mtu) {
        findings.error(
            path(),
            format!("{mtu} is no MTU; {} to {} are", MTU.start(), MTU.end()),
        );
        return;
    }
    let ipv6 = link.ip.dhcp6.is_some()
        || link.ip.accept_ra == Some(true)
        || link.ip.of_family(true).next().is_some();
    if ipv6 && mtu < MTU_IPV6 {
        findings.error(
            path(),
            format!("{mtu} is too small for IPv6, which needs {MTU_IPV6}"),
        );
    }
    for below in network.below(link) {
        let Some(lower) = network.links.get(below).and_then(|below| below.mtu) else {
            continue;
        };
        if lower < mtu {
            let text = format!("{mtu} is more than the {lower} of `{below}`, on which it rests");
            match link.kind {
                Kind::Vlan(_) => findings.error(path(), text),
                _ => findings.warn(path(), text),
            }
        }
    }
}

fn check_nic<'a>(
    name: &'a LinkName,
    nic: &Nic,
    macs: &mut BTreeMap<MacAddress, &'a LinkName>,
    findings: &mut Findings,
) {
    if let Some(mac) = nic.mac {
        if !mac.is_unicast() {
            findings.error(
                place(name, "match"),
                format!("{mac} cannot be the address of one interface"),
            );
        }
        if let Some(other) = macs.insert(mac, name) {
            findings.error(
                place(name, "match"),
                format!("{mac} is the address of `{other}` as well"),
            );
        }
        if nic.rename && name.as_str().starts_with("eth") {
            findings.warn(
                place(name, ""),
                "names like eth0 are the kernel's own: renaming fails while another interface has the name",
            );
        }
        return;
    }
    if nic.rename {
        findings.error(
            place(name, "match"),
            "to be renamed, an interface has to be named by its MAC address",
        );
        return;
    }
    if let Some(pattern) = &nic.pattern
        && !is_pattern(pattern)
    {
        findings.error(
            place(name, "match"),
            "a pattern of names has letters, digits, `.`, `_`, `-`, `*`, `?` and `[…]`",
        );
    }
    findings.warn(
        place(name, ""),
        "it is found by its name, which differs between systems and versions; its MAC address is certain (`match: {macaddress: …}`)",
    );
}

fn is_pattern(pattern: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-*?[]!".contains(letter);
    (1..=64).contains(&pattern.len()) && pattern.chars().all(plain)
}

fn check_bond(network: &Network, name: &LinkName, bond: &Bond, findings: &mut Findings) {
    match bond.members.len() {
        0 => findings.error(place(name, "members"), "a bond without members never comes up"),
        1 => findings.warn(place(name, "members"), "a bond of one member survives nothing"),
        _ => {}
    }
    for member in &bond.members {
        match network.links.get(member).map(|link| &link.kind) {
            Some(Kind::Nic(_)) => {}
            Some(other) => findings.error(
                place(name, "members"),
                format!(
                    "`{member}` is {}; members of a bond are physical interfaces",
                    kind_word(other)
                ),
            ),
            None => findings.error(place(name, "members"), format!("there is no link `{member}`")),
        }
    }
    let mode = bond.mode.word();
    let mut only = |field: &str, set: bool, fits: bool, where_it_works: &str| {
        if set && !fits {
            findings.error(
                place(name, field),
                format!("it has no place with mode {mode}, only with {where_it_works}"),
            );
        }
    };
    let lacp = bond.mode == crate::model::BondMode::Lacp;
    only("lacp_rate", bond.lacp_rate.is_some(), lacp, "802.3ad");
    only("ad_select", bond.ad_select.is_some(), lacp, "802.3ad");
    only(
        "min_links",
        bond.min_links.is_some_and(|links| links > 0),
        lacp,
        "802.3ad",
    );
    only(
        "primary",
        bond.primary.is_some(),
        bond.mode.has_primary(),
        "active-backup, balance-tlb and balance-alb",
    );
    let arp = bond.arp_interval.is_some_and(|interval| interval > 0);
    only(
        "arp_interval",
        arp,
        bond.mode.has_arp(),
        "balance-rr, active-backup, balance-xor and broadcast",
    );
    if let Some(primary) = bond
        .primary
        .as_ref()
        .filter(|primary| !bond.members.contains(*primary))
    {
        findings.error(
            place(name, "primary"),
            format!("`{primary}` is no member of the bond"),
        );
    }
    if bond.hash.is_some() && !bond.mode.has_hash() {
        findings.warn(
            place(name, "hash"),
            format!("a hash policy has no effect with mode {mode}"),
        );
    }
    if arp && bond.miimon.is_some_and(|interval| interval > 0) {
        findings.error(
            place(name, "arp_interval"),
            "members are watched by carrier (miimon) or by ARP, not by both",
        );
    }
    if arp && bond.arp_targets.is_empty() {
        findings.error(
            place(name, "arp_targets"),
            "watching by ARP needs addresses to ask for",
        );
    }
    if bond.arp_targets.iter().any(std::net::IpAddr::is_ipv6) || bond.arp_targets.len() > 16 {
        findings.error(
            place(name, "arp_targets"),
            "up to 16 IPv4 addresses can be asked for",
        );
    }
    if !arp && bond.miimon == Some(0) {
        findings.warn(
            place(name, "miimon"),
            "with 0 nobody looks at the members: a dead one is used on",
        );
    }
    for (field, value) in [
        ("miimon", bond.miimon),
        ("up_delay", bond.up_delay),
        ("down_delay", bond.down_delay),
        ("arp_interval", bond.arp_interval),
    ] {
        if value.is_some_and(|value| value > MAX_MS) {
            findings.error(place(name, field), format!("at most {MAX_MS} ms"));
        }
    }
    if bond
        .min_links
        .is_some_and(|links| links as usize > bond.members.len())
    {
        findings.error(place(name, "min_links"), "it is more than there are members");
    }
}

fn check_vlan(network: &Network, name: &LinkName, vlan: &Vlan, findings: &mut Findings) {
    if !(1..=4094).contains(&vlan.id) {
        findings.error(
            place(name, "id"),
            format!("{} is no VLAN; 1 to 4094 are", vlan.id),
        );
    }
    if !network.links.contains_key(&vlan.parent) {
        findings.error(
            place(name, "parent"),
            format!("there is no link `{}`", vlan.parent),
        );
    }
    let twin = network.links.iter().find(|(other, link)| {
        *other < name
            && matches!(&link.kind, Kind::Vlan(same) if same.id == vlan.id && same.parent == vlan.parent)
    });
    if let Some((other, _)) = twin {
        findings.error(
            place(name, "id"),
            format!("`{other}` is VLAN {} on `{}` already", vlan.id, vlan.parent),
        );
    }
    if let Some((master, _)) = network.master(&vlan.parent) {
        findings.warn(
            place(name, "parent"),
            format!(
                "`{}` is a member of `{master}`; a VLAN belongs on `{master}`",
                vlan.parent
            ),
        );
    }
}

fn check_bridge(network: &Network, name: &LinkName, bridge: &Bridge, findings: &mut Findings) {
    for member in &bridge.members {
        match network.links.get(member).map(|link| &link.kind) {
            Some(Kind::Bridge(_)) => findings.error(
                place(name, "members"),
                format!("`{member}` is a bridge; a bridge cannot be a member of another"),
            ),
            Some(_) => {}
            None => findings.error(place(name, "members"), format!("there is no link `{member}`")),
        }
    }
    let allowed = if bridge.stp == Some(false) { 0..=30 } else { 2..=30 };
    if bridge
        .forward_delay
        .is_some_and(|delay| !allowed.contains(&delay))
    {
        findings.error(
            place(name, "forward_delay"),
            "2 to 30 s; less only without spanning tree (`stp: false`)",
        );
    }
}
