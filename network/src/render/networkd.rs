//! systemd-networkd.

use super::{
    Rendered,
    ini::Ini,
    link_file::{self, Recognised},
    networkd_netdev,
};
use crate::{
    model::{Addressing, Dhcp, Kind, Link, Network, Nic, Rule, is_ipv6},
    name::LinkName,
};

const FOLDER: &str = "etc/systemd/network";

pub(super) fn render(network: &Network) -> Rendered {
    let mut rendered = Rendered::default();
    link_file::render(network, Recognised::ByPermanent, &mut rendered);
    for (name, link) in &network.links {
        if let Some(text) = networkd_netdev::text(name, link) {
            rendered.add(format!("{FOLDER}/10-imprint-{name}.netdev"), 0o644, text);
        }
        rendered.add(
            format!("{FOLDER}/10-imprint-{name}.network"),
            0o644,
            dot_network(network, name, link),
        );
    }
    rendered
}

fn dot_network(network: &Network, name: &LinkName, link: &Link) -> String {
    let mut ini = Ini::new();
    let master = network.master(name);
    let vlans: Vec<&LinkName> = network.vlans_on(name).collect();
    ini.section("Match");
    match &link.kind {
        Kind::Nic(nic) => {
            let shared = master.is_some() || !vlans.is_empty() || link.mac.is_some();
            matched(name, nic, shared, &mut ini);
        }
        _ => ini.key("Name", name),
    }
    ini.section("Link");
    ini.maybe("MTUBytes", link.mtu);
    if link.nic().is_some() {
        ini.maybe("MACAddress", link.mac);
    }
    if link.optional {
        ini.key("RequiredForOnline", "no");
    }
    ini.section("Network");
    if let Some((master_name, master)) = master {
        ini.key("LinkLocalAddressing", "no");
        match &master.kind {
            Kind::Bond(bond) => {
                ini.key("Bond", master_name);
                if bond.primary.as_ref() == Some(name) {
                    ini.key("PrimarySlave", "yes");
                }
            }
            _ => ini.key("Bridge", master_name),
        }
    } else {
        addressing(&link.ip, &mut ini);
    }
    for vlan in vlans {
        ini.key("VLAN", vlan);
    }
    if matches!(link.kind, Kind::Bridge(_) | Kind::Bond(_)) && link.ip.is_empty() {
        // Without addresses it would be left down, and what rests on it with it.
        ini.key("ConfigureWithoutCarrier", "yes");
    }
    if master.is_none() {
        sections(&link.ip, &mut ini);
    }
    ini.text()
}

fn matched(name: &LinkName, nic: &Nic, shared: bool, ini: &mut Ini) {
    match (nic.mac, &nic.pattern) {
        // Bonds, bridges and VLANs have the addresses of their members, and bonds give members theirs.
        (Some(mac), _) if shared => ini.key("PermanentMACAddress", mac),
        (Some(mac), _) => {
            ini.key("MACAddress", mac);
            ini.key("Type", "ether");
        }
        (None, Some(pattern)) => {
            ini.key("Name", pattern);
            ini.key("Type", "ether");
        }
        (None, None) => ini.key("Name", name),
    }
}

fn addressing(ip: &Addressing, ini: &mut Ini) {
    let dhcp = match (&ip.dhcp4, &ip.dhcp6) {
        (Some(_), Some(_)) => Some("yes"),
        (Some(_), None) => Some("ipv4"),
        (None, Some(_)) => Some("ipv6"),
        (None, None) => None,
    };
    ini.maybe("DHCP", dhcp);
    ini.maybe(
        "LinkLocalAddressing",
        ip.link_local.map(|which| match (which.ipv4, which.ipv6) {
            (true, true) => "yes",
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            (false, false) => "no",
        }),
    );
    ini.flag("IPv6AcceptRA", ip.accept_ra);
    if ip.ipv6_privacy {
        ini.key("IPv6PrivacyExtensions", "yes");
    }
    for address in &ip.addresses {
        ini.key("Address", address);
    }
    for server in &ip.servers {
        ini.key("DNS", server);
    }
    if !ip.search.is_empty() {
        ini.key("Domains", ip.search.join(" "));
    }
}

fn sections(ip: &Addressing, ini: &mut Ini) {
    if let Some(dhcp) = &ip.dhcp4 {
        ini.section("DHCPv4");
        if ip.dhcp_by_mac {
            ini.key("ClientIdentifier", "mac");
        }
        common_overrides(dhcp, ini);
        ini.flag("UseMTU", dhcp.use_mtu);
        ini.flag("UseRoutes", dhcp.use_routes);
        ini.flag("SendHostname", dhcp.send_hostname);
        ini.maybe("RouteMetric", dhcp.route_metric);
    }
    if let Some(dhcp) = &ip.dhcp6 {
        ini.section("DHCPv6");
        if ip.accept_ra == Some(false) {
            // Else the client waits for a router to tell it to begin.
            ini.key("WithoutRA", "solicit");
        }
        if ip.dhcp_by_mac {
            ini.key("DUIDType", "link-layer");
        }
        common_overrides(dhcp, ini);
        ini.flag("SendHostname", dhcp.send_hostname);
        if ip.accept_ra != Some(false) && (dhcp.route_metric.is_some() || dhcp.use_routes.is_some()) {
            // Routes of IPv6 come from routers.
            ini.section("IPv6AcceptRA");
            ini.flag("UseGateway", dhcp.use_routes);
            ini.maybe("RouteMetric", dhcp.route_metric);
        }
    }
    for route in ip.routes_of(false).chain(ip.routes_of(true)) {
        ini.section("Route");
        ini.key("Destination", route.to);
        ini.maybe("Gateway", route.via);
        if route.on_link {
            ini.key("GatewayOnLink", "yes");
        }
        if route.via.is_none() && !is_ipv6(&route.to) {
            ini.key("Scope", "link");
        }
        ini.maybe("PreferredSource", route.source);
        ini.maybe("Metric", route.metric);
        ini.maybe("Table", route.table);
        ini.maybe("MTUBytes", route.mtu);
    }
    for rule in &ip.rules {
        policy(rule, ini);
    }
}

fn common_overrides(dhcp: &Dhcp, ini: &mut Ini) {
    ini.flag("UseDNS", dhcp.use_dns);
    ini.flag("UseNTP", dhcp.use_ntp);
    ini.flag("UseHostname", dhcp.use_hostname);
}

fn policy(rule: &Rule, ini: &mut Ini) {
    ini.section("RoutingPolicyRule");
    ini.maybe("From", rule.from);
    ini.maybe("To", rule.to);
    ini.key("Table", rule.table);
    ini.maybe("Priority", rule.priority);
}
