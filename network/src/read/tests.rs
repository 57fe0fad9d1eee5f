//! What is read, and what is said of what cannot be.

use super::*;
use crate::{
    MacAddress,
    model::{BondMode, Kind, Route},
};

fn network(text: &str) -> Network {
    read(text.as_bytes())
        .unwrap_or_else(|refused| panic!("{refused}\n{text}"))
        .network
}

fn errors(text: &str) -> String {
    match read(text.as_bytes()) {
        Ok(read) => panic!("taken: {read:?}"),
        Err(refused) => refused.to_string(),
    }
}

fn warnings(text: &str) -> String {
    let read = read(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}"));
    read.warnings
        .iter()
        .map(|warning| format!("{warning}\n"))
        .collect()
}

/// The text is refused for a reason, in a line, at a path.
#[test]
fn faults_of_network_config() {
    for (text, line, part) in [
        ("", 0, "it is empty"),
        ("version: 1\nconfig: []\n", 1, "version 1 is not read"),
        ("ethernets: {}\n", 1, "does not say `version: 2`"),
        ("- a\n", 1, "a mapping is expected"),
        ("version: 2\nethernets: {}\n", 0, "there is no link"),
        ("version: 2\nethernets:\n  a: [\n", 4, "did not find"),
        ("version: 2\nversion: 2\n", 2, "`version` is there twice"),
        ("version: 2\nethernet: {}\n", 2, "`ethernet`: this cannot be used"),
        ("version: 2\nwifis: {}\nethernets: {a: {}}\n", 2, "`wifis`"),
        (
            "version: 2\nethernets: [a]\n",
            2,
            "`ethernets`: a mapping is expected here, not a list",
        ),
        (
            "version: 2\nethernets:\n  a: {dhcp: true}\n",
            3,
            "`ethernets.a.dhcp`: this cannot be used",
        ),
        (
            "version: 2\nethernets:\n  a:\n    dhcp4: maybe\n",
            4,
            "\"maybe\" is neither `true` nor `false`",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.5]\n",
            4,
            "`ethernets.a.addresses[0]`: \"10.0.0.5\" is no address",
        ),
        (
            "version: 2\nethernets:\n  a:\n    dhcp4: true\n    mtu: 3\n",
            5,
            "`ethernets.a.mtu`: 3 is no MTU",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: ['fd00::5/64']\n    mtu: 1000\n",
            5,
            "too small for IPv6",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.0/24]\n",
            4,
            "the subnet itself",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.255/24]\n",
            4,
            "the broadcast address",
        ),
        (
            "version: 2\nethernets:\n  a: {addresses: [10.0.0.5/24]}\n  b:\n    addresses: [10.0.0.5/24]\n",
            5,
            "`a` has 10.0.0.5 already",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.5/24]\n    routes:\n      - {to: default, via: 10.0.1.1}\n",
            6,
            "no subnet of the link has the gateway 10.0.1.1",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.5/24]\n    routes:\n      - {to: 'fd00::/8', via: 10.0.0.1}\n",
            6,
            "not of one family",
        ),
        (
            "version: 2\nethernets:\n  a:\n    routes:\n      - {to: default}\n",
            5,
            "of no family",
        ),
        (
            "version: 2\nethernets:\n  a:\n    addresses: [10.0.0.5/24]\n    gateway6: 10.0.0.1\n",
            5,
            "not of this family",
        ),
        ("version: 2\nvlans:\n  v: {id: 5}\n", 3, "a VLAN needs its `link`"),
        (
            "version: 2\nvlans:\n  v: {id: 4095, link: a}\n",
            3,
            "4095 is no VLAN",
        ),
        (
            "version: 2\nvlans:\n  v: {id: 1, link: w}\n  w: {id: 2, link: v}\n",
            3,
            "rests on itself",
        ),
        (
            "version: 2\nethernets:\n  a: {mtu: 1500}\nvlans:\n  v: {id: 5, link: a, mtu: 9000}\n",
            5,
            "more than the 1500 of `a`",
        ),
        ("version: 2\nbonds:\n  b: {interfaces: []}\n", 3, "never comes up"),
        (
            "version: 2\nbonds:\n  b: {interfaces: [x, y], parameters: {mode: fast}}\n",
            3,
            "known are balance-rr,",
        ),
        (
            "version: 2\nbonds:\n  b: {interfaces: [x, y], parameters: {lacp-rate: fast}}\n",
            3,
            "no place with mode balance-rr",
        ),
        (
            "version: 2\nbonds:\n  b: {interfaces: [x, y], parameters: {mode: active-backup, primary: z}}\n",
            3,
            "`z` is no member",
        ),
        (
            "version: 2\nethernets:\n  x: {dhcp4: true}\nbonds:\n  b: {interfaces: [x, y]}\n",
            3,
            "a member of `b` and can have no addresses",
        ),
        (
            "version: 2\nbonds:\n  b: {interfaces: [x, y]}\n  c: {interfaces: [y, z]}\n",
            4,
            "`y` is a member of `b` already",
        ),
        (
            "version: 2\nbridges:\n  b: {interfaces: [x], parameters: {stp: true, forward-delay: 1}}\n",
            3,
            "2 to 30 s",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {macaddress: nothing}}\n",
            3,
            "is not an Ethernet address",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {driver: virtio}}\n",
            3,
            "matched by `macaddress` or `name`",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {name: 'en*'}, set-name: b}\n",
            3,
            "can be renamed",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:01'}}\n  b: {match: {macaddress: '52:54:00:00:00:01'}}\n",
            4,
            "address of `a` as well",
        ),
        (
            "version: 2\nethernets:\n  a-name-that-is-far-too-long: {dhcp4: true}\n",
            3,
            "1 to 15 characters",
        ),
        (
            "version: 2\nethernets:\n  a: {nameservers: {addresses: [here]}}\n",
            3,
            "\"here\" is not an IP address",
        ),
        (
            "version: 2\nethernets:\n  a: {nameservers: {search: ['a b']}}\n",
            3,
            "no domain",
        ),
        ("version: 2\nethernets: {a: &x {dhcp4: *x}}\n", 2, "contains it"),
    ] {
        let refused = read(text.as_bytes())
            .map(|read| panic!("taken: {text}\n{read:?}"))
            .unwrap_err();
        let found = refused
            .errors
            .iter()
            .any(|problem| problem.to_string().contains(part) && (line == 0 || problem.line == Some(line)));
        assert!(found, "line {line}, {part}:\n{refused}\n{text}");
    }
}

