//! Network-config version 2: DHCP.

use super::field::{Field, Notes};
use crate::model::{Addressing, Dhcp};

pub(super) fn read(device: &Field<'_>, ip: &mut Addressing, notes: &mut Notes) {
    ip.dhcp4 = one(device, "dhcp4", "dhcp4-overrides", notes);
    ip.dhcp6 = one(device, "dhcp6", "dhcp6-overrides", notes);
    if let Some(identifier) = device.get("dhcp-identifier") {
        let by_mac = identifier.word(
            notes,
            |word| match word {
                "mac" => Some(true),
                "duid" => Some(false),
                _ => None,
            },
            "mac, duid",
        );
        ip.dhcp_by_mac = by_mac.unwrap_or_default();
    }
}

fn one(device: &Field<'_>, key: &str, overrides: &str, notes: &mut Notes) -> Option<Dhcp> {
    let on = device
        .get(key)
        .and_then(|field| field.flag(notes))
        .unwrap_or_default();
    let overrides = device.get(overrides);
    if !on {
        if let Some(field) = overrides {
            notes.warn(&field, format!("it has no effect without `{key}: true`"));
        }
        return None;
    }
    let mut dhcp = Dhcp::default();
    let Some(overrides) = overrides else {
        return Some(dhcp);
    };
    for (key, value) in overrides.entries(notes) {
        match key {
            "route-metric" => dhcp.route_metric = value.number(notes),
            "use-dns" => dhcp.use_dns = value.flag(notes),
            "use-routes" => dhcp.use_routes = value.flag(notes),
            "use-mtu" => dhcp.use_mtu = value.flag(notes),
            "use-hostname" => dhcp.use_hostname = value.flag(notes),
            "use-ntp" => dhcp.use_ntp = value.flag(notes),
            "send-hostname" => dhcp.send_hostname = value.flag(notes),
            "use-domains" | "hostname" => notes.warn(&value, "it is left out: not every system has it"),
            _ => notes.error(&value, "this override is not known"),
        }
    }
    Some(dhcp)
}
