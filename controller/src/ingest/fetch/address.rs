//! Which addresses may be asked. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses that may be asked for a file: the public ones, and what the configuration adds.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

impl AddressPolicy {
    /// Public addresses, and those of these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Nothing when the address may be asked, else what it is.
    #[must_use]
    pub fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let plain = embedded(address);
        if self
            .allowed
            .iter()
            .any(|net| net.contains(&address) || net.contains(&plain))
        {
            return None;
        }
        match plain {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => v6(address),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, where gateways and kernels would turn one into the other.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, .., y, z] = v6.segments();
    let of = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        // IPv4-mapped and IPv4-compatible, but for :: and ::1.
        [0, 0, 0, 0, 0, 0xffff, ..] => of(y, z),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => of(y, z),
        // NAT64 (RFC 6052), also the local prefix (RFC 8215), and IPv4-translated (RFC 2765).
        [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => of(y, z),
        // 6to4: the address is behind the prefix.
        _ if a == 0x2002 => of(b, v6.segments()[2]),
        _ => address,
    }
}

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("a loopback address"),
        (10, ..) | (192, 168, _) => Some("a private address"),
        (172, 16..=31, _) => Some("a private address"),
        (169, 254, _) => Some("a link-local address"),
        (100, 64..=127, _) => Some("an address of a provider's own network"),
        (0, ..) => Some("an address of this network"),
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18..=19, _) | (192, 88, 99) => {
            Some("an address for special purposes")
        }
        (224.., ..) => Some("a multicast, broadcast or reserved address"),
        _ => None,
    }
}

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, ..] = address.segments();
    if address.is_loopback() {
        return Some("a loopback address");
    }
    match a {
        0xfc00..=0xfdff => Some("a private address"),
        0xfe80..=0xfebf => Some("a link-local address"),
        // Global unicast, but for Teredo, ORCHID, benchmarks and documentation.
        0x2000..=0x3fff if !matches!((a, b), (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff)) => None,
        _ => Some("not a public address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_58_only_public_addresses_may_be_asked_however_they_are_written() {
        let policy = AddressPolicy::default();
        for (address, what) in [
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.9", Some("loopback")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("64:ff9b:1::a00:1", Some("private")),
            ("2002:7f00:1::1", Some("loopback")),
            ("2002:a9fe:a9fe::", Some("link-local")),
            ("::ffff:0:169.254.169.254", Some("link-local")),
            ("10.1.2.3", Some("private")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.168.1.1", Some("private")),
            ("fd00::1", Some("private")),
            ("fd00:ec2::254", Some("private")),
            ("169.254.169.254", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("100.64.0.1", Some("provider")),
            ("0.0.0.0", Some("this network")),
            ("::", Some("not a public")),
            ("192.0.2.1", Some("special")),
            ("198.18.0.1", Some("special")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("multicast")),
            ("240.0.0.1", Some("multicast")),
            ("ff02::1", Some("not a public")),
            ("fec0::1", Some("not a public")),
            ("2001:db8::1", Some("not a public")),
            ("2001::1", Some("not a public")),
            ("8.8.8.8", None),
            ("172.32.0.1", None),
            ("100.128.0.1", None),
            ("2001:4860:4860::8888", None),
            ("2a00:1450::1", None),
            ("64:ff9b::808:808", None),
        ] {
            let refused = policy.refuses(address.parse().unwrap());
            assert_eq!(refused.is_some(), what.is_some(), "{address}: {refused:?}");
            assert!(
                refused.unwrap_or_default().contains(what.unwrap_or_default()),
                "{address}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_configuration_opens_networks_and_no_more() {
        let policy = AddressPolicy::new(vec![
            "10.1.0.0/16".parse().unwrap(),
            "fd00:1::/32".parse().unwrap(),
        ]);
        for (address, open) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
            ("127.0.0.1", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(
                policy.refuses(address.parse().unwrap()).is_none(),
                open,
                "{address}"
            );
        }
    }
}
