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
        bond_mode: Some(BondMode::ActiveBackup),
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
    let cases: [(Sabotage, &str); 12] = [
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
            |kernel| kernel.links[0].bond_mode = Some(BondMode::BalanceRr),
            "bond0: its mode is balance-rr, not active-backup",
        ),
        (
            |kernel| {
                kernel.links.push(KernelLink {
                    master: Some(4),
                    ..link(9, "eth9")
                });
            },
            "bond0: eth9 is a member, and is not to be one",
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
            |kernel| {
                kernel.links[3].permanent_mac = mac(9);
                kernel.links[3].master = None;
            },
            "b: there is no such interface",
        ),
    ];
    for (sabotage, expected) in cases {
        let mut kernel = right();
        sabotage(&mut kernel);
        assert_eq!(told(&kernel), [expected]);
    }
}

/// What the system's programs would leave as it is, and what they see to themselves.
#[test]
fn what_stands_in_the_way_is_cleared_away() {
    let remove = |index, name: &str| Obstacle::Remove {
        index,
        name: name.to_owned(),
    };
    type Sabotage = fn(&mut Kernel);
    let cases: [(Sabotage, Vec<Obstacle>); 9] = [
        (|_| {}, vec![]),
        (|kernel| kernel.links[1].vlan = Some(6), vec![remove(5, "v")]),
        (|kernel| kernel.links[1].parent = Some(2), vec![remove(5, "v")]),
        (
            |kernel| kernel.links[0].bond_mode = Some(BondMode::BalanceRr),
            vec![remove(4, "bond0")],
        ),
        (
            |kernel| kernel.links[0].kind = Some("dummy".into()),
            vec![remove(4, "bond0")],
        ),
        (
            |kernel| {
                kernel.links[0].kind = Some("dummy".into());
                kernel.links[1].vlan = None;
            },
            vec![remove(5, "v"), remove(4, "bond0")],
        ),
        (
            |kernel| {
                kernel.links.push(KernelLink {
                    master: Some(4),
                    ..link(9, "eth9")
                });
            },
            vec![Obstacle::Release {
                index: 9,
                name: "eth9".to_owned(),
            }],
        ),
        // A bond that is gone takes its VLAN along; a member that was taken out is put back by the system's programs.
        (|kernel| drop(kernel.links.drain(..2)), vec![]),
        (|kernel| kernel.links[3].master = None, vec![]),
    ];
    let network = read(TEXT.as_bytes()).unwrap().network;
    for (sabotage, expected) in cases {
        let mut kernel = right();
        sabotage(&mut kernel);
        assert_eq!(obstacles(&network, &kernel), expected);
    }
}

#[test]
fn interfaces_get_the_names_that_the_system_knows_them_by() {
    let network = read(TEXT.as_bytes()).unwrap().network.renamed(|_| true);
    let rename = |index, name: &str, to: &str| Obstacle::Rename {
        index,
        name: name.to_owned(),
        to: to.parse().unwrap(),
    };
    let both = [rename(3, "enp2s0", "b"), rename(2, "enp1s0", "a")];
    assert_eq!(obstacles(&network, &right()), both);
    let mut kernel = right();
    kernel.links.push(link(8, "a"));
    assert_eq!(obstacles(&network, &kernel), both[..1], "the name is taken");
}
