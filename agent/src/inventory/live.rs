//! What no file tells but the running kernel, its drivers, the disks and the neighbours.
//!
//! [`Live::now`] asks only the kernel and is done at once. [`Live::of_devices`] and [`Live::of_neighbours`] take seconds:
//! they work beside everything else, and what they learn completes an inventory that was read before.

use std::{collections::BTreeMap, net::IpAddr, path::Path, time::Duration};

use imprint_proto::agent::v1::{Bmc, DiskHealth, Inventory, LldpNeighbour};

use super::{bmc, health, lldp, nics, shown_mac};
use crate::{session::backoff::chain, sys};

/// Facts by the kernel's names of interfaces and disks. The default knows none: what a tree of files tells alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// Addresses with prefix lengths, by interface.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// MAC addresses that NICs were made with, by interface.
    pub permanent_macs: BTreeMap<String, String>,
    /// Who announced itself, by interface.
    pub neighbours: BTreeMap<String, LldpNeighbour>,
    /// What disks say of themselves, by disk.
    pub health: BTreeMap<String, DiskHealth>,
    /// The management controller, by its own answers.
    pub bmc: Option<Bmc>,
}

impl Live {
    /// What the kernel knows without asking any device.
    #[must_use]
    pub fn now(root: &Path) -> Self {
        Self {
            addresses: addresses(),
            permanent_macs: permanent_macs(root),
            ..Self::default()
        }
    }

    /// Asks disks for their health, and the management controller for its address. Blocks, for some seconds when a
    /// device does not answer.
    #[must_use]
    pub fn of_devices(root: &Path, inventory: &Inventory) -> Self {
        Self {
            health: health::ask_all(root, &inventory.disks),
            bmc: bmc::ask(root),
            ..Self::default()
        }
    }

    /// Listens for neighbours on all NICs with a link, until each announced itself or the time is over.
    pub async fn of_neighbours(inventory: &Inventory, patience: Duration) -> Self {
        let nics: Vec<String> = inventory
            .nics
            .iter()
            .filter(|nic| nic.link_up)
            .map(|nic| nic.kernel_name.clone())
            .collect();
        let neighbours = lldp::listen(&nics, patience).await.unwrap_or_else(|error| {
            tracing::warn!(cause = chain(&error), "neighbours stay unknown");
            BTreeMap::new()
        });
        Self {
            neighbours,
            ..Self::default()
        }
    }

    /// Adds what devices and neighbours told.
    pub fn complete(&self, inventory: &mut Inventory) {
        for disk in &mut inventory.disks {
            if let Some(health) = self.health.get(&disk.kernel_name) {
                disk.health = Some(health.clone());
            }
        }
        for nic in &mut inventory.nics {
            if let Some(neighbour) = self.neighbours.get(&nic.kernel_name) {
                nic.lldp = Some(neighbour.clone());
            }
        }
        if let Some(bmc) = &self.bmc {
            inventory.bmc = Some(bmc.clone());
        }
    }
}

fn permanent_macs(root: &Path) -> BTreeMap<String, String> {
    let Ok(handle) = sys::ethtool::Handle::open() else {
        return BTreeMap::new();
    };
    nics::names(root)
        .into_iter()
        .filter_map(|name| {
            let mac = handle.permanent_mac(&name).ok()??;
            Some((name, shown_mac(&mac)))
        })
        .collect()
}

/// Addresses of all interfaces with their prefix lengths, loopback left out.
fn addresses() -> BTreeMap<String, Vec<String>> {
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
