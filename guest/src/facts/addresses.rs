//! Addresses of this machine that others can reach it by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::SockaddrStorage,
};

/// Addresses with prefix length, in the kernel's order; loopback and link-local are left out.
pub(super) fn read() -> Vec<String> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let mut found = Vec::new();
    for interface in all {
        if interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        if let Some(text) = reachable(&interface)
            && !found.contains(&text)
        {
            found.push(text);
        }
    }
    found
}

fn reachable(interface: &InterfaceAddress) -> Option<String> {
    let address = ip(interface.address.as_ref()?)?;
    let prefix = interface.netmask.as_ref().and_then(ip).map(prefix_length);
    describe(address, prefix)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    address
        .as_sockaddr_in()
        .map(|v4| IpAddr::V4(v4.ip()))
        .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn prefix_length(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => Ipv4Addr::to_bits(mask).leading_ones(),
        IpAddr::V6(mask) => Ipv6Addr::to_bits(mask).leading_ones(),
    }
}

fn describe(address: IpAddr, prefix: Option<u32>) -> Option<String> {
    let local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    if local {
        return None;
    }
    let prefix = prefix.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
    Some(format!("{address}/{prefix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_can_use_are_kept() {
        for (address, mask, expected) in [
            ("10.1.2.3", Some("255.255.255.0"), Some("10.1.2.3/24")),
            ("10.1.2.3", Some("255.255.254.0"), Some("10.1.2.3/23")),
            ("10.1.2.3", None, Some("10.1.2.3/32")),
            ("127.0.0.1", Some("255.0.0.0"), None),
            ("169.254.7.7", Some("255.255.0.0"), None),
            ("fe80::1", Some("ffff:ffff:ffff:ffff::"), None),
            ("::1", None, None),
            (
                "2001:db8::5",
                Some("ffff:ffff:ffff:ffff::"),
                Some("2001:db8::5/64"),
            ),
            ("fd77::5", None, Some("fd77::5/128")),
        ] {
            let prefix = mask.map(|mask| prefix_length(mask.parse().unwrap()));
            assert_eq!(
                describe(address.parse().unwrap(), prefix).as_deref(),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn the_running_machine_can_be_asked() {
        for address in read() {
            let (ip, prefix) = address.split_once('/').expect("an address has a prefix");
            assert!(
                ip.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok(),
                "{address}"
            );
        }
    }
}
