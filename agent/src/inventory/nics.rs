//! Physical network interfaces.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use imprint_proto::agent::v1::Nic;

use super::sysfs;

const MAX_NICS: usize = 64;
const ETHERNET: u64 = 1;

/// All physical NICs below a root folder, by kernel name. `addresses` are the machine's, by interface.
pub fn read(root: &Path, addresses: &BTreeMap<String, Vec<String>>) -> Vec<Nic> {
    let net = root.join("sys/class/net");
    let boot = boot_mac(&sysfs::value(root.join("proc/cmdline")));
    let names = sysfs::names(&net)
        .into_iter()
        .filter(|name| is_physical(&net.join(name)));
    names
        .take(MAX_NICS)
        .map(|name| nic(&net.join(&name), name, boot.as_deref(), addresses))
        .collect()
}

/// Whether the NIC that the machine booted from has its driver; also true when the command line names none.
#[must_use]
pub fn boot_interface_is_there(root: &Path) -> bool {
    let named = boot_mac(&sysfs::value(root.join("proc/cmdline"))).is_some();
    !named || read(root, &BTreeMap::new()).iter().any(|nic| nic.boot_interface)
}

/// Has a device below it (bridges, bonds and VLANs have none), speaks Ethernet.
fn is_physical(folder: &Path) -> bool {
    folder.join("device").exists() && sysfs::number(folder.join("type")) == Some(ETHERNET)
}

fn nic(
    folder: &Path,
    kernel_name: String,
    boot: Option<&str>,
    addresses: &BTreeMap<String, Vec<String>>,
) -> Nic {
    let device = folder.join("device");
    let pci_path = sysfs::resolved(&device).unwrap_or_default();
    let id = |name: &str| {
        sysfs::value(device.join(name))
            .trim_start_matches("0x")
            .to_owned()
    };
    // Of virtio the numbers are virtio's, and those of the PCI device one folder up.
    let (mut vendor, mut product) = (id("vendor"), id("device"));
    if !sysfs::value(device.join("modalias")).starts_with("pci:") {
        let above = |name: &str| {
            sysfs::value(pci_path.join("..").join(name))
                .trim_start_matches("0x")
                .to_owned()
        };
        (vendor, product) = (above("vendor"), above("device"));
    }
    let mac = permanent_mac(folder);
    let link_up = sysfs::flag(folder.join("carrier"));
    Nic {
        boot_interface: boot.is_some_and(|boot| boot == mac),
        driver: sysfs::link_name(device.join("driver")),
        pci_id: if vendor.is_empty() || product.is_empty() {
            String::new()
        } else {
            format!("{vendor}:{product}")
        },
        pci_address: sysfs::pci_address(&pci_path),
        link_up,
        // "-1" of a driver that doesn't know is no number.
        speed_mbps: sysfs::number(folder.join("speed"))
            .and_then(|speed| u32::try_from(speed).ok())
            .filter(|_| link_up),
        addresses: addresses.get(&kernel_name).cloned().unwrap_or_default(),
        mac,
        kernel_name,
        ..Nic::default()
    }
}

/// A member of a bond carries the bond's address and has its own in `bonding_slave`.
fn permanent_mac(folder: &Path) -> String {
    let own = sysfs::value(folder.join("bonding_slave/perm_hwaddr"));
    let mac = if own.is_empty() {
        sysfs::value(folder.join("address"))
    } else {
        own
    };
    mac.to_lowercase()
}

/// `BOOTIF=01-52-54-00-12-34-56` of the kernel command line: the type, then the address.
fn boot_mac(command_line: &str) -> Option<String> {
    let value = command_line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("BOOTIF="))
        .next_back()?;
    let parts: Vec<&str> = value.split(['-', ':']).collect();
    let mac = match parts.len() {
        7 => &parts[1..],
        6 => &parts[..],
        _ => return None,
    };
    mac.iter()
        .all(|part| part.len() == 2)
        .then(|| mac.join(":").to_lowercase())
}

/// Addresses of all interfaces with their prefix lengths, loopback left out.
#[must_use]
pub fn live_addresses() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "cannot list the network addresses");
            return found;
        }
    };
    for interface in interfaces {
        let address = interface.address.as_ref().and_then(ip);
        let Some(address) = address.filter(|address| !address.is_loopback()) else {
            continue;
        };
        let ones = match interface.netmask.as_ref().and_then(ip) {
            Some(IpAddr::V4(mask)) => mask.to_bits().count_ones(),
            Some(IpAddr::V6(mask)) => mask.to_bits().count_ones(),
            None => continue,
        };
        found
            .entry(interface.interface_name)
            .or_default()
            .push(format!("{address}/{ones}"));
    }
    found
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_interface_of_the_command_line() {
        let cases = [
            (
                "initrd=a BOOTIF=01-52-54-00-AB-cd-ef quiet",
                Some("52:54:00:ab:cd:ef"),
            ),
            ("BOOTIF=52:54:00:ab:cd:ef", Some("52:54:00:ab:cd:ef")),
            ("BOOTIF=01-52", None),
            ("BOOTIF=", None),
            ("quiet", None),
        ];
        for (line, mac) in cases {
            assert_eq!(boot_mac(line).as_deref(), mac, "{line}");
        }
    }
}
