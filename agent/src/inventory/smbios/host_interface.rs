//! How the machine reaches its management controller over a network of their own (type 42, DMTF DSP0270).

use std::net::IpAddr;

use super::table::Structure;

const NETWORK: u8 = 0x40;
const REDFISH_OVER_IP: u8 = 4;
/// Addresses that the record gives itself; others are found by DHCP or by the system.
const STATIC: u8 = 1;

/// Fixed addresses of the Redfish service.
pub(super) fn redfish(part: &Structure<'_>) -> Vec<IpAddr> {
    if part.byte(4) != Some(NETWORK) {
        return Vec::new();
    }
    let interface = usize::from(part.byte(5).unwrap_or_default());
    let count = part.byte(6 + interface).unwrap_or_default();
    let mut at = 7 + interface;
    let mut found = Vec::new();
    for _ in 0..count {
        let (Some(kind), Some(length)) = (part.byte(at), part.byte(at + 1)) else {
            break;
        };
        let record = part.bytes(at + 2, usize::from(length));
        if kind == REDFISH_OVER_IP {
            found.extend(record.and_then(service));
        }
        at += 2 + usize::from(length);
    }
    found
}

/// The service's address behind UUID, and assignment, format, address and mask of the host.
fn service(record: &[u8]) -> Option<IpAddr> {
    let (discovery, format) = (*record.get(50)?, *record.get(51)?);
    let address = record.get(52..68)?;
    let address = match (discovery, format) {
        (STATIC, 1) => IpAddr::from(<[u8; 4]>::try_from(&address[..4]).ok()?),
        (STATIC, 2) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    (!address.is_unspecified()).then_some(address)
}
