//! Network-config version 2: the frame, the names, and what each kind of device says of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    field::{Field, Notes, shown},
    v2_device,
};
use crate::{
    mac::MacAddress,
    model::{AdSelect, Bond, BondMode, Bridge, Kind, LacpRate, Link, Network, Nic, Vlan, XmitHash},
    name::LinkName,
};

/// Names by the identifiers of the text.
type Names<'a> = BTreeMap<&'a str, LinkName>;

/// Kinds of devices, in the order in which their names are given out.
const SECTIONS: [&str; 4] = ["ethernets", "bonds", "bridges", "vlans"];

pub(super) fn read(root: &Field<'_>, notes: &mut Notes) -> Network {
    let top = root.get("network").unwrap_or_else(|| root.clone());
    let entries = top.entries(notes);
    match top.get("version").and_then(|version| version.text(notes)) {
        Some("2") => {}
        Some("1") => {
            notes.error(
                &top,
                "version 1 is not read; write it as version 2 (`version: 2`, `ethernets: …`)",
            );
            return Network::default();
        }
        _ => {
            notes.error(&top, "it does not say `version: 2`");
            return Network::default();
        }
    }
    let mut devices: Vec<(&str, &str, Field<'_>)> = Vec::new();
    for (key, field) in entries {
        match key {
            "version" => {}
            "renderer" => notes.warn(
                &field,
                "it is left out: what the image has decides what is written",
            ),
            key if SECTIONS.contains(&key) => {
                devices.extend(
                    field
                        .entries(notes)
                        .into_iter()
                        .map(|(id, device)| (key, id, device)),
                );
            }
            _ => notes.error(
                &field,
                format!("this cannot be used; what can is {}", SECTIONS.join(", ")),
            ),
        }
    }
    devices.sort_by_key(|(section, id, _)| (SECTIONS.iter().position(|known| known == section), *id));
    let names = names(&devices, notes);
    let mut network = Network::default();
    for (section, id, field) in &devices {
        // What has no name was told there.
        let Some(name) = names.get(id) else { continue };
        let kind = match *section {
            "ethernets" => ethernet(id, name, field, notes),
            "bonds" => bond(name, &names, field, notes),
            "bridges" => bridge(name, &names, field, notes),
            _ => vlan(name, &names, field, notes),
        };
        let Some(kind) = kind else { continue };
        let mut link = Link::new(kind);
        notes.is(format!("links.{name}"), field);
        v2_device::read(section, name, field, &mut link, notes);
        if network.links.insert(name.clone(), link).is_some() {
            notes.error(field, format!("two devices would be called `{name}`"));
        }
    }
    undefined_members(&mut network, notes);
    network
}

/// Gives each device its name.
fn names<'a>(devices: &[(&str, &'a str, Field<'_>)], notes: &mut Notes) -> Names<'a> {
    let mut names = Names::new();
    for (section, id, field) in devices {
        let set = field.get("set-name").filter(|_| *section == "ethernets");
        let name = match &set {
            Some(set) => set.text(notes).map(str::parse::<LinkName>),
            None => Some(id.parse::<LinkName>()),
        };
        let mac = || -> Option<MacAddress> {
            let text = field.get("match")?.get("macaddress")?.tree.clone();
            match text.value {
                super::tree::Value::Scalar(text) => text.trim().parse().ok(),
                _ => None,
            }
        };
        let name = match name {
            Some(Ok(name)) => name,
            Some(Err(why)) => match mac().filter(|_| set.is_none() && *section == "ethernets") {
                // Only configuration uses the name: the interface keeps the kernel's.
                Some(mac) => match format!("enx{}", mac.digits()).parse() {
                    Ok(name) => name,
                    Err(_) => continue,
                },
                None => {
                    notes.error(set.as_ref().unwrap_or(field), why.to_string());
                    continue;
                }
            },
            None => continue,
        };
        if names.insert(*id, name).is_some() {
            notes.error(field, format!("{} is the name of two devices", shown(id)));
        }
    }
    names
}

/// Members that are only mentioned are interfaces of that name, as netplan has it.
fn undefined_members(network: &mut Network, notes: &mut Notes) {
    let mentioned: BTreeSet<LinkName> = network
        .links
        .values()
        .flat_map(|link| network.below(link))
        .filter(|name| !network.links.contains_key(*name))
        .cloned()
        .collect();
    for name in mentioned {
        let path = format!("links.{name}");
        notes.findings.warn(
            path,
            "it is mentioned, but not described under `ethernets`; an interface of that name is taken",
        );
        network.links.insert(name, Link::new(Kind::Nic(Nic::default())));
    }
}

fn ethernet(id: &str, name: &LinkName, field: &Field<'_>, notes: &mut Notes) -> Option<Kind> {
    let mut nic = Nic::default();
    if let Some(matched) = field.get("match") {
        for (key, value) in matched.entries(notes) {
            match key {
                "macaddress" => nic.mac = value.parse(notes, "an Ethernet address like 52:54:00:12:34:56"),
                "name" => nic.pattern = value.text(notes).map(str::to_owned),
                _ => notes.error(&value, "interfaces are matched by `macaddress` or `name`"),
            }
        }
        notes.is(format!("links.{name}.match"), &matched);
        if nic.mac.is_some() && nic.pattern.take().is_some() {
            notes.warn(&matched, "`name` is left out: the MAC address is enough");
        }
        // A pattern that is just the name says nothing.
        if nic.pattern.as_deref() == Some(name.as_str()) {
            nic.pattern = None;
        }
    }
    if let Some(set) = field.get("set-name") {
        nic.rename = nic.mac.is_some();
        if nic.mac.is_none() && id != name.as_str() {
            notes.error(
                &set,
                "only an interface that is matched by its MAC address can be renamed",
            );
            return None;
        }
    }
    Some(Kind::Nic(nic))
}

fn bond(name: &LinkName, names: &Names<'_>, field: &Field<'_>, notes: &mut Notes) -> Option<Kind> {
    let mut bond = Bond::new(BondMode::BalanceRr);
    bond.members = members(name, names, field, notes);
    let parameters = field.get("parameters");
    let entries = parameters
        .as_ref()
        .map(|field| field.entries(notes))
        .unwrap_or_default();
    let place = |field: &str| format!("links.{name}.{field}");
    for (key, value) in entries {
        match key {
            "mode" => bond.mode = value.word(notes, BondMode::from_word, BondMode::choices())?,
            "lacp-rate" => {
                notes.is(place("lacp_rate"), &value);
                bond.lacp_rate = value.word(notes, LacpRate::from_word, LacpRate::choices());
            }
            "transmit-hash-policy" => {
                notes.is(place("hash"), &value);
                bond.hash = value.word(notes, XmitHash::from_word, XmitHash::choices());
            }
            "ad-select" => {
                notes.is(place("ad_select"), &value);
                bond.ad_select = value.word(notes, AdSelect::from_word, AdSelect::choices());
            }
            "mii-monitor-interval" => {
                notes.is(place("miimon"), &value);
                bond.miimon = milliseconds(&value, notes);
            }
            "up-delay" => {
                notes.is(place("up_delay"), &value);
                bond.up_delay = milliseconds(&value, notes);
            }
            "down-delay" => {
                notes.is(place("down_delay"), &value);
                bond.down_delay = milliseconds(&value, notes);
            }
            "arp-interval" => {
                notes.is(place("arp_interval"), &value);
                bond.arp_interval = milliseconds(&value, notes);
            }
            "arp-ip-targets" => {
                notes.is(place("arp_targets"), &value);
                let items = value.items(notes);
                bond.arp_targets = items
                    .iter()
                    .filter_map(|item| item.parse::<IpAddr>(notes, "an IP address"))
                    .collect();
            }
            "min-links" => {
                notes.is(place("min_links"), &value);
                bond.min_links = value.number(notes);
            }
            "primary" => {
                notes.is(place("primary"), &value);
                let id = value.text(notes)?;
                bond.primary = name_of(id, names, &value, notes);
            }
            _ => notes.error(
                &value,
                "this parameter cannot be used; what can is mode, lacp-rate, transmit-hash-policy, mii-monitor-interval, \
                 up-delay, down-delay, primary, min-links, ad-select, arp-interval, arp-ip-targets",
            ),
        }
    }
    Some(Kind::Bond(bond))
}

fn bridge(name: &LinkName, names: &Names<'_>, field: &Field<'_>, notes: &mut Notes) -> Option<Kind> {
    let mut bridge = Bridge {
        members: members(name, names, field, notes),
        ..Bridge::default()
    };
    let parameters = field.get("parameters");
    let entries = parameters
        .as_ref()
        .map(|field| field.entries(notes))
        .unwrap_or_default();
    for (key, value) in entries {
        match key {
            "stp" => bridge.stp = value.flag(notes),
            "forward-delay" => {
                notes.is(format!("links.{name}.forward_delay"), &value);
                bridge.forward_delay = seconds(&value, notes);
            }
            _ => notes.error(
                &value,
                "this parameter cannot be used; what can is stp, forward-delay",
            ),
        }
    }
    Some(Kind::Bridge(bridge))
}

fn vlan(name: &LinkName, names: &Names<'_>, field: &Field<'_>, notes: &mut Notes) -> Option<Kind> {
    let (id, link) = (field.get("id"), field.get("link"));
    if id.is_none() {
        notes.error(field, "a VLAN needs its `id`");
    }
    if link.is_none() {
        notes.error(field, "a VLAN needs its `link`");
    }
    let (id, link) = (id?, link?);
    notes.is(format!("links.{name}.id"), &id);
    notes.is(format!("links.{name}.parent"), &link);
    let number = id.parse::<u16>(notes, "a number from 1 to 4094");
    let parent = link
        .text(notes)
        .and_then(|text| name_of(text, names, &link, notes));
    Some(Kind::Vlan(Vlan {
        parent: parent?,
        id: number?,
    }))
}

fn members(name: &LinkName, names: &Names<'_>, field: &Field<'_>, notes: &mut Notes) -> BTreeSet<LinkName> {
    let Some(list) = field.get("interfaces") else {
        return BTreeSet::new();
    };
    notes.is(format!("links.{name}.members"), &list);
    let mut members = BTreeSet::new();
    for item in list.items(notes) {
        let Some(id) = item.text(notes) else { continue };
        if let Some(member) = name_of(id, names, &item, notes) {
            notes.is(format!("links.{member}"), &item);
            if !members.insert(member) {
                notes.error(&item, format!("{} is there twice", shown(id)));
            }
        }
    }
    members
}

/// The name behind an identifier, which may be that of an interface that is not described.
fn name_of(id: &str, names: &Names<'_>, field: &Field<'_>, notes: &mut Notes) -> Option<LinkName> {
    if let Some(name) = names.get(id) {
        return Some(name.clone());
    }
    match id.parse() {
        Ok(name) => Some(name),
        Err(why) => {
            notes.error(field, format!("{} is no link: {why}", shown(id)));
            None
        }
    }
}

/// A pause in ms, or with a unit as systemd writes it ("1s").
fn milliseconds(field: &Field<'_>, notes: &mut Notes) -> Option<u32> {
    let text = field.text(notes)?;
    let value = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.trim().parse().ok(),
        (None, Some(number)) => number
            .trim()
            .parse::<u32>()
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => text.parse().ok(),
    };
    if value.is_none() {
        notes.error(field, format!("{} is no number of milliseconds", shown(text)));
    }
    value
}

/// A pause in s.
fn seconds(field: &Field<'_>, notes: &mut Notes) -> Option<u32> {
    let text = field.text(notes)?;
    let value = text.strip_suffix('s').unwrap_or(text).trim().parse().ok();
    if value.is_none() {
        notes.error(field, format!("{} is no number of seconds", shown(text)));
    }
    value
}
