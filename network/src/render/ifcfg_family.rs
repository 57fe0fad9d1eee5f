//! The network scripts of Enterprise Linux: layer 3.

use super::ifcfg::Variables;
use crate::model::Link;

pub(super) fn families(link: &Link, out: &mut Variables) {
    let ip = &link.ip;
    out.set("BOOTPROTO", if ip.dhcp4.is_some() { "dhcp" } else { "none" });
    for (index, address) in ip.of_family(false).enumerate() {
        // The first one has no number.
        let number = if index == 0 {
            String::new()
        } else {
            index.to_string()
        };
        out.set(&format!("IPADDR{number}"), address.addr());
        out.set(&format!("PREFIX{number}"), address.prefix_len());
    }
    if let Some(dhcp) = &ip.dhcp4 {
        out.flag("PEERDNS", dhcp.use_dns);
        out.flag("PEERROUTES", dhcp.use_routes);
        out.flag("DEFROUTE", dhcp.use_routes);
        out.flag("DHCP_SEND_HOSTNAME", dhcp.send_hostname);
        out.maybe("IPV4_ROUTE_METRIC", dhcp.route_metric);
        if ip.dhcp_by_mac {
            out.set("DHCP_CLIENT_ID", "mac");
        }
    }
    let statics: Vec<String> = ip.of_family(true).map(ToString::to_string).collect();
    let routers = ip.accept_ra == Some(true) || (ip.dhcp6.is_some() && ip.accept_ra != Some(false));
    let ipv6 = routers || ip.dhcp6.is_some() || !statics.is_empty();
    out.flag("IPV6INIT", Some(ipv6));
    if ipv6 {
        out.flag("IPV6_AUTOCONF", Some(routers));
        if ip.dhcp6.is_some() {
            out.set("DHCPV6C", "yes");
        }
        if let Some((first, others)) = statics.split_first() {
            out.set("IPV6ADDR", first);
            if !others.is_empty() {
                out.set("IPV6ADDR_SECONDARIES", others.join(" "));
            }
        }
        if let Some(dhcp) = &ip.dhcp6 {
            out.flag("IPV6_PEERDNS", dhcp.use_dns);
            out.flag("IPV6_PEERROUTES", dhcp.use_routes);
            out.flag("IPV6_DEFROUTE", dhcp.use_routes);
            out.maybe("IPV6_ROUTE_METRIC", dhcp.route_metric);
        }
        if ip.ipv6_privacy {
            out.set("IPV6_PRIVACY", "rfc3041");
        }
        out.set("IPV6_ADDR_GEN_MODE", "eui64");
    }
    for (number, server) in (1..).zip(&ip.servers) {
        out.set(&format!("DNS{number}"), server);
    }
    if !ip.search.is_empty() {
        out.set("DOMAIN", ip.search.join(" "));
    }
}
