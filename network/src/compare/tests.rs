use super::*;
use crate::read;

const TEXT: &str = "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:01'}}\n  b: {match: {macaddress: '52:54:00:00:00:02'}}\nbonds:\n  bond0: {interfaces: [a, b], parameters: {mode: active-backup}, mtu: 9000, dhcp4: true}\nvlans:\n  v: {id: 5, link: bond0, addresses: [192.0.2.5/24], routes: [{to: default, via: 192.0.2.1, metric: 7}]}\n";

fn mac(last: u8) -> Option<MacAddress> {
    Some(MacAddress::new([0x52, 0x54, 0, 0, 0, last]))
}

fn link(index: u32, name: &str) -> KernelLink {
    KernelLink {
        index,
        name: name.to_owned(),
        up: true,
        carrier: true,
        mtu: 9000,
        ..KernelLink::default()
    }
}

/// Everything as it should be: interfaces keep the kernel's names, and members have the address of the bond.
fn right() -> Kernel {
    let member = |index, name, last| KernelLink {
        mac: mac(1),
        permanent_mac: mac(last),
        master: Some(4),
        ..link(index, name)
    };
    let bond = KernelLink {
        kind: Some("bond".into()),
        mac: mac(1),
        addresses: vec!["10.0.0.9/24".parse().unwrap()],
        ..link(4, "bond0")
    };
    let vlan = KernelLink {
        kind: Some("vlan".into()),
        mac: mac(1),
        vlan: Some(5),
        parent: Some(4),
        addresses: vec!["192.0.2.5/24".parse().unwrap()],
        ..link(5, "v")
    };
    Kernel {
        links: vec![bond, vlan, member(2, "enp1s0", 1), member(3, "enp2s0", 2)],
        routes: vec![KernelRoute {
            to: "0.0.0.0/0".parse().unwrap(),
            via: Some("192.0.2.1".parse().unwrap()),
            link: 5,
            metric: 7,
            table: 254,
        }],
    }
}

fn told(kernel: &Kernel) -> Vec<String> {
    let network = read(TEXT.as_bytes()).unwrap().network;
    compare(&network, kernel)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn each_sabotage_is_told() {
    assert_eq!(told(&right()), [""; 0]);
    type Sabotage = fn(&mut Kernel);
    let cases: [(Sabotage, &str); 10] = [
        (
            |kernel| kernel.links[1].addresses.clear(),
            "v: the address 192.0.2.5/24 is gone",
        ),
        (
            |kernel| kernel.routes.clear(),
            "v: the route to 0.0.0.0/0 via 192.0.2.1 is gone",
        ),
        (
            |kernel| kernel.routes[0].metric = 8,
            "v: the route to 0.0.0.0/0 via 192.0.2.1 is gone",
        ),
        (|kernel| kernel.links[0].up = false, "bond0: it is down"),
        (|kernel| kernel.links[2].carrier = false, "a: it has no carrier"),
        (|kernel| kernel.links[1].vlan = Some(6), "v: its VLAN is 6, not 5"),
        (
            |kernel| kernel.links[3].master = None,
            "b: it is no member of bond0",
        ),
        (
            |kernel| kernel.links[0].mtu = 1500,
            "bond0: its MTU is 1500, not 9000",
        ),
        (
            |kernel| kernel.links[0].addresses = vec!["169.254.1.1/16".parse().unwrap()],
            "bond0: it has no address from DHCP",
        ),
        (
            |kernel| kernel.links[3].permanent_mac = mac(9),
            "b: there is no such interface",
        ),
    ];
    for (sabotage, expected) in cases {
        let mut kernel = right();
        sabotage(&mut kernel);
        assert_eq!(told(&kernel), [expected]);
    }
}
