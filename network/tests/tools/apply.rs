//! Networks brought up in network namespaces of their own, and what the kernel has then.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use imprint_network::{
    Format, LinkName, Network,
    model::{MAIN_TABLE, is_ipv6},
};
use serde_json::Value;

use crate::{case, cases, programs, text, write};

/// The head of each script: interfaces with the addresses of the cases. `$1` is the folder of the files.
const INTERFACES: &str = "\
    set -eu\n\
    mount -t sysfs -o ro sysfs /sys\n\
    mount -t tmpfs tmpfs /run\n\
    ip link set lo up\n\
    for n in 0 1; do\n\
      ip link add lan$n address 52:54:00:00:00:0$((n + 1)) type veth peer name peer$n\n\
      ip link set peer$n up\n\
    done\n";

/// The tail: what the kernel has.
const STATE: &str = "\
    echo STATE\n\
    ip -j -d link; ip -j addr; ip -j -4 route show table all; ip -j -6 route show table all; ip -j -4 rule; ip -j -6 rule\n";

/// systemd-networkd with the given files, until the condition `$2` holds or 15 s are over.
const NETWORKD: &str = "\
    mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/systemd/network\n\
    chown -R systemd-network /run/systemd/netif\n\
    mount --bind \"$1/etc/systemd/network\" /etc/systemd/network\n\
    /lib/systemd/systemd-networkd & daemon=$!\n\
    n=0\n\
    until sh -c \"$2\" || [ $n -ge 150 ]; do sleep 0.1; n=$((n + 1)); done\n\
    kill $daemon\n\
    wait $daemon || true\n";

const IFUP: &str =
    "\"$2\" --all --force --no-scripts --interfaces \"$1/etc/network/interfaces\" --state-dir /run\n";

/// What is brought up was spoilt behind ifupdown's back, and is taken down and brought up as the guest plugin does it.
const IFUP_AGAIN: &str = "\
    ip link delete br0 2>/dev/null || true\n\
    for n in 0 1; do ip address flush dev lan$n; ip link set lan$n down; done\n\
    \"$3\" --all --force --ignore-errors --exclude=lo --no-scripts --interfaces \"$1/etc/network/interfaces\" --state-dir /run\n\
    \"$2\" --all --no-scripts --interfaces \"$1/etc/network/interfaces\" --state-dir /run\n";

/// What the kernel had.
struct Kernel {
    links: Vec<Value>,
    addresses: Vec<Value>,
    routes: Vec<Value>,
    rules: Vec<Value>,
    log: String,
}

