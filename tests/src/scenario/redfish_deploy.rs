//! A server that nobody touches: its BMC switches it on for the controller, from the network once, and off for the operator.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{deploy, fault};
use crate::bmc::BmcSpec;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio);
    let spec = NodeSpec::new(Firmware::Uefi, disk).with_bmc(BmcSpec::Redfish);
    let mut node = lab.build(spec.clone())?;
    node.plug_into_mains()?;
    ensure!(!node.has_power()?, "a server that was just plugged in is on");

    // Known before it was ever seen, and switched on by an operator.
    lab.cli.json(&["node", "announce", "web-1", "--mac", &node.mac])?;
    set_bmc(&lab, &node, "web-1", &[])?;
    power(&lab, &["web-1", "on", "--boot", "pxe"])?;
    tell("announced; its BMC has switched it on, into the network");
    lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
    lab.wait_inventory(&node)?;
    let hardware = lab.cli.json(&["node", "bmc", "web-1", "--hardware"])?;
    ensure!(
        hardware["vendor"] == "Imprint" && hardware["power"] == "on",
        "the BMC says: {hardware}"
    );
    power(&lab, &["web-1", "off", "--force"])?;
    ensure!(!node.has_power()?, "the server is on after `off --force`");
    tell("called, and switched off");

    // Its order is disk first: without the BMC it would not come.
    let id = fault::order(&lab, &node)?;
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    let facts = lab.wait_state(&mut node, "active", patience::SHORT)?;
    tell("ordered while it was off: the controller has switched it on, and it is active");
    let named = Value::from("web-1");
    ensure!(
        done["first_boot"]["hostname"] == named,
        "reported host name: {}",
        done["first_boot"]
    );
    ensure!(
        facts["problem"].is_null(),
        "an active node has a problem: {}",
        facts["problem"]
    );
    let bmc = node.redfish()?;
    let resets = bmc.service.count("\"ResetType\":\"On\"");
    ensure!(
        resets == 2,
        "the server was switched on {resets} times: {:?}",
        bmc.service.log()
    );
    ensure!(
        bmc.service.boot().0 == "Disabled",
        "the override is left: {:?}",
        bmc.service.boot()
    );
    ensure!(bmc.service.sessions().0 == 0, "a session of the BMC is left");

    // A system that runs is installed anew: off, network once, on.
    let mut words = lab
        .cli
        .deploy_arguments(&[&node.mac], &fault::plain_order(&lab))?;
    words.push("--reinstall".to_owned());
    let again = lab
        .cli
        .json(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    // One order may start several deployments; here it is one.
    let id = again[0]["id"].as_str().or(again["id"].as_str());
    let id = id.context("the deployment has no id")?.to_owned();
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    tell("the running system was replaced by another one");
    let address = deploy::address(&done)?;
    lab.key.run(&address, "true", patience::SHORT)?;

    power(&lab, &["web-1", "off"])?;
    ensure!(!node.has_power()?, "the server is on after `off`");
    tell("its system has shut down, and the server is off");
    Ok(())
}

/// The power fails in mid-write and comes back without the server, as with many firmwares: its BMC switches it on.
pub fn power_fails(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio).slow(30);
    let mut node = lab.build(NodeSpec::new(Firmware::Uefi, disk).with_bmc(BmcSpec::Redfish))?;
    node.plug_into_mains()?;
    lab.cli.json(&["node", "announce", "web-1", "--mac", &node.mac])?;
    set_bmc(&lab, &node, "web-1", &[])?;
    power(&lab, &["web-1", "on", "--boot", "pxe"])?;
    lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
    let id = fault::order(&lab, &node)?;
    lab.wait_written(&mut node, &id, 33)?;
    node.loses_power()?;
    ensure!(!node.has_power()?, "the server is on without power");
    tell("the power has failed in mid-write, and nobody comes");
    let done = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    ensure!(done["attempt"] == 2, "it took {} attempts", done["attempt"]);
    tell("its BMC has switched it on again, and it is active");
    Ok(())
}

/// Tells the controller of a node's BMC, as operators do it: what the BMC shows is named, compared, and then trusted.
pub(super) fn set_bmc(lab: &Lab, node: &Node, name: &str, more: &[&str]) -> Result<()> {
    let bmc = node.access()?;
    let file = password_file(lab, bmc.password)?;
    let words = [
        "node",
        "set-bmc",
        name,
        bmc.address,
        "--user",
        bmc.user,
        "--password-file",
        &file,
    ];
    let words = [&words, more].concat();
    lab.cli.json(&words)?;
    let shown = interrupt::until("the BMC to answer", patience::SHORT, || {
        let shown = lab.cli.json(&["node", "power", name, "status"])?;
        let remedy = shown["remedy"].as_str().unwrap_or_default();
        Ok(remedy.contains(bmc.fingerprint).then_some(shown))
    });
    shown.explain(|| lab.picture(node))?;
    lab.cli
        .json(&[&words[..], &["--fingerprint", bmc.fingerprint]].concat())?;
    let power = interrupt::until("the BMC to answer", patience::SHORT, || {
        let power = lab.cli.json(&["node", "power", name, "status"])?;
        Ok((power["state"] == "off").then_some(power))
    });
    power.explain(|| lab.picture(node)).map(drop)
}

/// A file for `--password-file` that nobody else can read.
pub(super) fn password_file(lab: &Lab, password: &str) -> Result<String> {
    let file = lab.folder().join("bmc.password");
    let mut made = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&file)?;
    writeln!(made, "{password}")?;
    Ok(file.display().to_string())
}

/// `imprint node power`, with these words.
pub(super) fn power(lab: &Lab, words: &[&str]) -> Result<Value> {
    lab.cli.json(&[&["node", "power"], words].concat())
}
