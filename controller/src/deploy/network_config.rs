//! Network data of a deployment: checked when it is given, made when it is not.

use imprint_network::Network;

use crate::inventory::Inventory;

/// Longest network data that is read.
const MAX_NETWORK_CONFIG: usize = 64 * 1024;

/// What is to be said of network data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it cannot be used, one sentence each.
    pub faults: Vec<String>,
    /// What is worth a second look.
    pub warnings: Vec<String>,
    /// The network, when nothing is wrong with it.
    pub network: Option<Network>,
}

/// Checks network-config version 2 or OpenStack's `network_data.json`.
#[must_use]
pub fn check(text: &str) -> Verdict {
    let mut verdict = Verdict::default();
    if text.is_empty() {
        return verdict;
    }
    if text.len() > MAX_NETWORK_CONFIG {
        verdict.faults.push(format!(
            "it has {} bytes; at most {MAX_NETWORK_CONFIG} are allowed",
            text.len()
        ));
        return verdict;
    }
    let read = match imprint_network::read(text.as_bytes()) {
        Ok(read) => read,
        Err(refused) => {
            verdict.faults = refused.errors.iter().map(ToString::to_string).collect();
            return verdict;
        }
    };
    verdict.warnings = read.warnings.iter().map(ToString::to_string).collect();
    verdict.network = Some(read.network);
    verdict
}

/// DHCP on the NIC that the machine boots from, found by its MAC address.
///
/// `set-name` is the name the ramdisk's kernel gave it: renderers that know no match by MAC address need a name.
#[must_use]
pub fn default_for(macs: &[String], inventory: Option<&Inventory>) -> String {
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
        None => ("eth0".to_owned(), macs.first().cloned().unwrap_or_default()),
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

    fn faults(text: &str) -> String {
        check(text).faults.join("\n")
    }

    #[test]
    fn shapes() {
        for good in [
            "",
            "version: 2\nethernets:\n  eth0: {dhcp4: true}\n",
            "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    a: {match: {macaddress: '52:54:00:00:00:01'}, addresses: [10.0.0.5/24, 'fd00::1/64'], gateway4: 10.0.0.1, mtu: 9000}\n",
            "version: 2\nbonds:\n  bond0: {interfaces: [a, b], parameters: {mode: 802.3ad}}\nvlans:\n  v: {id: 5, link: bond0}\n",
            "version: 2\nethernets:\n  a: {addresses: [10.0.0.5/24], routes: [{to: default, via: 10.0.0.1}]}\n",
            r#"{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}], "networks": [{"link": "a", "type": "ipv4_dhcp"}]}"#,
        ] {
            assert_eq!(faults(good), "", "{good}");
        }
        for (bad, part) in [
            ("version: 1\nconfig: []\n", "version 1 is not read"),
            ("version: 2\nethernets:\n  a: [\n", "line 4"),
            (
                "version: 2\nethernets:\n  a: {addresses: [10.0.0.5]}\n",
                "line 3: `ethernets.a.addresses[0]`",
            ),
            ("version: 2\nvlans:\n  v: {id: 5}\n", "needs its `link`"),
        ] {
            assert!(faults(bad).contains(part), "{bad}: {}", faults(bad));
        }
        // All of them at once.
        let both = "version: 2\nethernets:\n  a: {mtu: x, dhcp4: maybe}\n";
        assert_eq!(check(both).faults.len(), 2);
        assert_eq!(check(&" ".repeat(MAX_NETWORK_CONFIG + 1)).faults.len(), 1);
    }

    #[test]
    fn what_is_made_is_taken() {
        let inventory = Inventory {
            nics: vec![imprint_hardware::facts::Nic {
                mac: "52:54:00:00:00:0a".to_owned(),
                kernel_name: "enp1s0".to_owned(),
                ..Default::default()
            }],
            ..Inventory::default()
        };
        let text = default_for(&[], Some(&inventory));
        assert_eq!(check(&text).faults, [""; 0], "{text}");
        let text = default_for(&["52:54:00:00:00:0a".to_owned()], None);
        assert_eq!(check(&text).faults, [""; 0], "{text}");
    }
}