/// Runs a script in namespaces of its own; nothing if that may not be done here.
fn run(script: &str, arguments: &[&Path], libraries: Option<&programs::Programs>) -> Option<Kernel> {
    let allowed = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) || !Path::new("/lib/systemd/systemd-networkd").exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this needs root, and systemd-networkd"
        );
        eprintln!("not tried: this needs root, and systemd-networkd");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args([
            "--net",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args(arguments);
    if let Some(programs) = libraries {
        programs.with_libraries(&mut command);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let (_, state) = stdout.split_once("STATE\n").unwrap();
    let mut parts = serde_json::Deserializer::from_str(state)
        .into_iter::<Vec<Value>>()
        .map(Result::unwrap);
    let mut next = || parts.next().unwrap();
    let (links, addresses) = (next(), next());
    let routes = [next(), next()].concat();
    let rules = [next(), next()].concat();
    Some(Kernel {
        links,
        addresses,
        routes,
        rules,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The kernel has every address, route and rule of the network, and the sizes of its links.
fn compare(kernel: &Kernel, network: &Network) {
    let named = |list: &[Value], name: &LinkName| -> Value {
        let found = list.iter().find(|entry| entry["ifname"] == name.as_str());
        found
            .unwrap_or_else(|| panic!("no {name}:\n{}", kernel.log))
            .clone()
    };
    for (name, link) in &network.links {
        let shown = named(&kernel.links, name);
        if let Some(mtu) = link.mtu {
            assert_eq!(shown["mtu"], mtu, "{name}");
        }
        if let Some((master, _)) = network.master(name) {
            assert_eq!(shown["master"], master.as_str(), "{name}");
        }
        if let Some(mac) = network.effective_mac(name) {
            assert_eq!(shown["address"], mac.to_string(), "{name}");
        }
        let addresses = named(&kernel.addresses, name);
        for address in &link.ip.addresses {
            let found = addresses["addr_info"].as_array().unwrap().iter().any(|info| {
                info["local"] == address.addr().to_string() && info["prefixlen"] == address.prefix_len()
            });
            assert!(
                found,
                "{address} is missing on {name}:\n{addresses:#}\n{}",
                kernel.log
            );
        }
        for route in &link.ip.routes {
            let table = route.table.unwrap_or(MAIN_TABLE);
            let found = kernel.routes.iter().any(|shown| {
                let to = match shown["dst"].as_str().unwrap() {
                    "default" => route.is_default(),
                    host if !host.contains('/') => *host == route.to.addr().to_string() && is_host(&route.to),
                    net => net == route.to.to_string(),
                };
                let family = shown["gateway"]
                    .as_str()
                    .is_none_or(|gateway| gateway.contains(':') == is_ipv6(&route.to));
                let gateway =
                    shown["gateway"].as_str().map(str::to_owned) == route.via.map(|via| via.to_string());
                let metric = route.metric.is_none_or(|metric| shown["metric"] == metric);
                let shown_table = shown["table"]
                    .as_str()
                    .map_or(MAIN_TABLE, |table| table.parse().unwrap_or(0));
                to && family && gateway && metric && shown_table == table && shown["dev"] == name.as_str()
            });
            assert!(
                found,
                "{route:?} is missing:\n{:#?}\n{}",
                kernel.routes, kernel.log
            );
        }
        for rule in &link.ip.rules {
            let found = kernel.rules.iter().any(|shown| {
                let from = rule.from.unwrap();
                shown["src"] == from.addr().to_string()
                    && shown["srclen"] == from.prefix_len()
                    && shown["table"].as_str().and_then(|table| table.parse().ok()) == Some(rule.table)
                    && rule.priority.is_none_or(|priority| shown["priority"] == priority)
            });
            assert!(found, "{rule:?} is missing:\n{:#?}", kernel.rules);
        }
    }
}

fn is_host(net: &ipnet::IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// systemd-networkd understands every line of every case.
#[test]
fn networkd_knows_every_key() {
    for (name, network) in cases() {
        let root = tempfile::tempdir().unwrap();
        write(&network, Format::Networkd, root.path());
        // Files are read before it says that it is ready for anything.
        let script = format!("{INTERFACES}{NETWORKD}{STATE}");
        let ready = Path::new("test -s /run/systemd/netif/state");
        let Some(kernel) = run(&script, &[root.path(), ready], None) else {
            return;
        };
        for line in kernel.log.lines() {
            let bad = ["Unknown", "Failed to parse", "Invalid", "gnoring"]
                .iter()
                .any(|word| line.contains(word));
            assert!(!bad || !line.contains("imprint"), "{name}: {line}");
        }
    }
}

#[test]
fn networkd_brings_it_up() {
    for name in ["static", "two_nics"] {
        // Only configuration uses these names here: networkd finds interfaces by their addresses.
        let mut network = case(name);
        let root = tempfile::tempdir().unwrap();
        write(&network, Format::Networkd, root.path());
        if name == "two_nics" {
            let links = ["front", "back"].map(|name| network.links.remove(&name.parse().unwrap()).unwrap());
            network.links = ["lan0", "lan1"]
                .map(|name| name.parse().unwrap())
                .into_iter()
                .zip(links)
                .collect();
        }
        let (last, address) = if name == "static" {
            (0, "2001:db8::10")
        } else {
            (1, "2001:db8:2::10")
        };
        // Routes of IPv6 come when the address is known to be alone.
        let done = format!(
            "ip -6 addr show dev lan{last} -tentative | grep -q {address} && ip -6 route show table all | grep -q 'default via'"
        );
        let script = format!("{INTERFACES}{NETWORKD}{STATE}");
        let Some(kernel) = run(&script, &[root.path(), Path::new(&done)], None) else {
            return;
        };
        compare(&kernel, &network);
    }
}

#[test]
fn ifupdown_brings_it_up() {
    let Some(programs) = programs::find() else { return };
    for name in ["static", "bridge_nics"] {
        let network = case(name);
        let root = tempfile::tempdir().unwrap();
        write(&network, Format::Ifupdown, root.path());
        for again in ["", IFUP_AGAIN] {
            let script = format!("{INTERFACES}{IFUP}{again}{STATE}");
            let (ifup, ifdown) = (programs.path("sbin/ifup"), programs.path("sbin/ifdown"));
            let Some(kernel) = run(&script, &[root.path(), &ifup, &ifdown], Some(&programs)) else {
                return;
            };
            compare(&kernel, &network);
        }
    }
}
