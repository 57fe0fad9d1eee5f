//! NetworkManager's keyfiles: layer 3.

use std::net::IpAddr;

use super::ini::Ini;
use crate::model::{Addressing, Dhcp, Link, Route, Rule};

pub(super) fn families(link: &Link, ini: &mut Ini) {
    let ip = &link.ip;
    ini.section("ipv4");
    ini.key("method", method4(ip));
    if let Some(dhcp) = &ip.dhcp4 {
        overrides(dhcp, ini);
        if ip.dhcp_by_mac {
            ini.key("dhcp-client-id", "mac");
        }
    }
    if ip.link_local.is_some_and(|which| which.ipv4) && method4(ip) != "link-local" {
        // NetworkManager's number for "on".
        ini.key("link-local", 3);
    }
    common(ip, false, ini);
    ini.section("ipv6");
    let method = method6(ip);
    ini.key("method", method);
    if let Some(dhcp) = &ip.dhcp6 {
        overrides(dhcp, ini);
        if ip.dhcp_by_mac {
            ini.key("dhcp-duid", "ll");
        }
    }
    if ip.ipv6_privacy {
        // Temporary addresses, and preferred ones.
        ini.key("ip6-privacy", 2);
    }
    // As the other systems make them: of the MAC address.
    if matches!(method, "auto" | "link-local" | "manual" | "dhcp") {
        ini.key("addr-gen-mode", "eui64");
    }
    common(ip, true, ini);
}

fn method4(ip: &Addressing) -> &'static str {
    if ip.dhcp4.is_some() {
        "auto"
    } else if ip.of_family(false).next().is_some() {
        "manual"
    } else if ip.link_local.is_some_and(|which| which.ipv4) {
        "link-local"
    } else {
        "disabled"
    }
}

fn method6(ip: &Addressing) -> &'static str {
    match (&ip.dhcp6, ip.accept_ra) {
        (Some(_), Some(false)) => "dhcp",
        // Routers are listened to, and DHCP is asked when they say so.
        (Some(_), _) | (None, Some(true)) => "auto",
        (None, _) if ip.of_family(true).next().is_some() => "manual",
        (None, _) if ip.no_ipv6_link_local() => "disabled",
        (None, _) => "link-local",
    }
}

fn overrides(dhcp: &Dhcp, ini: &mut Ini) {
    ini.maybe("route-metric", dhcp.route_metric);
    let off = |value: Option<bool>| (value == Some(false)).then_some("true");
    ini.maybe("ignore-auto-dns", off(dhcp.use_dns));
    ini.maybe("ignore-auto-routes", off(dhcp.use_routes));
    ini.maybe("never-default", off(dhcp.use_routes));
    ini.maybe("dhcp-send-hostname", dhcp.send_hostname);
}

fn common(ip: &Addressing, ipv6: bool, ini: &mut Ini) {
    for (index, address) in (1..).zip(ip.of_family(ipv6)) {
        ini.key(&format!("address{index}"), address);
    }
    for (index, route) in (1..).zip(ip.routes_of(ipv6)) {
        routed(index, route, ini);
    }
    for (index, rule) in (1..).zip(ip.rules_of(ipv6)) {
        ini.key(&format!("routing-rule{index}"), policy(rule));
    }
    let servers: Vec<String> = ip
        .servers
        .iter()
        .filter(|server| server.is_ipv6() == ipv6)
        .map(IpAddr::to_string)
        .collect();
    if !servers.is_empty() {
        ini.key("dns", format!("{};", servers.join(";")));
    }
    // One family is enough, and one that is disabled does not count.
    let here = if ipv6 {
        method4(ip) == "disabled"
    } else {
        method4(ip) != "disabled"
    };
    if !ip.search.is_empty() && here {
        ini.key("dns-search", format!("{};", ip.search.join(";")));
    }
}

fn routed(index: usize, route: &Route, ini: &mut Ini) {
    let mut value = route.to.to_string();
    match (route.via, route.metric) {
        (Some(via), None) => value.push_str(&format!(",{via}")),
        (Some(via), Some(metric)) => value.push_str(&format!(",{via},{metric}")),
        (None, Some(metric)) => {
            let nowhere = if matches!(route.to, ipnet::IpNet::V6(_)) {
                "::"
            } else {
                "0.0.0.0"
            };
            value.push_str(&format!(",{nowhere},{metric}"));
        }
        (None, None) => {}
    }
    ini.key(&format!("route{index}"), value);
    let mut options = Vec::new();
    options.extend(route.table.map(|table| format!("table={table}")));
    options.extend(route.on_link.then(|| "onlink=true".to_owned()));
    options.extend(route.source.map(|source| format!("src={source}")));
    options.extend(route.mtu.map(|mtu| format!("mtu={mtu}")));
    if !options.is_empty() {
        ini.key(&format!("route{index}_options"), options.join(","));
    }
}

/// As `ip rule` writes it. A priority has to be there: 32765 is the one the kernel would begin with.
fn policy(rule: &Rule) -> String {
    let mut text = format!("priority {}", rule.priority.unwrap_or(32_765));
    if let Some(from) = rule.from {
        text.push_str(&format!(" from {from}"));
    }
    if let Some(to) = rule.to {
        text.push_str(&format!(" to {to}"));
    }
    text.push_str(&format!(" table {}", rule.table));
    text
}
