//! cloud-init's network-config, version 2: checked when it is given, made when it is not.

use std::net::IpAddr;

use serde_norway::{Mapping, Value};

use super::user_data::yaml_fault;
use crate::inventory::{Inventory, Node};

/// Longest network-config that is read.
const MAX_NETWORK_CONFIG: usize = 64 * 1024;

const SECTIONS: [&str; 4] = ["ethernets", "bonds", "bridges", "vlans"];

const DEVICE_KEYS: [&str; 29] = [
    "match",
    "set-name",
    "wakeonlan",
    "dhcp4",
    "dhcp6",
    "dhcp-identifier",
    "dhcp4-overrides",
    "dhcp6-overrides",
    "accept-ra",
    "addresses",
    "gateway4",
    "gateway6",
    "nameservers",
    "routes",
    "routing-policy",
    "macaddress",
    "mtu",
    "optional",
    "optional-addresses",
    "critical",
    "link-local",
    "ipv6-privacy",
    "ipv6-address-generation",
    "ignore-carrier",
    "renderer",
    "interfaces",
    "parameters",
    "id",
    "link",
];

/// What is wrong with a network-config; `None` when cloud-init will read it.
#[must_use]
pub fn fault(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if text.len() > MAX_NETWORK_CONFIG {
        return Some(format!(
            "it has {} bytes; at most {MAX_NETWORK_CONFIG} are allowed",
            text.len()
        ));
    }
    let document: Value = match serde_norway::from_str(text) {
        Ok(document) => document,
        Err(error) => return Some(yaml_fault(&error)),
    };
    check_document(&document).err()
}

fn check_document(document: &Value) -> Result<(), String> {
    let top = document
        .as_mapping()
        .ok_or("it is not a mapping with `version: 2`")?;
    let top = match top.get("network") {
        Some(network) => network.as_mapping().ok_or("`network` is not a mapping")?,
        None => top,
    };
    if top.get("version").and_then(Value::as_u64) != Some(2) {
        return Err("it does not say `version: 2`".to_owned());
    }
    for (key, section) in top {
        let key = text_key(key, "the top level")?;
        if key == "version" || key == "renderer" {
            continue;
        }
        if !SECTIONS.contains(&key) {
            return Err(format!(
                "`{key}` is not known at the top level; use {}",
                SECTIONS.join(", ")
            ));
        }
        let section = section
            .as_mapping()
            .ok_or_else(|| format!("`{key}` is not a mapping of devices"))?;
        for (name, device) in section {
            let name = text_key(name, key)?;
            let path = format!("{key}.{name}");
            let device = device
                .as_mapping()
                .ok_or_else(|| format!("`{path}` is not a mapping"))?;
            check_device(key, &path, device)?;
        }
    }
    Ok(())
}

fn text_key<'a>(key: &'a Value, place: &str) -> Result<&'a str, String> {
    key.as_str()
        .ok_or_else(|| format!("a key of {place} is not text"))
}

fn check_device(section: &str, path: &str, device: &Mapping) -> Result<(), String> {
    for (key, value) in device {
        let key = text_key(key, path)?;
        if !DEVICE_KEYS.contains(&key) {
            return Err(format!("`{path}.{key}` is not known"));
        }
        let fits = match key {
            "dhcp4" | "dhcp6" | "accept-ra" | "optional" | "critical" | "wakeonlan" | "ignore-carrier" => {
                value.is_bool()
            }
            "match" | "nameservers" | "parameters" | "dhcp4-overrides" | "dhcp6-overrides" => {
                value.is_mapping()
            }
            "addresses" | "routes" | "routing-policy" | "interfaces" | "link-local" => value.is_sequence(),
            "mtu" => value.as_u64().is_some_and(|mtu| (68..=65_535).contains(&mtu)),
            "id" => value.as_u64().is_some_and(|id| id < 4095),
            "gateway4" | "gateway6" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            _ => value.is_string() || value.is_bool(),
        };
        if !fits {
            return Err(format!("`{path}.{key}` does not have the right kind of value"));
        }
    }
    for address in device
        .get("addresses")
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
    {
        let text = address
            .as_str()
            .or_else(|| address.as_mapping()?.keys().next()?.as_str());
        if !text.is_some_and(is_prefixed) {
            return Err(format!(
                "`{path}.addresses` has an entry that is not an address with prefix length (10.0.0.5/24)"
            ));
        }
    }
    for route in device
        .get("routes")
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
    {
        check_route(path, route)?;
    }
    let needed: &[&str] = match section {
        "vlans" => &["id", "link"],
        "bonds" => &["interfaces"],
        _ => &[],
    };
    match needed.iter().find(|key| !device.contains_key(**key)) {
        Some(key) => Err(format!("`{path}` has no `{key}`")),
        None => Ok(()),
    }
}

