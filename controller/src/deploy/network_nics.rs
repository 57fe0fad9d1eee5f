//! Whether the NICs that a network-config names are those of the node. Pure.

use serde_norway::Value;

use crate::{
    boot::MacAddress,
    inventory::{Inventory, Node},
};

/// What is named and not there, in one sentence; `None` when all is there, or nobody has seen the node's NICs.
pub(super) fn fault(text: &str, node: &Node, inventory: Option<&Inventory>) -> Option<String> {
    let nics = &inventory?.nics;
    if nics.is_empty() {
        return None;
    }
    // What cannot be read is another refusal.
    let document: Value = serde_norway::from_str(text).ok()?;
    let top = document.get("network").unwrap_or(&document);
    let known = |wanted: &str| {
        let of_nics = nics.iter().flat_map(|nic| [&nic.mac, &nic.permanent_mac]);
        of_nics
            .chain(&node.macs)
            .any(|mac| mac.eq_ignore_ascii_case(wanted))
    };
    let mut missing = Vec::new();
    for (name, device) in top.get("ethernets")?.as_mapping()? {
        let mac = device.get("match").and_then(|what| what.get("macaddress"));
        let (Some(name), Some(mac)) = (name.as_str(), mac.and_then(Value::as_str)) else {
            continue;
        };
        let spelled = mac.parse::<MacAddress>().map(|mac| mac.to_string());
        if !known(spelled.as_deref().unwrap_or(mac)) {
            let shown = |text: &str| text.chars().take(40).collect::<String>();
            missing.push(format!("`ethernets.{}` names {}", shown(name), shown(mac)));
        }
    }
    if missing.is_empty() {
        return None;
    }
    missing.truncate(16);
    let mut there: Vec<&str> = nics
        .iter()
        .map(|nic| nic.mac.as_str())
        .filter(|mac| !mac.is_empty())
        .collect();
    there.truncate(16);
    Some(format!(
        "{}, and node {} has no such NIC; it has {}",
        missing.join(", "),
        node.name,
        there.join(", ")
    ))
}
