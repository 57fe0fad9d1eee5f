//! Who is at the other end of the cables (LLDP, IEEE 802.1AB): what switches announce is read, nothing is ever sent.

mod listen;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use imprint_proto::agent::v1::LldpNeighbour;
pub use listen::{ListenError, listen};

use super::sysfs;

/// Longest announcement that is read: a frame of the usual size.
const MAX_FRAME: usize = 1600;
const MAX_FIELDS: usize = 128;

const END: u8 = 0;
const CHASSIS_ID: u8 = 1;
const PORT_ID: u8 = 2;
const TIME_TO_LIVE: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const ORGANISATION: u8 = 127;
/// Port VLAN ID of IEEE 802.1.
const PORT_VLAN: [u8; 4] = [0x00, 0x80, 0xC2, 0x01];

/// Reads an announcement, without its Ethernet header.
///
/// None for what is cut short, lacks one of the three fields that each announcement begins with, or says good-bye.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<LldpNeighbour> {
    let mut found = LldpNeighbour::default();
    let mut rest = payload;
    let mut lives = false;
    for number in 0..MAX_FIELDS {
        let (kind, value, behind) = split_first(rest)?;
        rest = behind;
        match (number, kind) {
            (0, CHASSIS_ID) => found.chassis = id(value, 4, 5)?,
            (1, PORT_ID) => found.port = id(value, 3, 4)?,
            (2, TIME_TO_LIVE) => {
                lives = u16::from_be_bytes(value.get(..2)?.try_into().ok()?) > 0;
            }
            (0..=2, _) => return None,
            (_, END) => break,
            (_, PORT_DESCRIPTION) => found.port_description = text(value),
            (_, SYSTEM_NAME) => found.system_name = text(value),
            (_, ORGANISATION) => {
                if let Some(vlan) = value.strip_prefix(&PORT_VLAN).and_then(|vlan| vlan.get(..2)) {
                    let vlan = u32::from(u16::from_be_bytes([vlan[0], vlan[1]]));
                    found.vlan = (1..=4094).contains(&vlan).then_some(vlan);
                }
            }
            _ => {}
        }
        // Some senders leave out the field that ends an announcement.
        if rest.is_empty() && number >= 2 {
            break;
        }
    }
    lives.then_some(found)
}

/// Seven bits of type, nine of length, then the value.
fn split_first(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let head = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let length = usize::from(head & 0x1FF);
    let kind = (head >> 9).to_le_bytes()[0];
    let rest = &bytes[2..];
    (length <= rest.len()).then(|| (kind, &rest[..length], &rest[length..]))
}

/// An id below a subtype: a MAC address, a network address or a name.
fn id(value: &[u8], mac: u8, network: u8) -> Option<String> {
    let (subtype, id) = value.split_first()?;
    let shown = if *subtype == mac {
        super::shown_mac(id.try_into().ok()?)
    } else if *subtype == network {
        match id.split_first()? {
            (1, address) => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(),
            (2, address) => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(),
            _ => hex::encode(id),
        }
    } else {
        text(id)
    };
    (!shown.is_empty()).then_some(shown)
}

fn text(value: &[u8]) -> String {
    sysfs::clean(&String::from_utf8_lossy(value))
}