#[test]
fn all_faults_at_once() {
    let text = "version: 2\nethernets:\n  a:\n    dhcp4: maybe\n    mtu: x\n    addresses: [1]\n  b: {accept-ra: 2, foo: 1}\n";
    let refused = read(text.as_bytes()).unwrap_err();
    let lines: Vec<Option<u32>> = refused.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [Some(4), Some(5), Some(6), Some(7), Some(7)]);
}

/// Written in other ways, it is the same network.
#[test]
fn forms_of_network_config() {
    let plain = "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    set-name: lan0\n    addresses: [10.0.0.5/24]\n    routes: [{to: 0.0.0.0/0, via: 10.0.0.1}]\nvlans:\n  v: {id: 5, link: lan0, dhcp4: true}\n";
    let expected = network(plain);
    for other in [
        // Wrapped; the keys in another order; the address without quotes, in base 60 to YAML 1.1.
        "network:\n  vlans:\n    v: {dhcp4: yes, link: lan0, id: 5}\n  ethernets:\n    lan0:\n      routes: [{via: 10.0.0.1, to: default}]\n      addresses: ['10.0.0.5/24']\n      set-name: lan0\n      match: {macaddress: 52:54:00:00:00:01}\n  version: 2\n",
        // By an identifier that only the text knows; an address that is out of use; capitals.
        "version: 2\nethernets:\n  some-identifier-of-a-tool:\n    match: {macaddress: '52:54:00:00:00:01'}\n    set-name: lan0\n    addresses: [10.0.0.5/24]\n    gateway4: 10.0.0.1\nvlans:\n  v: {id: '5', link: some-identifier-of-a-tool, dhcp4: True}\n",
        // JSON.
        "{\"version\": 2, \"ethernets\": {\"lan0\": {\"match\": {\"macaddress\": \"52-54-00-00-00-01\"}, \"set-name\": \"lan0\", \"addresses\": [\"10.0.0.5/24\"], \"routes\": [{\"to\": \"0.0.0.0/0\", \"via\": \"10.0.0.1\"}]}}, \"vlans\": {\"v\": {\"id\": 5, \"link\": \"lan0\", \"dhcp4\": true}}}",
        // What another part says already.
        "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    set-name: lan0\n    addresses: [&a 10.0.0.5/24]\n    routes: [{to: 0.0.0.0/0, via: 10.0.0.1, table: 254}, {to: 0.0.0.0/0, via: 10.0.0.1}]\nvlans:\n  v: {id: 5, link: lan0, dhcp4: true, dhcp6: false, optional: false, mtu: null}\n",
    ] {
        assert_eq!(network(other), expected, "{other}");
    }
}

