//! An older server, whose BMC speaks IPMI alone: it is switched on into the network, deployed, and switched off by nobody's hand;
//! what it writes on its serial console comes by Serial over LAN into the deployment's log.

use anyhow::{Result, ensure};

use super::fault;
use super::redfish_deploy::{password_file, power};
use super::sushy_deploy::console_is_kept;
use crate::bmc::BmcSpec;
use crate::disk::{DiskKind, DiskSpec};
use crate::ipmi;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, NodeSpec};
use crate::story::tell;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let spec = NodeSpec::new(Firmware::Uefi, DiskSpec::new(DiskKind::Virtio)).with_bmc(BmcSpec::Ipmi);
    let mut node = lab.build(spec)?;
    node.plug_into_mains()?;
    ensure!(!node.has_power()?, "a server that was just plugged in is on");
    lab.cli.json(&["node", "announce", "web-1", "--mac", &node.mac])?;
    let file = password_file(&lab, ipmi::PASSWORD)?;
    lab.cli.json(&[
        "node",
        "set-bmc",
        "web-1",
        &node.ipmi()?.address,
        "--kind",
        "ipmi",
        "--user",
        ipmi::USER,
        "--password-file",
        &file,
        "--serial-over-lan",
        "--quirk",
        "cipher-suite=3",
    ])?;
    power(&lab, &["web-1", "on", "--boot", "pxe"])?;
    lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
    tell("its BMC has switched it on, into the network");
    power(&lab, &["web-1", "off", "--force"])?;
    ensure!(!node.has_power()?, "the server is on after `off --force`");

    // Its order is disk first: without the BMC it would not come.
    let id = fault::order(&lab, &node)?;
    lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    tell("ordered while it was off: the controller has switched it on, and it is active");
    console_is_kept(&lab, &id)?;
    power(&lab, &["web-1", "off"])?;
    ensure!(!node.has_power()?, "the server is on after `off`");
    tell("its system has shut down, and the server is off");
    Ok(())
}
