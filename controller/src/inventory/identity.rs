//! Which machine is this? A pure comparison of what a machine shows with what is known.
//!
//! No single fact is trusted alone: vendors ship boards with the same UUID, NICs move between machines, serial numbers
//! are left blank. What contradicts itself is refused, since a wrong guess would write the wrong machine's disk.

use imprint_proto::agent::v1::Fingerprint;

use super::node::Node;
use crate::boot::facts::{BootFacts, MacAddress, parse_serial, parse_uuid, same_uuid};

/// UUIDs that vendors ship on every board.
const SHARED_UUIDS: [&str; 6] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "12345678-1234-1234-1234-123456789abc",
    "4c4c4544-0000-2010-8020-80c04f202020",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// Serial numbers that vendors ship on every board, beside those that the boot services already leave out.
const SHARED_SERIALS: [&str; 8] = [
    "unknown",
    "invalid",
    "chassis serial number",
    "base board serial number",
    "oem",
    "serial",
    "xxxxxxxx",
    "empty",
];

const MAX_MACS: usize = 64;

/// The facts of a machine that can tell it from others; placeholders are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// MAC addresses, in the order shown.
    pub macs: Vec<String>,
}

impl Shown {
    /// The usable part of an agent's fingerprint.
    #[must_use]
    pub fn by_agent(fingerprint: &Fingerprint) -> Self {
        let mut macs: Vec<String> = Vec::new();
        for mac in fingerprint.macs.iter().take(MAX_MACS) {
            if let Ok(mac) = mac.parse::<MacAddress>()
                && !macs.iter().any(|known| known == mac.as_str())
            {
                macs.push(mac.to_string());
            }
        }
        Self {
            uuid: own_uuid(&fingerprint.smbios_uuid),
            serial: own_serial(&fingerprint.smbios_serial),
            macs,
        }
    }

    /// The usable part of what a boot loader said.
    #[must_use]
    pub fn by_boot_loader(facts: &BootFacts) -> Self {
        Self {
            uuid: facts.smbios_uuid.as_deref().and_then(own_uuid),
            serial: facts.serial.as_deref().and_then(own_serial),
            macs: vec![facts.mac.to_string()],
        }
    }
}

/// A UUID that can tell a machine from others.
#[must_use]
pub fn own_uuid(text: &str) -> Option<String> {
    let uuid = parse_uuid(text)?;
    let digits = uuid.replace('-', "");
    let uniform = digits.as_bytes().windows(2).all(|pair| pair[0] == pair[1]);
    (!uniform && !SHARED_UUIDS.contains(&uuid.as_str())).then_some(uuid)
}

/// A serial number that can tell a machine from others.
#[must_use]
pub fn own_serial(text: &str) -> Option<String> {
    let serial = parse_serial(text)?;
    let uniform = serial.as_bytes().windows(2).all(|pair| pair[0] == pair[1]);
    let shared = SHARED_SERIALS
        .iter()
        .any(|shared| serial.eq_ignore_ascii_case(shared));
    (!uniform && !shared).then_some(serial)
}

/// A node that has something in common with what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub node_id: String,
    /// Its name, for messages.
    pub name: String,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// MAC addresses.
    pub macs: Vec<String>,
}

/// A machine that contradicts what is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Conflict {
    /// The nodes it is in conflict with.
    pub node_ids: Vec<String>,
    /// What contradicts what.
    pub reason: String,
}

/// What a machine is, by the table of nodes.
#[derive(Debug, Clone)]
pub enum Recognised {
    /// This node.
    Known(Box<Node>),
    /// Not seen before.
    Unknown,
    /// It shows what belongs to different machines.
    Contradiction(Conflict),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nothing like it is known.
    New,
    /// It is this node.
    Same(String),
    /// It contradicts itself or what is known.
    Conflict(Conflict),
}

