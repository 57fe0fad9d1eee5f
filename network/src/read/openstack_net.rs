//! OpenStack's `network_data.json`: networks and services.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    field::{Field, Notes, shown},
    openstack::Names,
    v2_route::everything,
};
use crate::{
    check::reaches,
    model::{Addressing, Dhcp, Network, Route, is_ipv6},
    name::LinkName,
};

pub(super) fn read(root: &Field<'_>, names: &Names, network: &mut Network, notes: &mut Notes) {
    let mut networks = root
        .get("networks")
        .map(|list| list.items(notes))
        .unwrap_or_default();
    let text = |field: &Field<'_>, key: &str| {
        let text = field
            .get(key)
            .and_then(|value| value.text(&mut Notes::default()).map(str::to_owned));
        text.unwrap_or_default()
    };
    // "network10" comes after "network9".
    networks.sort_by_cached_key(|field| {
        let id = text(field, "id");
        (id.len(), id, text(field, "type"), text(field, "ip_address"))
    });
    let mut statics: BTreeSet<LinkName> = BTreeSet::new();
    for field in &networks {
        let id = text(field, "link");
        let Some(name) = names.get(&id) else {
            if names.is_empty() && id.is_empty() {
                continue;
            }
            let what = if id.is_empty() {
                "a network needs its `link`".to_owned()
            } else {
                format!("there is no link with the `id` {}", shown(&id))
            };
            notes.error(field, what);
            continue;
        };
        let Some(link) = network.links.get_mut(name) else {
            continue;
        };
        one(field, name, &mut link.ip, &mut statics, notes);
    }
    for name in &statics {
        // An address that was given is the only one, unless another network of the link asks for routers.
        if let Some(link) = network.links.get_mut(name)
            && link.ip.accept_ra.is_none()
        {
            link.ip.accept_ra = Some(false);
        }
    }
    for link in network.links.values_mut() {
        gateways_on_link(&mut link.ip);
    }
    let services = root
        .get("services")
        .map(|list| list.items(notes))
        .unwrap_or_default();
    let servers: Vec<IpAddr> = services
        .iter()
        .filter_map(|service| name_server(service, notes))
        .collect();
    share_servers(&servers, network);
    // Clouds repeat the name servers of the whole in each network.
    for link in network.links.values_mut() {
        let mut seen = BTreeSet::new();
        link.ip.servers.retain(|server| seen.insert(*server));
    }
}

fn one(
    field: &Field<'_>,
    name: &LinkName,
    ip: &mut Addressing,
    statics: &mut BTreeSet<LinkName>,
    notes: &mut Notes,
) {
    let Some(kind) = field.get("type") else {
        notes.error(field, "a network needs its `type`");
        return;
    };
    match kind.text(notes).unwrap_or_default() {
        "ipv4" | "static" | "ipv6" | "static6" => {
            if let Some(address) = address(field, notes) {
                notes.is(format!("links.{name}.addresses[{}]", ip.addresses.len()), field);
                ip.addresses.push(address);
                if is_ipv6(&address) {
                    statics.insert(name.clone());
                }
                if let Some(via) = field.get("gateway").filter(|via| via.text(&mut Notes::default()) != Some(""))
                    && let Some(via) = via.parse::<IpAddr>(notes, "an IP address")
                {
                    ip.routes.insert(Route::new(everything(via.is_ipv6()), Some(via)));
                }
            }
        }
        "ipv4_dhcp" | "dhcp" | "dhcp4" => ip.dhcp4 = Some(Dhcp::default()),
        "ipv6_dhcp" | "dhcp6" | "ipv6_dhcpv6-stateful" => {
            ip.dhcp6 = Some(Dhcp::default());
            ip.accept_ra = Some(true);
        }
        // The router tells that there is more to ask by DHCP.
        "ipv6_slaac" | "ipv6_dhcpv6-stateless" => ip.accept_ra = Some(true),
        other => notes.error(
            &kind,
            format!(
                "{} is not known; known are ipv4, ipv4_dhcp, ipv6, ipv6_dhcp, ipv6_slaac, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless",
                shown(other)
            ),
        ),
    }
    if let Some(routes) = field.get("routes") {
        for item in routes.items(notes) {
            if let Some(route) = route(&item, notes) {
                ip.routes.insert(route);
            }
        }
    }
    for service in field
        .get("services")
        .map(|list| list.items(notes))
        .unwrap_or_default()
    {
        ip.servers.extend(name_server(&service, notes));
    }
    for server in field
        .get("dns_nameservers")
        .map(|list| list.items(notes))
        .unwrap_or_default()
    {
        ip.servers.extend(server.parse::<IpAddr>(notes, "an IP address"));
    }
}

