//! Network-config version 2, for netplan and for cloud-init.

use super::{HEADER, Rendered, yaml::Yaml};
use crate::model::{Addressing, Bond, Bridge, Dhcp, Kind, Link, Network, Nic, Route, Rule};

type Entries = Vec<(String, Yaml)>;

/// netplan reads the file with the highest name last.
const NETPLAN: &str = "etc/netplan/90-imprint.yaml";
/// In the folder of the seed.
const SEED: &str = "network-config";

pub(super) fn netplan(network: &Network) -> Rendered {
    let mut rendered = Rendered::default();
    let inner = Yaml::Map(sections(network));
    let text = Yaml::Map(vec![("network".to_owned(), inner)]).document();
    // netplan complains about files that others can read.
    rendered.add(NETPLAN, 0o600, format!("{HEADER}{text}"));
    rendered
}

pub(super) fn cloud_init(network: &Network) -> Rendered {
    let mut rendered = Rendered::default();
    let text = Yaml::Map(sections(network)).document();
    rendered.add(SEED, 0o600, format!("{HEADER}{text}"));
    rendered
}

fn sections(network: &Network) -> Entries {
    let mut sections = vec![("version".to_owned(), Yaml::word(2))];
    for section in ["ethernets", "bonds", "bridges", "vlans"] {
        let devices: Entries = network
            .links
            .iter()
            .filter(|(_, link)| section_of(&link.kind) == section)
            .map(|(name, link)| (name.to_string(), Yaml::Map(device(name.as_str(), link))))
            .collect();
        if !devices.is_empty() {
            sections.push((section.to_owned(), Yaml::Map(devices)));
        }
    }
    sections
}

fn section_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Nic(_) => "ethernets",
        Kind::Bond(_) => "bonds",
        Kind::Bridge(_) => "bridges",
        Kind::Vlan(_) => "vlans",
    }
}

fn device(name: &str, link: &Link) -> Entries {
    let mut out = Entries::new();
    let mut put = |key: &str, value: Option<Yaml>| out.extend(value.map(|value| (key.to_owned(), value)));
    match &link.kind {
        Kind::Nic(nic) => {
            put("match", matched(nic));
            put("set-name", nic.rename.then(|| Yaml::text(name)));
        }
        Kind::Bond(bond) => {
            put("interfaces", Some(Yaml::texts(&bond.members)));
            put("parameters", Some(Yaml::Map(bond_parameters(bond))));
        }
        Kind::Bridge(bridge) => {
            put("interfaces", Some(Yaml::texts(&bridge.members)));
            let parameters = bridge_parameters(bridge);
            put(
                "parameters",
                (!parameters.is_empty()).then_some(Yaml::Map(parameters)),
            );
        }
        Kind::Vlan(vlan) => {
            put("id", Some(Yaml::word(vlan.id)));
            put("link", Some(Yaml::text(&vlan.parent)));
        }
    }
    put("macaddress", link.mac.map(Yaml::text));
    put("mtu", link.mtu.map(Yaml::word));
    put("optional", link.optional.then(|| Yaml::word(true)));
    put("wakeonlan", link.wake_on_lan.then(|| Yaml::word(true)));
    layer3(&link.ip, &mut put);
    out
}

fn layer3(ip: &Addressing, put: &mut impl FnMut(&str, Option<Yaml>)) {
    put("dhcp4", ip.dhcp4.as_ref().map(|_| Yaml::word(true)));
    put("dhcp4-overrides", ip.dhcp4.as_ref().and_then(overrides));
    put("dhcp6", ip.dhcp6.as_ref().map(|_| Yaml::word(true)));
    put("dhcp6-overrides", ip.dhcp6.as_ref().and_then(overrides));
    put("dhcp-identifier", ip.dhcp_by_mac.then(|| Yaml::text("mac")));
    put("accept-ra", ip.accept_ra.map(Yaml::word));
    put(
        "link-local",
        ip.link_local.map(|which| {
            let families = [("ipv4", which.ipv4), ("ipv6", which.ipv6)];
            Yaml::texts(families.iter().filter(|(_, on)| *on).map(|(family, _)| family))
        }),
    );
    put("ipv6-privacy", ip.ipv6_privacy.then(|| Yaml::word(true)));
    put("addresses", listed(ip.addresses.iter().map(Yaml::text)));
    put(
        "routes",
        listed(ip.routes_of(false).chain(ip.routes_of(true)).map(route)),
    );
    put("routing-policy", listed(ip.rules.iter().map(rule)));
    if !ip.servers.is_empty() || !ip.search.is_empty() {
        let mut servers = Entries::new();
        servers.extend(listed(ip.servers.iter().map(Yaml::text)).map(|list| ("addresses".to_owned(), list)));
        servers.extend(listed(ip.search.iter().map(Yaml::text)).map(|list| ("search".to_owned(), list)));
        put("nameservers", Some(Yaml::Map(servers)));
    }
}

