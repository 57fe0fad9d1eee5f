//! The whole way: power on, network boot, image, restart, first-boot report, log-in.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{fault, guest};
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::network::Addresses;
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

pub fn uefi_nvme(name: &str, parts: &Parts) -> Result<()> {
    one(name, parts, Firmware::Uefi, DiskKind::Nvme)
}

pub fn uefi_virtio(name: &str, parts: &Parts) -> Result<()> {
    one(name, parts, Firmware::Uefi, DiskKind::Virtio)
}

/// By UEFI HTTP boot alone.
pub fn uefi_http(name: &str, parts: &Parts) -> Result<()> {
    let mut spec = NodeSpec::new(Firmware::Uefi, DiskSpec::new(DiskKind::Virtio));
    spec.http_boot = true;
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let (nodes, _) = deploy(&mut lab, &[spec])?;
    let said = nodes[0].serial();
    ensure!(
        said.contains("HTTPv4") && !said.contains("PXEv4"),
        "it was not HTTP that booted it:\n{}",
        nodes[0].serial_tail(40)
    );
    Ok(())
}

pub fn bios_virtio(name: &str, parts: &Parts) -> Result<()> {
    one(name, parts, Firmware::Bios, DiskKind::Virtio)
}

pub fn bios_sata(name: &str, parts: &Parts) -> Result<()> {
    one(name, parts, Firmware::Bios, DiskKind::Sata)
}

pub fn bios_scsi(name: &str, parts: &Parts) -> Result<()> {
    one(name, parts, Firmware::Bios, DiskKind::Scsi)
}

pub fn own_dhcp(name: &str, parts: &Parts) -> Result<()> {
    let options = LabOptions {
        addresses: Addresses::Own,
        ..LabOptions::default()
    };
    let spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Virtio));
    deploy(&mut Lab::with_image(name, parts, &options)?, &[spec]).map(drop)
}

pub fn three_nodes(name: &str, parts: &Parts) -> Result<()> {
    let spec = |firmware, kind| {
        let mut spec = NodeSpec::new(firmware, DiskSpec::new(kind));
        spec.processors = 1;
        spec
    };
    let specs = [
        spec(Firmware::Bios, DiskKind::Virtio),
        spec(Firmware::Uefi, DiskKind::Nvme),
        spec(Firmware::Bios, DiskKind::Sata),
    ];
    deploy(&mut Lab::with_image(name, parts, &LabOptions::default())?, &specs).map(drop)
}

/// shim, GRUB, kernel and ramdisk over the network, then the image's own chain; Secure Boot is on all the time.
pub fn secure_boot(name: &str, parts: &Parts) -> Result<()> {
    let spec = NodeSpec::new(Firmware::SecureUefi, DiskSpec::new(DiskKind::Nvme));
    let options = LabOptions {
        // GRUB goes back to the server that gave the address.
        addresses: Addresses::Own,
        controller: ControllerOptions {
            boot: spec.firmware.boot_section(),
            ..ControllerOptions::default()
        },
        ..LabOptions::default()
    };
    let mut lab = Lab::with_image(name, parts, &options)?;
    let (mut nodes, done) = deploy(&mut lab, &[spec])?;
    let node = nodes.first_mut().context("no server was built")?;
    let facts = lab.wait_inventory(node)?;
    let state = &facts["inventory"]["firmware"]["secure_boot"];
    ensure!(
        *state == true,
        "the ramdisk saw Secure Boot as {state}: {}",
        facts["inventory"]["firmware"]
    );
    let address = address(done.first().context("nothing was deployed")?)?;
    let read = "od --address-radix=n --format=u1 --skip-bytes=4 /sys/firmware/efi/efivars/SecureBoot-*; cat /sys/kernel/security/lockdown";
    let said = lab.key.run(&address, read, Duration::from_secs(60))?;
    ensure!(
        said.split_whitespace().next() == Some("1") && said.contains("[integrity]"),
        "the installed system says of Secure Boot: {said}"
    );
    tell("Secure Boot is on in the installed system too");
    boots_again(&lab, node, &address)
}

/// Presses the reset button of an installed server, and waits until it has come back by itself.
pub fn boots_again(lab: &Lab, node: &mut Node, address: &str) -> Result<()> {
    let before = boot_id(lab, address, Duration::from_secs(60))?;
    // What the first boot has made, host keys above all, is to outlive the reset.
    lab.key.run(address, "sync", Duration::from_secs(60))?;
    node.reset()?;
    node.wait_serial("boots its local disk", patience::NETWORK_BOOT)?;
    let after = boot_id(lab, address, Duration::from_secs(240))?;
    ensure!(before != after, "the server was not restarted");
    tell("restarted: network first, and on to the disk");
    Ok(())
}

fn boot_id(lab: &Lab, address: &str, patience: Duration) -> Result<String> {
    lab.key
        .run(address, "cat /proc/sys/kernel/random/boot_id", patience)
}

fn one(name: &str, parts: &Parts, firmware: Firmware, kind: DiskKind) -> Result<()> {
    let spec = NodeSpec::new(firmware, DiskSpec::new(kind));
    deploy(
        &mut Lab::with_image(name, parts, &LabOptions::default())?,
        &[spec],
    )
    .map(drop)
}