#[test]
fn warnings_name_what_is_weak() {
    for (text, part) in [
        ("version: 2\nethernets: {a: {dhcp4: true}}\n", "found by its name"),
        (
            "version: 2\nethernets: {a: {addresses: [10.0.0.5/24], gateway4: 10.0.0.1}}\n",
            "out of use",
        ),
        (
            "version: 2\nrenderer: networkd\nethernets: {a: {}}\n",
            "`renderer`: it is left out",
        ),
        (
            "version: 2\nbonds: {b: {interfaces: [x], parameters: {mii-monitor-interval: 100}}}\n",
            "survives nothing",
        ),
        (
            "version: 2\nethernets: {a: {addresses: [10.0.0.5/24], routes: [{to: 10.9.8.7/8, via: 10.0.0.1}]}}\n",
            "taken as 10.0.0.0/8",
        ),
        (
            "version: 2\nethernets: {a: {dhcp4-overrides: {use-dns: false}}}\n",
            "no effect without `dhcp4: true`",
        ),
        (
            "version: 2\nethernets:\n  a: {addresses: [10.0.0.5/24], routes: [{to: default, via: 10.0.0.1}]}\n  b: {addresses: [10.1.0.5/24], routes: [{to: default, via: 10.1.0.1}]}\n",
            "which one wins",
        ),
        (
            "version: 2\nethernets: {a: {dhcp4: true, routes: [{to: 10.0.0.0/8, via: 10.0.0.1, table: 7}]}}\n",
            "nothing asks table 7",
        ),
    ] {
        let found = warnings(text);
        assert!(found.contains(part), "{part}:\n{found}");
    }
}

#[test]
fn aliases_do_not_grow_without_end() {
    let mut text = "version: 2\nethernets:\n  a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("  a{level}: &a{level} [{items}]\n"));
    }
    assert!(errors(&text).contains("more than 50000 values"));
    assert!(errors(&"[".repeat(100)).contains("levels"));
    assert!(read("[".repeat(MAX_TEXT).as_bytes()).is_err());
    assert!(errors(&" ".repeat(MAX_TEXT + 1)).contains("bytes"));
    assert!(
        read(b"version: 2\n\n\xff")
            .unwrap_err()
            .to_string()
            .contains("line 3: it is not UTF-8")
    );
}

/// What public clouds send, in the shapes that they send.
#[test]
fn openstack_shapes() {
    let text = include_str!("../../tests/network_data/bond_of_strings.json");
    let read = read(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(read.source, Source::OpenStack);
    let network = read.network;
    let names: Vec<String> = network.links.keys().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["bond0", "bond0.2001", "enx525400000001", "enx525400000002"]
    );
    let Kind::Bond(bond) = &network.links[&"bond0".parse().unwrap()].kind else {
        panic!()
    };
    assert_eq!(
        (bond.mode, bond.miimon, bond.members.len()),
        (BondMode::Lacp, Some(100), 2)
    );
    let vlan = &network.links[&"bond0.2001".parse().unwrap()];
    assert_eq!(vlan.mac, Some(MacAddress::new([0x52, 0x54, 0, 0, 0, 0x42])));
    assert_eq!(
        vlan.ip.addresses,
        ["10.20.0.5/22".parse().unwrap(), "2001:db8::5/64".parse().unwrap()]
    );
    assert_eq!(vlan.ip.accept_ra, Some(false));
    let bond_ip = &network.links[&"bond0".parse().unwrap()].ip;
    let default = Route::new("0.0.0.0/0".parse().unwrap(), Some("203.0.113.1".parse().unwrap()));
    assert!(bond_ip.routes.contains(&Route {
        on_link: true,
        ..default
    }));
    // The name servers of the whole belong to what leads out, once each.
    assert_eq!(bond_ip.servers.len(), 2);
    assert!(vlan.ip.servers.is_empty());
}

