//! cloud-init's own code as an oracle: what it reads of our network-config, and where its renderers and ours differ.

use std::{collections::BTreeMap, fs, path::Path};

use imprint_network::{
    Format, Network,
    model::{Kind, is_ipv6},
    read,
    render::{cloud_init_loses, render},
};
use serde_json::{Value, json};

use crate::{cases, programs, text};

/// Systems that cloud-init has renderers for.
const SYSTEMS: [Format; 5] = [
    Format::Netplan,
    Format::Networkd,
    Format::NetworkManager,
    Format::Ifupdown,
    Format::Ifcfg,
];

fn ask(programs: &programs::Programs, network: &Network, network_data: Option<&str>) -> Value {
    let macs: BTreeMap<String, String> = network
        .links
        .iter()
        .filter_map(|(name, link)| Some((link.nic()?.mac?.to_string(), name.to_string())))
        .collect();
    let ours: BTreeMap<&str, BTreeMap<String, String>> = SYSTEMS
        .iter()
        .map(|format| {
            let files = render(network, *format).files;
            (
                format.word(),
                files.into_iter().map(|file| (file.path, file.content)).collect(),
            )
        })
        .collect();
    let question = json!({
        "text": render(network, Format::CloudInit).files[0].content,
        "macs": macs,
        "ours": ours,
        "network_data": network_data,
    });
    let mut command = std::process::Command::new("/usr/bin/python3");
    programs.with_libraries(&mut command);
    let output = command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/oracle.py"))
        .env("PYTHONPATH", programs.path("usr/lib/python3/dist-packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(programs::given(&question.to_string()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines(facts: &Value) -> Vec<String> {
    let facts = facts.as_array().unwrap().iter();
    facts.map(|fact| fact.as_str().unwrap().to_owned()).collect()
}

/// The facts of the model that cloud-init's reader knows: tables, rules and what routers say are beyond it.
fn facts(network: &Network) -> Vec<String> {
    let mut facts = Vec::new();
    for (name, link) in &network.links {
        let mut put = |fact: String| facts.push(format!("{name} {fact}"));
        if let Some(mtu) = link.mtu {
            put(format!("mtu {mtu}"));
        }
        match &link.kind {
            Kind::Nic(_) | Kind::Bridge(_) => {}
            Kind::Bond(bond) => put(format!("bond mode {}", bond.mode.word())),
            Kind::Vlan(vlan) => put(format!("vlan {} on {}", vlan.id, vlan.parent)),
        }
        if let Some((master, _)) = network.master(name) {
            put(format!("member of {master}"));
        }
        let ip = &link.ip;
        if ip.dhcp4.is_some() {
            put("dhcp4".to_owned());
        }
        if ip.dhcp6.is_some() {
            put("dhcp6".to_owned());
        }
        for address in &ip.addresses {
            put(format!("address {address}"));
        }
        for route in &ip.routes {
            let via = route.via.map_or_else(|| "-".to_owned(), |via| via.to_string());
            let metric = route.metric.map(|metric| format!(" metric {metric}"));
            let family = if is_ipv6(&route.to) { "::/0" } else { "0.0.0.0/0" };
            let to = if route.is_default() {
                family.to_owned()
            } else {
                route.to.to_string()
            };
            put(format!("route {to} via {via}{}", metric.unwrap_or_default()));
        }
        for server in &ip.servers {
            put(format!("dns {server}"));
        }
    }
    facts.sort();
    facts.dedup();
    facts
}

fn difference(ours: &[String], theirs: &[String]) -> String {
    let mut out = String::new();
    for fact in ours.iter().filter(|fact| !theirs.contains(fact)) {
        out.push_str(&format!("    ours:   {fact}\n"));
    }
    for fact in theirs.iter().filter(|fact| !ours.contains(fact)) {
        out.push_str(&format!("    theirs: {fact}\n"));
    }
    out
}

/// All differences, each of them explained in docs/network.md.
#[test]
fn cloud_init_agrees_but_for_known_differences() {
    let Some(programs) = programs::find() else { return };
    let mut out = String::new();
    for (name, network) in cases() {
        let answer = ask(&programs, &network, None);
        let mut told = |what: &str, difference: String| {
            if !difference.is_empty() {
                out.push_str(&format!("{name}, {what}\n{difference}"));
            }
        };
        told(
            "the network-config as it is read",
            difference(&facts(&network), &lines(&answer["state"])),
        );
        for format in SYSTEMS {
            let word = format.word();
            let difference = difference(&lines(&answer["ours"][word]), &lines(&answer["theirs"][word]));
            // Whatever is lost, the finishing of an installation knows of.
            let known = cloud_init_loses(&network, format);
            assert!(
                known.is_some() || difference.is_empty(),
                "{name}, {word}:\n{difference}"
            );
            told(&format!("written for {word}"), difference);
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network_data");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let data = fs::read_to_string(&file).unwrap();
        let network = read(data.as_bytes()).unwrap().network;
        let answer = ask(&programs, &network, Some(&data));
        let difference = difference(&facts(&network), &lines(&answer["state"]));
        if !difference.is_empty() {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            out.push_str(&format!("{name}\n{difference}"));
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!("cloud_init_differences", out);
    });
}