fn check_route(path: &str, route: &Value) -> Result<(), String> {
    let to = route.get("to").and_then(Value::as_str).unwrap_or_default();
    if to == "default" {
        return Err(format!(
            "`{path}.routes` says `to: default`, which cloud-init before 23 refuses; write 0.0.0.0/0 or ::/0"
        ));
    }
    if !is_prefixed(to) && to.parse::<IpAddr>().is_err() {
        return Err(format!(
            "`{path}.routes` has an entry without a destination (to: 10.1.0.0/16)"
        ));
    }
    let via = route.get("via").and_then(Value::as_str);
    if via.is_some_and(|via| via.parse::<IpAddr>().is_err()) {
        return Err(format!("`{path}.routes` has a gateway that is not an address"));
    }
    Ok(())
}

fn is_prefixed(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    match (address.parse::<IpAddr>(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

/// DHCP on the NIC that the machine boots from, found by its MAC address.
///
/// `set-name` is the name the ramdisk's kernel gave it: renderers that know no match by MAC address need a name.
#[must_use]
pub fn default_for(node: &Node, inventory: Option<&Inventory>) -> String {
    let nics = inventory
        .map(|inventory| inventory.nics.as_slice())
        .unwrap_or_default();
    let nic = nics
        .iter()
        .find(|nic| nic.boot_interface)
        .or_else(|| nics.iter().find(|nic| nic.link_up))
        .or(nics.first());
    let (name, mac) = match nic {
        Some(nic) => (nic.kernel_name.clone(), nic.mac.clone()),
        None => ("eth0".to_owned(), node.macs.first().cloned().unwrap_or_default()),
    };
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
        .take(15)
        .collect();
    let name = if name.is_empty() { "eth0".to_owned() } else { name };
    let name = serde_json::Value::from(name);
    let mac = serde_json::Value::from(mac);
    format!(
        "version: 2\nethernets:\n  {name}:\n    match:\n      macaddress: {mac}\n    set-name: {name}\n    dhcp4: true\n    dhcp-identifier: mac\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        for good in [
            "",
            "version: 2\nethernets:\n  eth0: {dhcp4: true}\n",
            "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    a: {match: {macaddress: '52:54:00:00:00:01'}, addresses: [10.0.0.5/24, 'fd00::1/64'], gateway4: 10.0.0.1, mtu: 9000}\n",
            "version: 2\nbonds:\n  bond0: {interfaces: [a, b], parameters: {mode: 802.3ad}}\nvlans:\n  v: {id: 5, link: bond0}\n",
            "version: 2\nethernets:\n  a:\n    routes: [{to: 0.0.0.0/0, via: 10.0.0.1}]\n",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for (bad, part) in [
            ("version: 1\nconfig: []\n", "version: 2"),
            ("ethernets: {}\n", "version: 2"),
            ("- a\n", "not a mapping"),
            ("version: 2\nethernets:\n  a: [\n", "line"),
            ("version: 2\nethernet: {}\n", "`ethernet` is not known"),
            ("version: 2\nethernets: [a]\n", "`ethernets` is not a mapping"),
            (
                "version: 2\nethernets:\n  a: {dhcp: true}\n",
                "`ethernets.a.dhcp` is not known",
            ),
            (
                "version: 2\nethernets:\n  a: {dhcp4: maybe}\n",
                "`ethernets.a.dhcp4`",
            ),
            (
                "version: 2\nethernets:\n  a: {addresses: [10.0.0.5]}\n",
                "prefix length",
            ),
            ("version: 2\nethernets:\n  a: {mtu: 3}\n", "`ethernets.a.mtu`"),
            (
                "version: 2\nethernets:\n  a: {routes: [{to: default, via: 10.0.0.1}]}\n",
                "write 0.0.0.0/0",
            ),
            ("version: 2\nvlans:\n  v: {id: 5}\n", "has no `link`"),
        ] {
            let fault = fault(bad).unwrap_or_default();
            assert!(fault.contains(part), "{bad}: {fault}");
        }
    }
}