/// Compares a machine with all nodes that share a UUID, a serial number or a MAC address with it.
#[must_use]
pub fn identify(shown: &Shown, known: &[Known]) -> Identity {
    let by_mac: Vec<&Known> = known.iter().filter(|node| shares_mac(shown, node)).collect();
    let by_uuid: Vec<&Known> = known
        .iter()
        .filter(|node| agreement(shown, node) == Agreement::Same)
        .collect();
    let mut nodes = by_mac.clone();
    nodes.extend(
        by_uuid
            .iter()
            .filter(|node| !by_mac.iter().any(|other| other.node_id == node.node_id)),
    );
    match nodes.as_slice() {
        [] => by_serial(shown, known),
        [node] => one(shown, node, !by_mac.is_empty()),
        several => {
            let reason = match (by_mac.first(), by_uuid.first()) {
                (Some(mac), Some(uuid)) if mac.node_id != uuid.node_id => {
                    format!(
                        "the machine has the SMBIOS UUID of node {} and a MAC address of node {}",
                        uuid.name, mac.name
                    )
                }
                (Some(_), _) if by_mac.len() > 1 => {
                    format!("the machine has MAC addresses of the nodes {}", names(&by_mac))
                }
                _ => format!("the nodes {} have the machine's SMBIOS UUID", names(several)),
            };
            conflict(several, reason)
        }
    }
}

fn one(shown: &Shown, node: &Known, mac_shared: bool) -> Identity {
    let uuid = agreement(shown, node);
    let serial_differs = matches!((&shown.serial, &node.serial), (Some(one), Some(other)) if one != other);
    let serial_same = shown.serial.is_some() && shown.serial == node.serial;
    match (mac_shared, uuid) {
        (true, Agreement::Differs) => conflict(
            &[node],
            format!(
                "the machine has a MAC address of node {} but the SMBIOS UUID {} instead of {}",
                node.name,
                shown.uuid.as_deref().unwrap_or_default(),
                node.uuid.as_deref().unwrap_or_default()
            ),
        ),
        (true, Agreement::Unknown) if serial_differs => conflict(
            &[node],
            format!(
                "the machine has a MAC address of node {} but another serial number",
                node.name
            ),
        ),
        (true, _) => Identity::Same(node.node_id.clone()),
        (false, _) if serial_same || shown.macs.is_empty() && !serial_differs => {
            Identity::Same(node.node_id.clone())
        }
        (false, _) => conflict(
            &[node],
            format!(
                "the machine has the SMBIOS UUID of node {} but none of its MAC addresses and not its serial number",
                node.name
            ),
        ),
    }
}

fn by_serial(shown: &Shown, known: &[Known]) -> Identity {
    // A serial number alone tells a machine only where there is nothing else to tell it by.
    let same: Vec<&Known> = known
        .iter()
        .filter(|node| {
            shown.serial.is_some()
                && node.serial == shown.serial
                && agreement(shown, node) == Agreement::Unknown
        })
        .filter(|node| shown.macs.is_empty() || node.macs.is_empty())
        .collect();
    match same.as_slice() {
        [] => Identity::New,
        [node] => Identity::Same(node.node_id.clone()),
        several => conflict(
            several,
            format!("the nodes {} have the machine's serial number", names(several)),
        ),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreement {
    Same,
    Differs,
    Unknown,
}

fn agreement(shown: &Shown, node: &Known) -> Agreement {
    match (&shown.uuid, &node.uuid) {
        (Some(one), Some(other)) if same_uuid(one, other) => Agreement::Same,
        (Some(_), Some(_)) => Agreement::Differs,
        _ => Agreement::Unknown,
    }
}

fn shares_mac(shown: &Shown, node: &Known) -> bool {
    shown.macs.iter().any(|mac| node.macs.contains(mac))
}

fn names(nodes: &[&Known]) -> String {
    nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn conflict(nodes: &[&Known], reason: String) -> Identity {
    Identity::Conflict(Conflict {
        node_ids: nodes.iter().map(|node| node.node_id.clone()).collect(),
        reason,
    })
}
