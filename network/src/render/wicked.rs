//! wicked of SLES 12 and 15.

use super::{
    Rendered,
    ifcfg::Variables,
    link_file::{self, Recognised},
    resolv,
};
use crate::{
    model::{Addressing, Kind, Link, Network, Route, Rule},
    name::LinkName,
};

const FOLDER: &str = "etc/sysconfig/network";

pub(super) fn render(network: &Network) -> Rendered {
    let network = network.renamed(|_| true);
    let mut rendered = Rendered::default();
    link_file::render(&network, Recognised::ByPresent, &mut rendered);
    for (name, link) in &network.links {
        if let Kind::Nic(nic) = &link.kind
            && nic.mac.is_none()
            && nic.pattern.is_some()
        {
            rendered.warn(format!(
                "`{name}`: wicked knows no patterns; the interface has to have this name"
            ));
        }
        rendered.add(
            format!("{FOLDER}/ifcfg-{name}"),
            0o644,
            interface(&network, name, link),
        );
        let ip = &link.ip;
        let routes: Vec<String> = ip
            .routes_of(false)
            .chain(ip.routes_of(true))
            .map(|route| route_line(name, route))
            .collect();
        rendered.add_lines(format!("{FOLDER}/ifroute-{name}"), &routes);
        let rules: Vec<String> = ip.rules.iter().map(rule_line).collect();
        rendered.add_lines(format!("{FOLDER}/ifrule-{name}"), &rules);
        rendered.add_lines(format!("{FOLDER}/ifsysctl-{name}"), &sysctls(link));
    }
    resolv::render(&network, &mut rendered);
    rendered
}

fn interface(network: &Network, name: &LinkName, link: &Link) -> String {
    let mut out = Variables::new();
    let member = network.master(name);
    let start = match (member, link.optional) {
        (Some(_), _) => "hotplug",
        (None, true) => "hotplug",
        (None, false) => "auto",
    };
    out.set("STARTMODE", start);
    match &link.kind {
        Kind::Nic(_) => {
            if link.wake_on_lan {
                out.set("ETHTOOL_OPTIONS", "wol g");
            }
        }
        Kind::Bond(bond) => {
            out.set("BONDING_MASTER", "yes");
            for (index, member) in bond.members.iter().enumerate() {
                out.set(&format!("BONDING_SLAVE{index}"), member);
            }
            let options: Vec<String> = bond
                .options()
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            out.set("BONDING_MODULE_OPTS", options.join(" "));
        }
        Kind::Vlan(vlan) => {
            out.set("ETHERDEVICE", &vlan.parent);
            out.set("VLAN_ID", vlan.id);
        }
        Kind::Bridge(bridge) => {
            out.set("BRIDGE", "yes");
            let members: Vec<&str> = bridge.members.iter().map(LinkName::as_str).collect();
            out.set("BRIDGE_PORTS", members.join(" "));
            out.maybe("BRIDGE_STP", bridge.stp.map(|stp| if stp { "on" } else { "off" }));
            out.maybe("BRIDGE_FORWARDDELAY", bridge.forward_delay);
        }
    }
    out.maybe("LLADDR", link.mac);
    out.maybe("MTU", link.mtu);
    if member.is_some() {
        out.set("BOOTPROTO", "none");
    } else {
        layer3(&link.ip, &mut out);
    }
    out.text()
}

fn layer3(ip: &Addressing, out: &mut Variables) {
    let dhcp = match (&ip.dhcp4, &ip.dhcp6) {
        (Some(_), Some(_)) => Some("dhcp"),
        (Some(_), None) => Some("dhcp4"),
        (None, Some(_)) => Some("dhcp6"),
        (None, None) => None,
    };
    let fixed = !ip.addresses.is_empty() || ip.accept_ra == Some(true);
    out.set(
        "BOOTPROTO",
        match (dhcp, fixed) {
            (Some(dhcp), true) => format!("{dhcp}+static"),
            (Some(dhcp), false) => dhcp.to_owned(),
            (None, true) => "static".to_owned(),
            // "static" without addresses brings the link up for what rests on it.
            (None, false) => "static".to_owned(),
        },
    );
    for (index, address) in ip.addresses.iter().enumerate() {
        let number = if index == 0 {
            String::new()
        } else {
            format!("_{index}")
        };
        out.set(&format!("IPADDR{number}"), address);
    }
    if let Some(dhcp) = &ip.dhcp4 {
        out.flag("DHCLIENT_SET_DEFAULT_ROUTE", dhcp.use_routes);
        out.maybe("DHCLIENT_ROUTE_PRIORITY", dhcp.route_metric);
        if ip.dhcp_by_mac {
            out.set("DHCLIENT_CREATE_CID", "rfc2132");
        }
    }
    if ip.dhcp6.is_some() {
        // What routers say decides.
        out.set(
            "DHCLIENT6_MODE",
            if ip.accept_ra == Some(false) {
                "managed"
            } else {
                "auto"
            },
        );
    }
}

/// Destination, gateway, netmask, interface, type, and what `ip route` takes.
fn route_line(name: &LinkName, route: &Route) -> String {
    let via = route.via.map_or_else(|| "-".to_owned(), |via| via.to_string());
    // wicked asks no more about gateways that are out of reach than the kernel does.
    let options = super::ifupdown::tail(route);
    format!("{} {via} - {name} unicast{options}", route.to)
}

fn rule_line(rule: &Rule) -> String {
    let family = if rule.is_ipv6() { "ipv6" } else { "ipv4" };
    format!("{family} {}", super::ifupdown::selector(rule))
}

fn sysctls(link: &Link) -> Vec<String> {
    let mut out = Vec::new();
    let mut set = |key: &str, value: u8| out.push(format!("net.ipv6.conf.$INTERFACE.{key} = {value}"));
    if let Some(accept) = link.ip.accept_ra {
        set("accept_ra", u8::from(accept));
        set("autoconf", u8::from(accept));
    }
    if link.ip.ipv6_privacy {
        set("use_tempaddr", 2);
    }
    out
}
