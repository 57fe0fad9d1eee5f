//! Debian's ifupdown: one file with everything.
//!
//! Bonds, VLANs and bridges are made with `ip`, on which ifupdown depends itself: the words for them in this file need
//! the packages ifenslave, vlan and bridge-utils, which an image may not have.

use super::{
    HEADER, Rendered,
    link_file::{self, Recognised},
    resolv,
};
use crate::{
    model::{Addressing, Kind, Link, Network, Route, Rule, is_ipv6},
    name::LinkName,
};

const FILE: &str = "etc/network/interfaces";

pub(super) fn render(network: &Network) -> Rendered {
    let network = network.renamed(|_| true);
    let mut rendered = Rendered::default();
    link_file::render(&network, Recognised::ByPermanent, &mut rendered);
    let mut text = format!("{HEADER}auto lo\niface lo inet loopback\n");
    for (name, link) in network.bottom_up() {
        if let Kind::Nic(nic) = &link.kind
            && nic.mac.is_none()
            && nic.pattern.is_some()
        {
            rendered.warn(format!(
                "`{name}`: ifupdown knows no patterns; the interface has to have this name"
            ));
        }
        if link.ip.accept_ra.is_none() && link.ip.dhcp6.is_some() {
            rendered.warn(format!(
                "`{name}`: accept-ra is not said; routes of IPv6 come from routers, so they are listened to"
            ));
        }
        stanzas(&network, name, link, &mut text);
    }
    rendered.add(FILE, 0o644, text);
    resolv::render(&network, &mut rendered);
    rendered
}

/// One `iface` with its options.
struct Stanza {
    family: &'static str,
    method: &'static str,
    options: Vec<String>,
}

impl Stanza {
    fn new(family: &'static str, method: &'static str) -> Self {
        Self {
            family,
            method,
            options: Vec::new(),
        }
    }

    fn add(&mut self, option: impl Into<String>) {
        self.options.push(option.into());
    }
}

fn stanzas(network: &Network, name: &LinkName, link: &Link, text: &mut String) {
    let member = network.master(name).is_some();
    let mut stanzas = if member {
        Vec::new()
    } else {
        layer3(name, &link.ip)
    };
    if stanzas.is_empty() {
        stanzas.push(Stanza::new("inet", "manual"));
    }
    let made = make(name, link);
    // The first stanza makes the link before it is used, the last one takes it away.
    if let Some(first) = stanzas.first_mut() {
        let own = std::mem::replace(&mut first.options, made);
        if !member {
            first.add(format!("pre-up ip link set dev {name} up"));
        }
        first.options.extend(own);
    }
    if let Some(last) = stanzas.last_mut()
        && link.nic().is_none()
    {
        last.add(format!("post-down ip link delete dev {name}"));
    }
    // What may be missing must not hold the boot.
    let start = if link.optional && link.nic().is_some() {
        "allow-hotplug"
    } else {
        "auto"
    };
    text.push_str(&format!("\n{start} {name}\n"));
    for stanza in stanzas {
        text.push_str(&format!("iface {name} {} {}\n", stanza.family, stanza.method));
        for option in stanza.options {
            text.push_str(&format!("    {option}\n"));
        }
    }
}

/// What makes the link and sets it up, before it has addresses.
fn make(name: &LinkName, link: &Link) -> Vec<String> {
    let mut out = Vec::new();
    let unless_there =
        |kind: &str| format!("pre-up ip link show dev {name} >/dev/null 2>&1 || ip link add {kind}");
    let mac = link
        .mac
        .map(|mac| format!("pre-up ip link set dev {name} address {mac}"));
    match &link.kind {
        Kind::Nic(_) => out.extend(mac),
        Kind::Bond(bond) => {
            let mut options = bond.options();
            // The kernel takes the preferred member only once it is one.
            let primary = options.iter().position(|(key, _)| *key == "primary");
            let primary = primary.map(|place| options.remove(place).1);
            let words: Vec<String> = options
                .iter()
                .map(|(key, value)| format!("{key} {value}"))
                .collect();
            out.push(unless_there(&format!("dev {name} type bond {}", words.join(" "))));
            out.extend(mac);
            for member in &bond.members {
                out.push(format!("pre-up ip link set dev {member} down"));
                out.push(format!("pre-up ip link set dev {member} master {name}"));
                out.push(format!("pre-up ip link set dev {member} up"));
            }
            out.extend(
                primary.map(|primary| format!("pre-up ip link set dev {name} type bond primary {primary}")),
            );
        }
        Kind::Vlan(vlan) => {
            let parent = &vlan.parent;
            out.push(unless_there(&format!(
                "link {parent} name {name} type vlan id {}",
                vlan.id
            )));
            out.extend(mac);
        }
        Kind::Bridge(bridge) => {
            let mut words = String::new();
            if let Some(stp) = bridge.stp {
                words.push_str(&format!(" stp_state {}", u8::from(stp)));
            }
            if let Some(delay) = bridge.forward_delay {
                // In hundredths of a second.
                words.push_str(&format!(" forward_delay {}", u64::from(delay) * 100));
            }
            out.push(unless_there(&format!("dev {name} type bridge{words}")));
            out.extend(mac);
            for member in &bridge.members {
                out.push(format!("pre-up ip link set dev {member} master {name}"));
                out.push(format!("pre-up ip link set dev {member} up"));
            }
        }
    }
    out.extend(
        link.mtu
            .map(|mtu| format!("pre-up ip link set dev {name} mtu {mtu}")),
    );
    let ip = &link.ip;
    if let (None, Some(accept), None) = (ip.of_family(true).next(), ip.accept_ra, &ip.dhcp6)
        && !accept
    {
        out.push(sysctl(name, "accept_ra", "0"));
    }
    if ip.no_ipv6_link_local() {
        // The kernel's number for "none".
        out.push(sysctl(name, "addr_gen_mode", "1"));
    }
    out
}

