//! Network-config version 2: routes and rules.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::field::{Field, Notes, shown};
use crate::{
    model::{Link, MAIN_TABLE, Route, Rule},
    name::LinkName,
};

/// 0.0.0.0/0 or ::/0.
pub(super) fn everything(ipv6: bool) -> IpNet {
    if ipv6 {
        Ipv6Net::default().into()
    } else {
        Ipv4Net::default().into()
    }
}

/// A subnet, or one address. Bits beyond the prefix are cleared, and that is told.
pub(super) fn subnet(field: &Field<'_>, notes: &mut Notes) -> Option<IpNet> {
    let text = field.text(notes)?;
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            notes.error(field, format!("{} is no subnet (10.1.0.0/16)", shown(text)));
            return None;
        }
    };
    if net.trunc() != net {
        notes.warn(field, format!("{net} is taken as {}", net.trunc()));
    }
    Some(net.trunc())
}

pub(super) fn routes(name: &LinkName, list: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    let mut read = Vec::new();
    for item in list.items(notes) {
        if let Some(route) = route(&item, notes) {
            read.push((route, item));
        }
    }
    link.ip.routes.extend(read.iter().map(|(route, _)| route.clone()));
    for (index, route) in link.ip.routes.iter().enumerate() {
        if let Some((_, item)) = read.iter().find(|(other, _)| other == route) {
            notes.is(format!("links.{name}.routes[{index}]"), item);
        }
    }
}

fn route(item: &Field<'_>, notes: &mut Notes) -> Option<Route> {
    let via_field = item.get("via");
    let via = match &via_field {
        Some(field) => Some(field.parse::<IpAddr>(notes, "an IP address")?),
        None => None,
    };
    let Some(to) = item.get("to") else {
        notes.error(
            item,
            "a route needs `to` (10.1.0.0/16, or 0.0.0.0/0 for everything)",
        );
        return None;
    };
    let destination = match to.text(notes)? {
        "default" | "0/0" => match via {
            Some(via) => everything(via.is_ipv6()),
            None => {
                notes.error(
                    &to,
                    "`default` without `via` is of no family; write 0.0.0.0/0 or ::/0",
                );
                return None;
            }
        },
        _ => subnet(&to, notes)?,
    };
    let mut route = Route::new(destination, via);
    for (key, value) in item.entries(notes) {
        match key {
            "to" | "via" => {}
            "metric" => route.metric = value.number(notes),
            "table" => route.table = table(&value, notes),
            "on-link" => route.on_link = value.flag(notes).unwrap_or_default(),
            "from" => route.source = value.parse(notes, "an IP address"),
            "mtu" => route.mtu = value.number(notes),
            "scope" => {
                // It follows from the gateway.
                let expected = if via.is_some() { "global" } else { "link" };
                if value.text(notes) != Some(expected) {
                    notes.error(&value, format!("only `{expected}` can be used for such a route"));
                }
            }
            "type" if value.text(notes) == Some("unicast") => {}
            _ => notes.error(
                &value,
                "this cannot be used; a route has to, via, metric, table, on-link, from, mtu",
            ),
        }
    }
    // Said of a route without a gateway, it is what it is anyway.
    if route.via.is_none() {
        route.on_link = false;
    }
    Some(route)
}

/// A routing table; none for the main one.
fn table(field: &Field<'_>, notes: &mut Notes) -> Option<u32> {
    if field.text(notes) == Some("main") {
        return None;
    }
    field.number(notes).filter(|table| *table != MAIN_TABLE)
}

pub(super) fn rules(name: &LinkName, list: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    let mut read = Vec::new();
    for item in list.items(notes) {
        let mut rule = Rule {
            priority: None,
            from: None,
            to: None,
            table: MAIN_TABLE,
        };
        for (key, value) in item.entries(notes) {
            match key {
                "from" => rule.from = subnet(&value, notes),
                "to" => rule.to = subnet(&value, notes),
                "table" => rule.table = value.number(notes).unwrap_or(MAIN_TABLE),
                "priority" => rule.priority = value.number(notes),
                _ => notes.error(
                    &value,
                    "this cannot be used; a rule has from, to, table, priority",
                ),
            }
        }
        read.push((rule, item));
    }
    link.ip.rules.extend(read.iter().map(|(rule, _)| rule.clone()));
    for (index, rule) in link.ip.rules.iter().enumerate() {
        if let Some((_, item)) = read.iter().find(|(other, _)| other == rule) {
            notes.is(format!("links.{name}.rules[{index}]"), item);
        }
    }
}
