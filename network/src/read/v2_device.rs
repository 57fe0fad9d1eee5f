//! Network-config version 2: what devices of all kinds say alike.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    dhcp,
    field::{Field, Notes, shown},
    tree::Value,
    v2_route,
};
use crate::{
    model::{Link, LinkLocal, Route, is_ipv6},
    name::LinkName,
};

/// Reads everything of a device but what its kind has of its own.
pub(super) fn read(section: &str, name: &LinkName, device: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    let place = |field: &str| format!("links.{name}.{field}");
    // Overrides mean something only beside what they override.
    dhcp::read(device, &mut link.ip, notes);
    for (key, value) in device.entries(notes) {
        if value.is_null() {
            continue;
        }
        match key {
            "match" | "set-name" if section == "ethernets" => {}
            "interfaces" | "parameters" if matches!(section, "bonds" | "bridges") => {}
            "id" | "link" if section == "vlans" => {}
            "dhcp4" | "dhcp6" | "dhcp4-overrides" | "dhcp6-overrides" | "dhcp-identifier" => {}
            "accept-ra" => link.ip.accept_ra = value.flag(notes),
            "addresses" => addresses(name, &value, link, notes),
            "gateway4" => gateway(false, &value, link, notes),
            "gateway6" => gateway(true, &value, link, notes),
            "nameservers" => nameservers(name, &value, link, notes),
            "routes" => v2_route::routes(name, &value, link, notes),
            "routing-policy" => v2_route::rules(name, &value, link, notes),
            "macaddress" => {
                notes.is(place("mac"), &value);
                link.mac = value.parse(notes, "an Ethernet address like 52:54:00:12:34:56");
            }
            "mtu" => {
                notes.is(place("mtu"), &value);
                link.mtu = value.number(notes);
            }
            "optional" => link.optional = value.flag(notes).unwrap_or_default(),
            "wakeonlan" if section == "ethernets" => {
                link.wake_on_lan = value.flag(notes).unwrap_or_default();
            }
            "link-local" => link.ip.link_local = link_local(&value, notes),
            "ipv6-privacy" => link.ip.ipv6_privacy = value.flag(notes).unwrap_or_default(),
            "critical"
            | "optional-addresses"
            | "ignore-carrier"
            | "ipv6-address-generation"
            | "renderer"
            | "emit-lldp" => notes.warn(&value, "it is left out: not every system has it"),
            _ => notes.error(&value, format!("this cannot be used for {section}")),
        }
    }
}

fn addresses(name: &LinkName, list: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    for item in list.items(notes) {
        // `- 10.0.0.5/24: {label: …}`
        let text = match &item.tree.value {
            Value::Map(entries) if entries.len() == 1 => {
                notes.warn(&item, "settings of an address are left out");
                entries.first().map(|(key, _)| key.as_str())
            }
            _ => item.text(notes),
        };
        let Some(text) = text else { continue };
        match text.trim().parse::<IpNet>() {
            Ok(address) => {
                notes.is(
                    format!("links.{name}.addresses[{}]", link.ip.addresses.len()),
                    &item,
                );
                link.ip.addresses.push(address);
            }
            Err(_) => notes.error(
                &item,
                format!("{} is no address with prefix length (10.0.0.5/24)", shown(text)),
            ),
        }
    }
}

fn gateway(ipv6: bool, field: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    let Some(via) = field.parse::<IpAddr>(notes, "an IP address") else {
        return;
    };
    let to = v2_route::everything(ipv6);
    if via.is_ipv6() != is_ipv6(&to) {
        notes.error(field, format!("{via} is not of this family"));
        return;
    }
    notes.warn(
        field,
        format!("it is out of use; write `routes: [{{to: {to}, via: {via}}}]`"),
    );
    link.ip.routes.insert(Route::new(to, Some(via)));
}

fn nameservers(name: &LinkName, field: &Field<'_>, link: &mut Link, notes: &mut Notes) {
    for (key, value) in field.entries(notes) {
        match key {
            "addresses" => {
                for item in value.items(notes) {
                    if let Some(server) = item.parse(notes, "an IP address") {
                        notes.is(format!("links.{name}.servers[{}]", link.ip.servers.len()), &item);
                        link.ip.servers.push(server);
                    }
                }
            }
            "search" => {
                for item in value.items(notes) {
                    if let Some(domain) = item.text(notes) {
                        notes.is(format!("links.{name}.search[{}]", link.ip.search.len()), &item);
                        link.ip.search.push(domain.to_owned());
                    }
                }
            }
            _ => notes.error(&value, "name servers have `addresses` and `search`"),
        }
    }
}

fn link_local(field: &Field<'_>, notes: &mut Notes) -> Option<LinkLocal> {
    let mut which = LinkLocal {
        ipv4: false,
        ipv6: false,
    };
    for item in field.items(notes) {
        match item.text(notes)? {
            "ipv4" => which.ipv4 = true,
            "ipv6" => which.ipv6 = true,
            _ => notes.error(&item, "`ipv4` and `ipv6` are known here"),
        }
    }
    Some(which)
}
