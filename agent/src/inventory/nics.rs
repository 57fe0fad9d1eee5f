//! Physical network interfaces.

use std::path::Path;

use imprint_proto::agent::v1::Nic;

use super::{Live, sysfs};

const MAX_NICS: usize = 64;
const ETHERNET: u64 = 1;

/// All physical NICs below a root folder, by kernel name.
pub fn read(root: &Path, live: &Live) -> Vec<Nic> {
    let net = root.join("sys/class/net");
    let boot = boot_mac(&sysfs::value(root.join("proc/cmdline")));
    names(root)
        .into_iter()
        .map(|name| nic(&net.join(&name), name, boot.as_deref(), live))
        .collect()
}

/// Names of the physical NICs below a root folder.
pub(super) fn names(root: &Path) -> Vec<String> {
    let net = root.join("sys/class/net");
    sysfs::names(&net)
        .into_iter()
        .filter(|name| is_physical(&net.join(name)))
        .take(MAX_NICS)
        .collect()
}

/// Whether the NIC that the machine booted from has its driver; also true when the command line names none.
#[must_use]
pub fn boot_interface_is_there(root: &Path) -> bool {
    let named = boot_mac(&sysfs::value(root.join("proc/cmdline"))).is_some();
    !named || read(root, &Live::default()).iter().any(|nic| nic.boot_interface)
}

/// Has a device below it (bridges, bonds and VLANs have none), speaks Ethernet.
fn is_physical(folder: &Path) -> bool {
    folder.join("device").exists() && sysfs::number(folder.join("type")) == Some(ETHERNET)
}

fn nic(folder: &Path, kernel_name: String, boot: Option<&str>, live: &Live) -> Nic {
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
    let mac = own_mac(folder);
    let link_up = sysfs::flag(folder.join("carrier"));
    Nic {
        boot_interface: boot.is_some_and(|boot| boot == mac),
        numa_node: sysfs::numa_node(&pci_path),
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
        addresses: live.addresses.get(&kernel_name).cloned().unwrap_or_default(),
        permanent_mac: live.permanent_macs.get(&kernel_name).cloned().unwrap_or_default(),
        mac,
        kernel_name,
        ..Nic::default()
    }
}

/// A member of a bond carries the bond's address and has its own in `bonding_slave`.
fn own_mac(folder: &Path) -> String {
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
