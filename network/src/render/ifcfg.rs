//! The network scripts of Enterprise Linux 7 and 8, which NetworkManager reads there as well.

use super::{
    HEADER, Rendered,
    ifcfg_family::families,
    ifupdown::{selector, tail},
    link_file::{self, Recognised},
};
use crate::{
    model::{Kind, Link, Network, Route, is_ipv6},
    name::LinkName,
};

const FOLDER: &str = "etc/sysconfig/network-scripts";

/// A file of shell variables.
#[derive(Debug)]
pub(super) struct Variables(String);

impl Variables {
    pub(super) fn new() -> Self {
        Self(HEADER.to_owned())
    }

    /// Sets a variable. Values are words of our own making or checked ones: none has a quote.
    pub(super) fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+-".contains(&byte);
        if !value.is_empty() && value.bytes().all(plain) {
            self.0.push_str(&format!("{key}={value}\n"));
        } else {
            self.0.push_str(&format!("{key}=\"{value}\"\n"));
        }
    }

    pub(super) fn maybe(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    pub(super) fn flag(&mut self, key: &str, value: Option<bool>) {
        self.maybe(key, value.map(|value| if value { "yes" } else { "no" }));
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

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
                "`{name}`: ifcfg knows no patterns; the interface has to have this name"
            ));
        }
        rendered.add(
            format!("{FOLDER}/ifcfg-{name}"),
            0o644,
            interface(&network, name, link),
        );
        for (ipv6, prefix) in [(false, "route"), (true, "route6")] {
            let lines: Vec<String> = link
                .ip
                .routes_of(ipv6)
                .map(|route| route_line(name, route))
                .collect();
            rendered.add_lines(format!("{FOLDER}/{prefix}-{name}"), &lines);
        }
        for (ipv6, prefix) in [(false, "rule"), (true, "rule6")] {
            let lines: Vec<String> = link.ip.rules_of(ipv6).map(selector).collect();
            rendered.add_lines(format!("{FOLDER}/{prefix}-{name}"), &lines);
        }
    }
    rendered
}

fn route_line(name: &LinkName, route: &Route) -> String {
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    // NetworkManager's reader refuses a scope for IPv6.
    let scope = if route.via.is_none() && !is_ipv6(&route.to) {
        " scope link"
    } else {
        ""
    };
    format!("{}{via} dev {name}{scope}{}", route.to, tail(route))
}

fn interface(network: &Network, name: &LinkName, link: &Link) -> String {
    let mut out = Variables::new();
    out.set("DEVICE", name);
    out.set("NAME", name);
    out.set("ONBOOT", "yes");
    out.set("USERCTL", "no");
    match &link.kind {
        Kind::Nic(nic) => {
            out.set("TYPE", "Ethernet");
            out.maybe("HWADDR", nic.mac);
            if link.wake_on_lan {
                out.set("ETHTOOL_OPTS", "wol g");
            }
        }
        Kind::Bond(bond) => {
            out.set("TYPE", "Bond");
            out.set("BONDING_MASTER", "yes");
            let options: Vec<String> = bond
                .options()
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            out.set("BONDING_OPTS", options.join(" "));
        }
        Kind::Vlan(vlan) => {
            out.set("TYPE", "Vlan");
            out.set("VLAN", "yes");
            out.set("PHYSDEV", &vlan.parent);
            out.set("VLAN_ID", vlan.id);
        }
        Kind::Bridge(bridge) => {
            out.set("TYPE", "Bridge");
            out.maybe("STP", bridge.stp.map(|stp| if stp { "on" } else { "off" }));
            out.maybe("DELAY", bridge.forward_delay);
        }
    }
    out.maybe("MACADDR", link.mac);
    out.maybe("MTU", link.mtu);
    if let Some((master_name, master)) = network.master(name) {
        if matches!(master.kind, Kind::Bond(_)) {
            out.set("MASTER", master_name);
            out.set("SLAVE", "yes");
        } else {
            out.set("BRIDGE", master_name);
        }
        out.set("BOOTPROTO", "none");
    } else {
        families(link, &mut out);
    }
    out.text()
}
