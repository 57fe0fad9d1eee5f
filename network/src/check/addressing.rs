//! Addresses, routes, rules and name servers.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{Findings, place};
use crate::{
    model::{Addressing, MAIN_TABLE, Network, Route, is_ipv6},
    name::LinkName,
};

/// Most entries of each list of a link.
const MAX_ENTRIES: usize = 1024;

/// What makes two default routes clash: family, table and metric.
type Rank = (bool, u32, Option<u32>);

pub(super) fn check(network: &Network, findings: &mut Findings) {
    let mut addresses: BTreeMap<IpAddr, &LinkName> = BTreeMap::new();
    let mut defaults: BTreeMap<Rank, &LinkName> = BTreeMap::new();
    let tables: Vec<u32> = network
        .links
        .values()
        .flat_map(|link| link.ip.rules.iter().map(|rule| rule.table))
        .collect();
    for (name, link) in &network.links {
        let ip = &link.ip;
        if [
            ip.addresses.len(),
            ip.routes.len(),
            ip.rules.len(),
            ip.servers.len(),
            ip.search.len(),
        ]
        .into_iter()
        .any(|count| count > MAX_ENTRIES)
        {
            findings.error(
                place(name, ""),
                format!("a list of it has more than {MAX_ENTRIES} entries"),
            );
            continue;
        }
        for (index, address) in ip.addresses.iter().enumerate() {
            let path = place(name, &format!("addresses[{index}]"));
            if let Some(why) = unusable(address) {
                findings.error(path, format!("{address} {why}"));
            } else if let Some(other) = addresses.insert(address.addr(), name) {
                findings.error(path, format!("`{other}` has {} already", address.addr()));
            }
        }
        for (index, route) in ip.routes.iter().enumerate() {
            let path = place(name, &format!("routes[{index}]"));
            check_route(ip, route, &path, findings);
            if let Some(table) = route.table
                && table != MAIN_TABLE
                && !tables.contains(&table)
            {
                findings.warn(
                    path.clone(),
                    format!("nothing asks table {table}; a rule (`routing-policy`) would"),
                );
            }
            if route.is_default() {
                let rank = (
                    is_ipv6(&route.to),
                    route.table.unwrap_or(MAIN_TABLE),
                    route.metric,
                );
                if let Some(other) = defaults.insert(rank, name)
                    && other != name
                {
                    findings.warn(
                        path,
                        format!("`{other}` has a default route of the same metric; which one wins is open: give one a metric"),
                    );
                }
            }
        }
        for (index, rule) in ip.rules.iter().enumerate() {
            let path = place(name, &format!("rules[{index}]"));
            match (rule.from, rule.to) {
                (None, None) => findings.error(path.clone(), "a rule needs `from` or `to`"),
                (Some(from), Some(to)) if is_ipv6(&from) != is_ipv6(&to) => {
                    findings.error(path.clone(), "`from` and `to` are not of one family");
                }
                _ => {}
            }
            if rule.table == 0 {
                findings.error(path, "0 is no routing table");
            }
        }
        for (index, server) in ip.servers.iter().enumerate() {
            if server.is_unspecified() || server.is_multicast() {
                let path = place(name, &format!("servers[{index}]"));
                findings.error(path, format!("{server} cannot be a name server"));
            }
        }
        for (index, domain) in ip.search.iter().enumerate() {
            if !is_domain(domain) {
                let path = place(name, &format!("search[{index}]"));
                findings.error(path, format!("{domain:?} is no domain"));
            }
        }
    }
}

fn unusable(address: &IpNet) -> Option<&'static str> {
    let addr = address.addr();
    if addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() {
        return Some("cannot be the address of an interface");
    }
    if address.prefix_len() == 0 {
        return Some("is in no subnet: the prefix length is 0");
    }
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        if net.addr() == net.network() {
            return Some("is the subnet itself, not an address in it");
        }
        if net.addr() == net.broadcast() {
            return Some("is the broadcast address of its subnet");
        }
    }
    None
}

fn check_route(ip: &Addressing, route: &Route, path: &str, findings: &mut Findings) {
    let ipv6 = is_ipv6(&route.to);
    if route.to.trunc() != route.to {
        findings.error(
            path,
            format!("{} is an address in {}", route.to, route.to.trunc()),
        );
    }
    if route.table == Some(0) {
        findings.error(path, "0 is no routing table");
    }
    if route.mtu.is_some_and(|mtu| !(68..=65_535).contains(&mtu)) {
        findings.error(path, "68 to 65535 are MTUs");
    }
    if route.source.is_some_and(|source| source.is_ipv6() != ipv6) {
        findings.error(path, "destination and source are not of one family");
    }
    let Some(via) = route.via else {
        if route.on_link {
            findings.error(path, "`on-link` is about a gateway, and there is none");
        }
        return;
    };
    if via.is_ipv6() != ipv6 {
        findings.error(path, "destination and gateway are not of one family");
        return;
    }
    if via.is_unspecified() || via.is_multicast() {
        findings.error(path, format!("{via} cannot be a gateway"));
        return;
    }
    if ip.addresses.iter().any(|address| address.addr() == via) {
        findings.error(path, format!("the gateway {via} is this link's own address"));
        return;
    }
    if !route.on_link && !reaches(ip, via) {
        findings.error(
            path,
            format!("no subnet of the link has the gateway {via}; correct it, or say `on-link: true`"),
        );
    }
}

/// Whether the link knows where a gateway is. What DHCP and routers will tell is not known here, and believed.
pub(crate) fn reaches(ip: &Addressing, via: IpAddr) -> bool {
    let told = match via {
        IpAddr::V4(_) => ip.dhcp4.is_some(),
        IpAddr::V6(via) => via.is_unicast_link_local() || ip.dhcp6.is_some() || ip.accept_ra == Some(true),
    };
    told || ip.addresses.iter().any(|address| address.contains(&via))
        || ip
            .routes
            .iter()
            .any(|route| route.via.is_none() && route.to.contains(&via))
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = domain.strip_suffix('.').unwrap_or(domain);
    domain.len() <= 253 && (name.split('.').all(label))
}