/// The servers, and their deployments as they ended.
pub fn deploy(lab: &mut Lab, specs: &[NodeSpec]) -> Result<(Vec<Node>, Vec<Value>)> {
    let mut nodes = Vec::new();
    for spec in specs {
        let mut node = lab.build(spec.clone())?;
        node.power_on()?;
        nodes.push((node, spec));
    }
    tell("power on");
    let mut running = Vec::new();
    for (node, _) in &mut nodes {
        lab.take_into_service(node)?;
        let id = fault::order(lab, node)?;
        tell(&format!("{} discovered, approved, deploying", node.name));
        running.push(id);
    }
    let mut ended = Vec::new();
    for ((node, spec), id) in nodes.iter_mut().zip(running) {
        let done = lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)?;
        let facts = lab.wait_state(node, "active", patience::SHORT)?;
        tell(&format!("{} active: {}", node.name, done["first_boot"]));
        let disk_mib = spec.disks.first().context("a server without a disk")?.size_mib;
        check(lab, node, (spec.firmware, disk_mib), (&done, &facts))?;
        ended.push(done);
    }
    Ok((nodes.into_iter().map(|(node, _)| node).collect(), ended))
}

/// What the controller and the installed system say of a system whose disk has so many MiB.
pub fn check(
    lab: &Lab,
    node: &Node,
    (firmware, disk_mib): (Firmware, u64),
    (deployment, facts): (&Value, &Value),
) -> Result<()> {
    check_report(node, firmware, deployment, facts)?;
    check_installed(lab, node, (firmware, disk_mib), deployment).explain(|| lab.picture(node))
}

/// What the controller says of a system that came up: its name, firmware and release, and no problem.
pub fn check_came_up(
    node: &Node,
    (firmware, os_version): (Firmware, &str),
    deployment: &Value,
    facts: &Value,
) -> Result<()> {
    let report = &deployment["first_boot"];
    ensure!(
        report["hostname"] == node.name.as_str(),
        "reported host name: {}",
        report["hostname"]
    );
    ensure!(
        report["boot_mode"] == firmware.boot_mode(),
        "reported boot mode: {}",
        report["boot_mode"]
    );
    let os = report["os_name"].as_str().unwrap_or_default();
    ensure!(
        os.contains("Debian") && os.contains(os_version),
        "reported system: {os}"
    );
    ensure!(
        facts["problem"].is_null(),
        "an active node has a problem: {}",
        facts["problem"]
    );
    Ok(())
}

/// The same, with boot entry and steps.
fn check_report(node: &Node, firmware: Firmware, deployment: &Value, facts: &Value) -> Result<()> {
    check_came_up(node, (firmware, "12"), deployment, facts)?;
    let entry = deployment["boot_entry"].as_str().unwrap_or_default();
    match firmware {
        Firmware::Uefi | Firmware::SecureUefi => ensure!(
            entry.starts_with("Boot"),
            "no UEFI boot entry was read back: {entry:?}"
        ),
        Firmware::Bios => ensure!(entry.is_empty(), "a boot entry under BIOS: {entry}"),
    }
    for step in deployment["steps"]
        .as_array()
        .context("the deployment has no steps")?
    {
        ensure!(
            step["state"] == "finished",
            "a step of a finished deployment: {step}"
        );
    }
    Ok(())
}

/// What the installed system says of itself.
fn check_installed(
    lab: &Lab,
    node: &Node,
    (firmware, disk_mib): (Firmware, u64),
    deployment: &Value,
) -> Result<()> {
    let address = address(deployment)?;
    let ask = |command: &str, patience: u64| lab.key.run(&address, command, Duration::from_secs(patience));
    let hostname = ask("hostname", 240)?;
    tell(&format!("{} let us in by ssh", node.name));
    ensure!(
        hostname.trim() == node.name,
        "host name of the installed system: {hostname}"
    );
    let mode = ask(
        "if test -d /sys/firmware/efi; then echo uefi; else echo bios; fi",
        30,
    )?;
    ensure!(mode.trim() == firmware.boot_mode(), "booted by {mode}");
    let root = ask("df --output=size -BM / | tail -1", 30)?;
    let root_mib: u64 = root
        .trim()
        .trim_end_matches('M')
        .parse()
        .context("df printed no size")?;
    ensure!(
        root_mib > disk_mib * 8 / 10,
        "the root file system was not grown: {root_mib} MiB"
    );
    // runcmd is cloud-init's last stage and may still run when ssh already answers.
    ask(
        "for i in $(seq 120); do test -e /run/lab-user-data && exit 0; sleep 1; done; exit 1",
        150,
    )
    .context("user-data was not carried out")?;
    let guest = ask("sudo cat /etc/imprint/guest.json", 30)?;
    ensure!(
        !guest.contains("report_token"),
        "the report token is still in /etc/imprint/guest.json"
    );
    guest::check(lab, node, &address)
}

/// The address that the installed system reported.
pub fn address(deployment: &Value) -> Result<String> {
    let addresses = deployment["first_boot"]["addresses"]
        .as_array()
        .context("no addresses were reported")?;
    let found = addresses
        .iter()
        .filter_map(Value::as_str)
        .find(|address| address.starts_with("10.77.0."));
    match found.and_then(|address| address.split('/').next()) {
        Some(address) => Ok(address.to_owned()),
        None => bail!("no address of the lab was reported: {addresses:?}"),
    }
}
