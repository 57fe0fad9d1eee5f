//! OpenStack's `network_data.json`: links. Public clouds send shapes of it that its documentation does not have.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    field::{Field, Notes, shown},
    openstack_net,
};
use crate::{
    mac::MacAddress,
    model::{AdSelect, Bond, BondMode, Kind, LacpRate, Link, Network, Nic, Vlan, XmitHash},
    name::LinkName,
};

/// Names by the text's identifiers.
pub(super) type Names = BTreeMap<String, LinkName>;

/// Types of links that are interfaces of the machine, whatever they are to the cloud.
const PHYSICAL: [&str; 12] = [
    "phy",
    "ethernet",
    "vif",
    "ovs",
    "tap",
    "hyperv",
    "hw_veb",
    "vhostuser",
    "bridge",
    "dvs",
    "bgpovs",
    "cascading",
];

const MAC: &str = "an Ethernet address like 52:54:00:12:34:56";

pub(super) fn read(root: &Field<'_>, notes: &mut Notes) -> Network {
    let mut links = root
        .get("links")
        .map(|list| list.items(notes))
        .unwrap_or_default();
    for (key, field) in root.entries(notes) {
        if !matches!(key, "links" | "networks" | "services") {
            notes.warn(
                &field,
                "it is left out: only links, networks and services are read",
            );
        }
    }
    // The order in which a cloud lists them says nothing.
    links.sort_by_key(identifier);
    let names = names(&links, notes);
    let mut network = Network::default();
    for field in &links {
        let Some(name) = identifier(field).and_then(|id| names.get(&id)) else {
            continue;
        };
        let Some(link) = link(field, name, &names, notes) else {
            continue;
        };
        notes.is(format!("links.{name}"), field);
        if network.links.insert(name.clone(), link).is_some() {
            notes.error(field, format!("two links would be called `{name}`"));
        }
    }
    drop_inherited_macs(&mut network);
    openstack_net::read(root, &names, &mut network, notes);
    network
}

/// What a link is called by others: text, or a number in some clouds.
pub(super) fn identifier(link: &Field<'_>) -> Option<String> {
    link.get("id")
        .and_then(|id| id.text(&mut Notes::default()).map(str::to_owned))
        .filter(|id| !id.is_empty())
}

fn kind_of<'a>(link: &Field<'a>) -> &'a str {
    link.get("type")
        .and_then(|kind| kind.text(&mut Notes::default()))
        .unwrap_or("phy")
}

