//! What cloud-init loses on its way from a network-config to the system's files.
//!
//! Found by comparing its renderers with ours (`tests/tools/oracle.rs`), version 22.4 of Debian 12.

use crate::model::{Addressing, Kind, Link, Network, is_ipv6};

use super::Format;

/// Why cloud-init must not write this network for a system; none if it writes all of it.
///
/// netplan gets the network-config as it is, so nothing is lost there.
#[must_use]
pub fn cloud_init_loses(network: &Network, system: Format) -> Option<&'static str> {
    match system {
        Format::Netplan | Format::CloudInit => None,
        // It has no renderer for wicked that knows more than addresses.
        Format::Wicked => Some("cloud-init has no renderer for wicked of its own"),
        Format::Networkd | Format::NetworkManager | Format::Ifupdown | Format::Ifcfg => {
            network.links.values().find_map(lost)
        }
    }
}

fn lost(link: &Link) -> Option<&'static str> {
    let Kind::Nic(nic) = &link.kind else {
        return Some("cloud-init writes bonds, VLANs and bridges in part only");
    };
    if nic.mac.is_none() && nic.pattern.is_some() {
        return Some("cloud-init knows no patterns of names");
    }
    if link.mac.is_some() || link.optional || link.wake_on_lan {
        return Some("cloud-init loses settings of interfaces");
    }
    lost_above(&link.ip)
}

fn lost_above(ip: &Addressing) -> Option<&'static str> {
    if !ip.rules.is_empty() || ip.routes.iter().any(|route| route.table.is_some()) {
        return Some("cloud-init loses routing tables and rules");
    }
    for route in &ip.routes {
        let Some(via) = route.via else {
            return Some("cloud-init fails on routes without a gateway");
        };
        if route.is_default() && is_ipv6(&route.to) {
            return Some("cloud-init takes the default route of IPv6 for one of 64 bits");
        }
        if route.metric.is_some() || route.on_link || route.source.is_some() || route.mtu.is_some() {
            return Some("cloud-init loses settings of routes");
        }
        // It puts routes beside addresses of their family.
        if ip.of_family(via.is_ipv6()).next().is_none() {
            return Some("cloud-init loses routes of interfaces without an address");
        }
    }
    let overrides = [&ip.dhcp4, &ip.dhcp6]
        .into_iter()
        .flatten()
        .any(|dhcp| *dhcp != crate::model::Dhcp::default());
    if overrides || ip.accept_ra.is_some() || ip.link_local.is_some() || ip.ipv6_privacy {
        return Some("cloud-init loses settings of DHCP and of routers");
    }
    if (!ip.servers.is_empty() || !ip.search.is_empty()) && ip.addresses.is_empty() {
        return Some("cloud-init loses name servers of interfaces without an address");
    }
    None
}
