//! What the machine itself says about its networks, so that addresses need not be written twice.

use std::{io, net::Ipv4Addr};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

/// The IPv4 interfaces of this machine.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Every address of every interface that is up, loopback included.
    pub interfaces: Vec<HostInterface>,
}

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// "eth0"
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its netmask.
    pub netmask: Ipv4Addr,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

impl Host {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let mut interfaces = Vec::new();
        for entry in getifaddrs()? {
            let Some(address) = entry
                .address
                .as_ref()
                .and_then(|a| a.as_sockaddr_in())
                .map(|a| a.ip())
            else {
                continue;
            };
            if !entry.flags.contains(InterfaceFlags::IFF_UP) {
                continue;
            }
            let netmask = entry
                .netmask
                .as_ref()
                .and_then(|a| a.as_sockaddr_in())
                .map(|a| a.ip());
            interfaces.push(HostInterface {
                name: entry.interface_name,
                address,
                netmask: netmask.unwrap_or(Ipv4Addr::BROADCAST),
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            });
        }
        Ok(Self { interfaces })
    }

    /// The first address of an interface.
    pub fn by_name(&self, name: &str) -> Option<&HostInterface> {
        self.interfaces.iter().find(|i| i.name == name)
    }

    /// The interface that carries an address.
    pub fn by_address(&self, address: Ipv4Addr) -> Option<&HostInterface> {
        self.interfaces.iter().find(|i| i.address == address)
    }

    /// The interface, when there is just one beside loopback.
    pub fn only(&self) -> Option<&HostInterface> {
        let mut real = self.interfaces.iter().filter(|i| !i.loopback);
        let first = real.next()?;
        real.all(|i| i.name == first.name).then_some(first)
    }

    /// "eth0 (10.0.0.1), eth1 (10.1.0.1)", for messages.
    pub fn describe(&self) -> String {
        let mut names = Vec::new();
        for i in self.interfaces.iter().filter(|i| !i.loopback) {
            names.push(format!("{} ({})", i.name, i.address));
        }
        if names.is_empty() {
            "none with an IPv4 address".to_owned()
        } else {
            names.join(", ")
        }
    }
}
