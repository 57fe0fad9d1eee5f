//! Servers that nobody touches, and whose BMC somebody else has written: sushy-tools, which takes its time and knows no boot that
//! is once. Over the network, and from a virtual CD where the network has no PXE.

use anyhow::{Result, ensure};

use super::fault;
use super::redfish_deploy::{power, set_bmc};
use crate::bmc::BmcSpec;
use crate::disk::{DiskKind, DiskSpec};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::network::Addresses;
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// By PXE.
pub fn network(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let mut node = plugged_in(&mut lab, Firmware::Uefi, "web-1", &[])?;
    power(&lab, &["web-1", "on", "--boot", "pxe"])?;
    lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
    tell("sushy-tools have switched it on, into the network");
    deployed(&mut lab, &mut node, "web-1")
}

/// From a virtual CD, with Secure Boot and with a BIOS.
pub fn media(name: &str, parts: &Parts) -> Result<()> {
    let options = LabOptions {
        addresses: Addresses::Plain,
        ..LabOptions::default()
    };
    let mut lab = Lab::with_image(name, parts, &options)?;
    for (firmware, called) in [(Firmware::SecureUefi, "web-1"), (Firmware::Bios, "web-2")] {
        let mut node = plugged_in(&mut lab, firmware, called, &["--boot", "cd"])?;
        // Nobody has ever seen it: the CD is bound to what was announced.
        lab.cli.json(&["node", "media", called, "--ramdisk"])?;
        power(&lab, &[called, "on", "--boot", "cd"])?;
        lab.wait_state(&mut node, "available", patience::NETWORK_BOOT)?;
        tell(&format!("{called} has called from its CD"));
        power(&lab, &[called, "off", "--force"])?;
        lab.cli.json(&["node", "media", called, "--eject"])?;
        deployed(&mut lab, &mut node, called)?;
        let log = node.serial();
        ensure!(
            log.contains("boots the ramdisk from its CD"),
            "it did not boot its CD: {}",
            lab.picture(&node)
        );
        ensure!(!node.has_cd()?, "the CD is still in its drive");
    }
    Ok(())
}

/// A server that is off, known by its address alone.
fn plugged_in(lab: &mut Lab, firmware: Firmware, called: &str, more: &[&str]) -> Result<Node> {
    let spec = NodeSpec::new(firmware, DiskSpec::new(DiskKind::Virtio)).with_bmc(BmcSpec::Sushy);
    let mut node = lab.build(spec)?;
    node.plug_into_mains()?;
    ensure!(!node.has_power()?, "a server that was just plugged in is on");
    lab.cli.json(&["node", "announce", called, "--mac", &node.mac])?;
    set_bmc(lab, &node, called, more)?;
    Ok(node)
}

/// Ordered, active, and switched off by its system.
fn deployed(lab: &mut Lab, node: &mut Node, called: &str) -> Result<()> {
    let id = fault::order(lab, node)?;
    let console = lab.cli.pass_console(called, &node.serial_path())?;
    lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(node, "active", patience::SHORT)?;
    tell(&format!("{called} is active"));
    console_is_kept(lab, &id)?;
    drop(console);
    power(lab, &[called, "off"])?;
    ensure!(!node.has_power()?, "the server is on after `off`");
    tell(&format!("{called} is off"));
    Ok(())
}

/// What firmware, ramdisk and the installed system's kernel wrote on the serial port is in the deployment's log, between what
/// the agent said.
pub(super) fn console_is_kept(lab: &Lab, id: &str) -> Result<()> {
    let log = lab.cli.ask(&["deployment", "log", id])?.out;
    let kernels = log
        .lines()
        .filter(|line| line.contains(" console: ") && line.contains("Linux version"));
    ensure!(
        kernels.count() >= 1 && log.contains(" agent: "),
        "the log has not what the serial port wrote:\n{log}"
    );
    ensure!(
        !log.contains('\u{1b}'),
        "the log moves the cursor of whoever reads it"
    );
    tell("the deployment's log has the serial console as well");
    Ok(())
}