fn sysctl(name: &LinkName, key: &str, value: &str) -> String {
    format!("pre-up echo {value} > /proc/sys/net/ipv6/conf/{name}/{key}")
}

fn layer3(name: &LinkName, ip: &Addressing) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    if let Some(dhcp) = &ip.dhcp4 {
        let mut stanza = Stanza::new("inet", "dhcp");
        if let Some(metric) = dhcp.route_metric {
            stanza.add(format!("metric {metric}"));
        }
        stanzas.push(stanza);
    }
    for address in ip.of_family(false) {
        let mut stanza = Stanza::new("inet", "static");
        stanza.add(format!("address {address}"));
        stanzas.push(stanza);
    }
    if ip.dhcp6.is_some() {
        let mut stanza = Stanza::new("inet6", "dhcp");
        stanza.add(format!("accept_ra {}", u8::from(ip.accept_ra != Some(false))));
        stanzas.push(stanza);
    } else if ip.accept_ra == Some(true) {
        let mut stanza = Stanza::new("inet6", "auto");
        if ip.ipv6_privacy {
            stanza.add("privext 2");
        }
        stanzas.push(stanza);
    }
    let routers = ip.dhcp6.is_some() || ip.accept_ra == Some(true);
    for address in ip.of_family(true) {
        let mut stanza = Stanza::new("inet6", "static");
        stanza.add(format!("address {address}"));
        if let (Some(accept), false) = (ip.accept_ra, routers) {
            stanza.add(format!("accept_ra {}", u8::from(accept)));
        }
        stanzas.push(stanza);
    }
    if (ip.routes.len() + ip.rules.len() > 0 || !ip.servers.is_empty() || !ip.search.is_empty())
        && stanzas.is_empty()
    {
        stanzas.push(Stanza::new("inet", "manual"));
    }
    let Some(last) = stanzas.last_mut() else {
        return stanzas;
    };
    for rule in &ip.rules {
        // A rule that is there would be there twice.
        let words = rule_words(rule);
        last.add(format!("up ip {words} 2>/dev/null || true"));
        last.add(format!(
            "down ip {} || true",
            words.replacen("rule add", "rule del", 1)
        ));
    }
    for route in ip.routes_of(false).chain(ip.routes_of(true)) {
        last.add(format!("up ip {}", route_words(name, route)));
    }
    if !ip.servers.is_empty() {
        let servers: Vec<String> = ip.servers.iter().map(ToString::to_string).collect();
        last.add(format!("dns-nameservers {}", servers.join(" ")));
    }
    if !ip.search.is_empty() {
        last.add(format!("dns-search {}", ip.search.join(" ")));
    }
    stanzas
}

fn route_words(name: &LinkName, route: &Route) -> String {
    let family = if is_ipv6(&route.to) { "-6" } else { "-4" };
    let mut words = format!("{family} route replace {}", route.to);
    if let Some(via) = route.via {
        words.push_str(&format!(" via {via}"));
    }
    words.push_str(&format!(" dev {name}"));
    words.push_str(&tail(route));
    words
}

/// What `ip route` takes after gateway and device.
pub(super) fn tail(route: &Route) -> String {
    let mut words = String::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {key} {value}"));
        }
    };
    add("src", route.source.map(|source| source.to_string()));
    add("metric", route.metric.map(|metric| metric.to_string()));
    add("table", route.table.map(|table| table.to_string()));
    add("mtu", route.mtu.map(|mtu| mtu.to_string()));
    if route.on_link {
        words.push_str(" onlink");
    }
    words
}

fn rule_words(rule: &Rule) -> String {
    let family = if rule.is_ipv6() { "-6" } else { "-4" };
    format!("{family} rule add {}", selector(rule))
}

/// What `ip rule add` takes.
pub(super) fn selector(rule: &Rule) -> String {
    let mut words = Vec::new();
    words.extend(rule.priority.map(|priority| format!("priority {priority}")));
    words.extend(rule.from.map(|from| format!("from {from}")));
    words.extend(rule.to.map(|to| format!("to {to}")));
    words.push(format!("table {}", rule.table));
    words.join(" ")
}
