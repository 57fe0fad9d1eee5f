//! Whether the NICs that network data names are those of the node. Pure.

use imprint_network::Network;

use crate::inventory::{Inventory, Node};

/// What is named and not there, in one sentence; `None` when all is there, or nobody has seen the node's NICs.
pub(super) fn fault(network: &Network, node: &Node, inventory: Option<&Inventory>) -> Option<String> {
    let nics = &inventory?.nics;
    if nics.is_empty() {
        return None;
    }
    let known = |wanted: &str| {
        let of_nics = nics.iter().flat_map(|nic| [&nic.mac, &nic.permanent_mac]);
        of_nics
            .chain(&node.macs)
            .any(|mac| mac.eq_ignore_ascii_case(wanted))
    };
    let mut missing: Vec<String> = network
        .links
        .iter()
        .filter_map(|(name, link)| Some((name, link.nic()?.mac?.to_string())))
        .filter(|(_, mac)| !known(mac))
        .map(|(name, mac)| format!("`{name}` names {mac}"))
        .collect();
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