#[test]
fn openstack_kinds_of_networks() {
    for (kind, dhcp4, dhcp6, accept_ra) in [
        ("ipv4_dhcp", true, false, None),
        ("ipv6_dhcp", false, true, Some(true)),
        ("ipv6_slaac", false, false, Some(true)),
        ("ipv6_dhcpv6-stateful", false, true, Some(true)),
        ("ipv6_dhcpv6-stateless", false, false, Some(true)),
    ] {
        // `cascading` is what one cloud calls its interfaces; identifiers are numbers in another.
        let text = format!(
            "{{\"links\": [{{\"id\": 7, \"type\": \"cascading\", \"mtu\": null, \"ethernet_mac_address\": \"FA:16:3E:00:00:01\"}}], \"networks\": [{{\"id\": \"network0\", \"link\": 7, \"type\": \"{kind}\"}}], \"services\": []}}"
        );
        let network = network(&text);
        let ip = &network.links[&"7".parse().unwrap()].ip;
        assert_eq!(
            (ip.dhcp4.is_some(), ip.dhcp6.is_some(), ip.accept_ra),
            (dhcp4, dhcp6, accept_ra),
            "{kind}"
        );
    }
}

#[test]
fn openstack_faults() {
    for (links, networks, line, part) in [
        ("{\"type\": \"phy\"}", "", 2, "a link needs its `id`"),
        ("{\"id\": \"a\"}", "", 2, "needs its `ethernet_mac_address`"),
        (
            "{\"id\": \"b\", \"type\": \"bond\", \"bond_links\": [\"x\"]}",
            "",
            2,
            "`links[0].bond_links[0]`: there is no link with the `id` \"x\"",
        ),
        (
            "{\"id\": \"b\", \"type\": \"bond\", \"bond_links\": [], \"bond_mode\": \"7\"}",
            "",
            2,
            "\"7\" is not known",
        ),
        (
            "{\"id\": \"v\", \"type\": \"vlan\", \"vlan_id\": 5, \"vlan_link\": \"x\"}",
            "",
            2,
            "no link with the `id` \"x\"",
        ),
        (
            "{\"id\": \"a\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}",
            "{\"link\": \"b\", \"type\": \"ipv4\"}",
            3,
            "no link with the `id` \"b\"",
        ),
        (
            "{\"id\": \"a\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}",
            "{\"link\": \"a\", \"type\": \"ipv4\"}",
            3,
            "needs its `ip_address`",
        ),
        (
            "{\"id\": \"a\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}",
            "{\"link\": \"a\", \"type\": \"ipv4\", \"ip_address\": \"10.0.0.5\"}",
            3,
            "needs its `netmask`",
        ),
        (
            "{\"id\": \"a\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}",
            "{\"link\": \"a\", \"type\": \"ipv4\", \"ip_address\": \"10.0.0.5\", \"netmask\": \"255.0.255.0\"}",
            3,
            "no netmask of 10.0.0.5",
        ),
        (
            "{\"id\": \"a\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}",
            "{\"link\": \"a\", \"type\": \"ipx\"}",
            3,
            "\"ipx\" is not known",
        ),
    ] {
        let text = format!("{{\"links\": [\n{links}], \"networks\": [\n{networks}]}}");
        let refused = read(text.as_bytes())
            .map(|read| panic!("taken: {text}\n{read:?}"))
            .unwrap_err();
        let found = refused
            .errors
            .iter()
            .any(|problem| problem.to_string().contains(part) && problem.line == Some(line));
        assert!(found, "line {line}, {part}:\n{refused}\n{text}");
    }
    assert!(errors("{\"links\": [\n{]}").contains("line 2"));
}

/// The order in which a cloud lists links, members, networks and services changes nothing.
#[test]
fn the_order_of_the_input_changes_nothing() {
    let text = include_str!("../../tests/network_data/bond_of_strings.json");
    let expected = network(text);
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    for _ in 0..4 {
        for list in ["links", "networks"] {
            document[list].as_array_mut().unwrap().rotate_left(1);
        }
        for link in document["links"].as_array_mut().unwrap() {
            if let Some(members) = link.get_mut("bond_links") {
                members.as_array_mut().unwrap().reverse();
            }
        }
        assert_eq!(network(&document.to_string()), expected);
    }
}