/// Address and mask, which stand together ("10.0.0.5/24") or apart, the mask as one or as a prefix length.
fn address(field: &Field<'_>, notes: &mut Notes) -> Option<IpNet> {
    let Some(at) = field.get("ip_address") else {
        notes.error(field, "a static network needs its `ip_address`");
        return None;
    };
    let text = at.text(notes)?;
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(net);
    }
    let address = at.parse::<IpAddr>(notes, "an IP address")?;
    let Some(mask) = field.get("netmask") else {
        notes.error(field, "an address needs its `netmask`");
        return None;
    };
    with_mask(address, &mask, notes)
}

fn with_mask(address: IpAddr, field: &Field<'_>, notes: &mut Notes) -> Option<IpNet> {
    let text = field.text(notes)?.trim_start_matches('/');
    let net = match (address, text.parse::<u8>()) {
        (_, Ok(length)) => IpNet::new(address, length).ok(),
        (IpAddr::V4(address), _) => text
            .parse::<Ipv4Addr>()
            .ok()
            .and_then(|mask| Ipv4Net::with_netmask(address, mask).ok())
            .map(IpNet::V4),
        (IpAddr::V6(address), _) => text
            .parse::<Ipv6Addr>()
            .ok()
            .and_then(|mask| Ipv6Net::with_netmask(address, mask).ok())
            .map(IpNet::V6),
    };
    if net.is_none() {
        notes.error(field, format!("{} is no netmask of {address}", shown(text)));
    }
    net
}

fn route(item: &Field<'_>, notes: &mut Notes) -> Option<Route> {
    let Some(to) = item.get("network") else {
        notes.error(item, "a route needs its `network`");
        return None;
    };
    let text = to.text(notes)?;
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => {
            let address = to.parse::<IpAddr>(notes, "an IP address")?;
            match item.get("netmask") {
                Some(mask) => with_mask(address, &mask, notes)?,
                // "::" and "0.0.0.0" without a mask are everything.
                None if address.is_unspecified() => everything(address.is_ipv6()),
                None => IpNet::from(address),
            }
        }
    };
    if net.trunc() != net {
        notes.warn(&to, format!("{net} is taken as {}", net.trunc()));
    }
    let via = match item.get("gateway") {
        Some(via) => Some(via.parse::<IpAddr>(notes, "an IP address")?),
        None => None,
    };
    // Some clouds write a route to the link itself with an empty gateway.
    let via = via.filter(|via| !via.is_unspecified());
    let mut route = Route::new(net.trunc(), via);
    route.metric = item.get("metric").and_then(|metric| metric.number(notes));
    Some(route)
}

/// The format has no word for gateways that are on the link but in no subnet of it; clouds with /32 addresses mean that.
fn gateways_on_link(ip: &mut Addressing) {
    let far: Vec<Route> = ip
        .routes
        .iter()
        .filter(|route| {
            route
                .via
                .is_some_and(|via| via.is_ipv6() == is_ipv6(&route.to) && !reaches(ip, via))
        })
        .cloned()
        .collect();
    for route in far {
        ip.routes.remove(&route);
        ip.routes.insert(Route {
            on_link: true,
            ..route
        });
    }
}

fn name_server(service: &Field<'_>, notes: &mut Notes) -> Option<IpAddr> {
    match service.get("type").and_then(|kind| kind.text(notes)) {
        Some("dns") => service.get("address")?.parse(notes, "an IP address"),
        _ => {
            notes.warn(service, "it is left out: only services of type `dns` are read");
            None
        }
    }
}

/// Name servers of the whole go to the links that lead out, else to all that have addresses.
fn share_servers(servers: &[IpAddr], network: &mut Network) {
    if servers.is_empty() {
        return;
    }
    let leads_out = |ip: &Addressing| ip.routes.iter().any(Route::is_default);
    let any = network.links.values().any(|link| leads_out(&link.ip));
    for link in network.links.values_mut() {
        let ip = &mut link.ip;
        let addressed = ip.dhcp4.is_some()
            || ip.dhcp6.is_some()
            || ip.accept_ra == Some(true)
            || !ip.addresses.is_empty();
        if (any && leads_out(ip)) || (!any && addressed) {
            ip.servers.extend(servers);
        }
    }
}