/// Gives every link a name: its own, else its identifier, else one made of what it is.
fn names(links: &[Field<'_>], notes: &mut Notes) -> Names {
    let mut names = Names::new();
    let mut taken: BTreeSet<LinkName> = BTreeSet::new();
    let mut bonds = 0;
    // VLANs are named after their links.
    let (vlans, others): (Vec<_>, Vec<_>) = links.iter().partition(|link| kind_of(link) == "vlan");
    for field in others.into_iter().chain(vlans) {
        let Some(id) = identifier(field) else {
            notes.error(field, "a link needs its `id`");
            continue;
        };
        let said = |key: &str| {
            let text = field.get(key)?.text(&mut Notes::default())?.to_owned();
            text.parse::<LinkName>().ok()
        };
        let mac =
            |key: &str| -> Option<MacAddress> { field.get(key)?.text(&mut Notes::default())?.parse().ok() };
        let name = said("name").or_else(|| match kind_of(field) {
            "vlan" => vlan_name(field, &names).or_else(|| said("id")),
            "bond" => said("id")
                .filter(|name| name.as_str().starts_with("bond"))
                .or_else(|| {
                    // Identifiers of bonds are often those of the cloud's database.
                    loop {
                        let name: LinkName = format!("bond{bonds}").parse().ok()?;
                        bonds += 1;
                        if !taken.contains(&name) {
                            return Some(name);
                        }
                    }
                }),
            _ => said("id").or_else(|| {
                format!("enx{}", mac("ethernet_mac_address")?.digits())
                    .parse()
                    .ok()
            }),
        });
        let Some(name) = name else {
            notes.error(
                field,
                format!(
                    "{} cannot name an interface, and nothing else of the link can",
                    shown(&id)
                ),
            );
            continue;
        };
        taken.insert(name.clone());
        if names.insert(id.clone(), name).is_some() {
            notes.error(field, format!("two links have the `id` {}", shown(&id)));
        }
    }
    names
}

fn vlan_name(field: &Field<'_>, names: &Names) -> Option<LinkName> {
    let quiet = &mut Notes::default();
    let id = field.get("vlan_id")?.text(quiet)?.to_owned();
    let parent = names.get(field.get("vlan_link")?.text(quiet)?)?;
    [format!("{parent}.{id}"), format!("vlan{id}")]
        .iter()
        .find_map(|name| name.parse().ok())
}

fn link(field: &Field<'_>, name: &LinkName, names: &Names, notes: &mut Notes) -> Option<Link> {
    let kind = kind_of(field);
    let place = |key: &str| format!("links.{name}.{key}");
    let mac = |key: &str, notes: &mut Notes| -> Option<MacAddress> {
        field
            .get(key)
            .filter(|field| field.text(&mut Notes::default()) != Some(""))
            .and_then(|field| field.parse(notes, MAC))
    };
    let mut link = match kind {
        "bond" => {
            let mut link = Link::new(Kind::Bond(bond(field, name, names, notes)?));
            link.mac = mac("ethernet_mac_address", notes);
            link
        }
        "vlan" => {
            let mut link = Link::new(Kind::Vlan(vlan(field, name, names, notes)?));
            link.mac = mac("vlan_mac_address", notes);
            link
        }
        other => {
            if !PHYSICAL.contains(&other) {
                notes.warn(
                    field,
                    format!("links of type {} are taken as physical interfaces", shown(other)),
                );
            }
            let nic = Nic {
                mac: mac("ethernet_mac_address", notes),
                ..Nic::default()
            };
            if nic.mac.is_none() && field.get("name").is_none() {
                notes.error(field, "a physical interface needs its `ethernet_mac_address`");
                return None;
            }
            Link::new(Kind::Nic(nic))
        }
    };
    if let Some(mtu) = field.get("mtu") {
        notes.is(place("mtu"), &mtu);
        link.mtu = mtu.number(notes);
    }
    Some(link)
}

fn bond(field: &Field<'_>, name: &LinkName, names: &Names, notes: &mut Notes) -> Option<Bond> {
    let mut bond = Bond::new(BondMode::BalanceRr);
    let place = |key: &str| format!("links.{name}.{key}");
    for (key, value) in field.entries(notes) {
        if value.is_null() || !key.starts_with("bond") {
            continue;
        }
        match key.trim_start_matches("bond_").trim_start_matches("bond-") {
            "links" => {
                notes.is(place("members"), &value);
                for item in value.items(notes) {
                    let Some(id) = item.text(notes) else { continue };
                    match names.get(id) {
                        Some(member) => {
                            bond.members.insert(member.clone());
                        }
                        None => notes.error(&item, format!("there is no link with the `id` {}", shown(id))),
                    }
                }
            }
            "mode" => bond.mode = value.word(notes, BondMode::from_word, BondMode::choices())?,
            "miimon" => {
                notes.is(place("miimon"), &value);
                bond.miimon = value.number(notes);
            }
            "updelay" | "up_delay" => bond.up_delay = value.number(notes),
            "downdelay" | "down_delay" => bond.down_delay = value.number(notes),
            "min_links" => {
                notes.is(place("min_links"), &value);
                bond.min_links = value.number(notes);
            }
            "lacp_rate" => {
                notes.is(place("lacp_rate"), &value);
                bond.lacp_rate = value.word(notes, LacpRate::from_word, LacpRate::choices());
            }
            "xmit_hash_policy" => {
                notes.is(place("hash"), &value);
                bond.hash = value.word(notes, XmitHash::from_word, XmitHash::choices());
            }
            "ad_select" => {
                notes.is(place("ad_select"), &value);
                bond.ad_select = value.word(notes, AdSelect::from_word, AdSelect::choices());
            }
            "primary" => {
                notes.is(place("primary"), &value);
                let id = value.text(notes)?;
                bond.primary = names.get(id).cloned();
                if bond.primary.is_none() {
                    notes.error(&value, format!("there is no link with the `id` {}", shown(id)));
                }
            }
            _ => notes.warn(&value, "it is left out: it is not known"),
        }
    }
    Some(bond)
}

fn vlan(field: &Field<'_>, name: &LinkName, names: &Names, notes: &mut Notes) -> Option<Vlan> {
    let (id, parent) = (field.get("vlan_id"), field.get("vlan_link"));
    if id.is_none() {
        notes.error(field, "a VLAN needs its `vlan_id`");
    }
    if parent.is_none() {
        notes.error(field, "a VLAN needs its `vlan_link`");
    }
    let (id, parent) = (id?, parent?);
    notes.is(format!("links.{name}.id"), &id);
    let number = id.parse::<u16>(notes, "a number from 1 to 4094");
    let text = parent.text(notes)?;
    let Some(below) = names.get(text) else {
        notes.error(&parent, format!("there is no link with the `id` {}", shown(text)));
        return None;
    };
    Some(Vlan {
        parent: below.clone(),
        id: number?,
    })
}

/// A VLAN has the MAC address of its link unless it is given another; clouds always write it.
fn drop_inherited_macs(network: &mut Network) {
    let inherited: Vec<LinkName> = network
        .links
        .iter()
        .filter(|(_, link)| match &link.kind {
            Kind::Vlan(vlan) => link.mac.is_some() && link.mac == network.effective_mac(&vlan.parent),
            _ => false,
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in inherited {
        if let Some(link) = network.links.get_mut(&name) {
            link.mac = None;
        }
    }
}