fn listed(items: impl Iterator<Item = Yaml>) -> Option<Yaml> {
    let items: Vec<Yaml> = items.collect();
    (!items.is_empty()).then_some(Yaml::List(items))
}

fn mapped(entries: Vec<(&str, Option<Yaml>)>) -> Yaml {
    let entries = entries.into_iter();
    Yaml::Map(
        entries
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
    )
}

fn matched(nic: &Nic) -> Option<Yaml> {
    if nic.mac.is_none() && nic.pattern.is_none() {
        return None;
    }
    Some(mapped(vec![
        ("macaddress", nic.mac.map(Yaml::text)),
        ("name", nic.pattern.as_ref().map(Yaml::text)),
    ]))
}

fn overrides(dhcp: &Dhcp) -> Option<Yaml> {
    if *dhcp == Dhcp::default() {
        return None;
    }
    Some(mapped(vec![
        ("route-metric", dhcp.route_metric.map(Yaml::word)),
        ("use-dns", dhcp.use_dns.map(Yaml::word)),
        ("use-routes", dhcp.use_routes.map(Yaml::word)),
        ("use-mtu", dhcp.use_mtu.map(Yaml::word)),
        ("use-hostname", dhcp.use_hostname.map(Yaml::word)),
        ("use-ntp", dhcp.use_ntp.map(Yaml::word)),
        ("send-hostname", dhcp.send_hostname.map(Yaml::word)),
    ]))
}

fn route(route: &Route) -> Yaml {
    mapped(vec![
        // Not `default`, which cloud-init before 23 refuses.
        ("to", Some(Yaml::text(route.to))),
        ("via", route.via.map(Yaml::text)),
        // Without a gateway netplan takes a route for a global one and says so.
        ("scope", route.via.is_none().then(|| Yaml::text("link"))),
        ("metric", route.metric.map(Yaml::word)),
        ("table", route.table.map(Yaml::word)),
        ("on-link", route.on_link.then(|| Yaml::word(true))),
        ("from", route.source.map(Yaml::text)),
        ("mtu", route.mtu.map(Yaml::word)),
    ])
}

fn rule(rule: &Rule) -> Yaml {
    mapped(vec![
        ("from", rule.from.map(Yaml::text)),
        ("to", rule.to.map(Yaml::text)),
        ("table", Some(Yaml::word(rule.table))),
        ("priority", rule.priority.map(Yaml::word)),
    ])
}

fn bond_parameters(bond: &Bond) -> Entries {
    let entries = [
        ("mode", Some(Yaml::text(bond.mode.word()))),
        ("lacp-rate", bond.lacp_rate.map(|rate| Yaml::text(rate.word()))),
        (
            "transmit-hash-policy",
            bond.hash.map(|hash| Yaml::text(hash.word())),
        ),
        (
            "ad-select",
            bond.ad_select.map(|select| Yaml::text(select.word())),
        ),
        ("mii-monitor-interval", bond.miimon.map(Yaml::word)),
        ("up-delay", bond.up_delay.map(Yaml::word)),
        ("down-delay", bond.down_delay.map(Yaml::word)),
        ("min-links", bond.min_links.map(Yaml::word)),
        ("arp-interval", bond.arp_interval.map(Yaml::word)),
        ("arp-ip-targets", listed(bond.arp_targets.iter().map(Yaml::text))),
        ("primary", bond.primary.as_ref().map(Yaml::text)),
    ];
    let entries = entries.into_iter();
    entries
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn bridge_parameters(bridge: &Bridge) -> Entries {
    let entries = [
        ("stp", bridge.stp.map(Yaml::word)),
        ("forward-delay", bridge.forward_delay.map(Yaml::word)),
    ];
    let entries = entries.into_iter();
    entries
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}
