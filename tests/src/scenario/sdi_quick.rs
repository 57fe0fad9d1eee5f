//! A volume that the controller has prepared from an image: a server runs from it without a byte of the image on its network,
//! and is compared with one that has the image streamed to its disk. Then the server dies, and another one takes its system over.

mod image;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{deploy, volume};
use crate::cli::Order;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::sdi::STORAGE;
use crate::story::tell;

const FIRMWARE: Firmware = Firmware::Uefi;
const NAME: &str = "boot";
const SIZE_MIB: u64 = 10 << 10;
/// More than a session between controller and agent takes, and far less than the image.
const FEW_BYTES: u64 = 5_000_000;
/// Writes a file with content that nobody can guess, and shows it.
const LEAVE_A_FILE: &str = "sudo sh -ec 'cp /proc/sys/kernel/random/uuid /srv/left; sync; cat /srv/left'";
const READ_THE_FILE: &str = "cat /srv/left";
const ANSWER: Duration = Duration::from_secs(60);

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let options = LabOptions {
        controller: ControllerOptions {
            volumes: Some(STORAGE),
            ..ControllerOptions::default()
        },
        ..LabOptions::default()
    };
    let mut lab = Lab::start(name, parts, &options)?;
    let server = image::make(&lab.parts.image, lab.folder())?;
    lab.cli.import(&server, IMAGE)?;
    fs::remove_file(&server).context("cannot remove the image's file")?;
    tell(&format!(
        "an image with {} MiB of data more than the everyday one",
        image::DATA_MIB
    ));
    let streamed = onto_disk(&mut lab)?;

    let began = Instant::now();
    volume::prepare(&mut lab, NAME, IMAGE, SIZE_MIB)?;
    tell(&format!(
        "the volume was prepared in {:.1} s, without a server",
        began.elapsed().as_secs_f64()
    ));
    let (mut node, prepared) = onto_volume(&mut lab)?;
    compare(&lab, &streamed, &prepared)?;
    take_over(&mut lab, &mut node, &prepared.address)
}

/// The same server each time.
fn server() -> NodeSpec {
    NodeSpec::new(FIRMWARE, DiskSpec::new(DiskKind::Nvme).size_mib(SIZE_MIB)).with_card(2)
}

/// What a deployment took until the system ran.
#[derive(Debug)]
struct Deployed {
    /// Where the system is reached.
    address: String,
    /// From the order to the restart.
    until_restart: Duration,
    /// From the order to the state `active`.
    until_active: Duration,
    /// Bytes that the agent says it has fetched of the image.
    fetched_bytes: u64,
    /// Bytes that the server's network card received until the restart.
    received_bytes: u64,
}

impl Deployed {
    fn line(&self, what: &str) -> String {
        format!(
            "{what}: {:.1} s from the order to the restart, {:.1} s to active; {} bytes of image fetched, {} bytes received",
            self.until_restart.as_secs_f64(),
            self.until_active.as_secs_f64(),
            self.fetched_bytes,
            self.received_bytes
        )
    }
}

/// The image over the network, onto a disk of the server; it is off again afterwards.
fn onto_disk(lab: &mut Lab) -> Result<Deployed> {
    let mut node = waiting(lab, server())?;
    let order = Order {
        image: IMAGE.to_owned(),
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let disk_mib = node
        .disks
        .first()
        .context("a server without a disk")?
        .spec
        .size_mib;
    let deployed = carry_out(lab, &mut node, (&order, "streamed"), disk_mib)?;
    // Or few bytes below would prove nothing.
    ensure!(
        deployed.fetched_bytes > FEW_BYTES && deployed.received_bytes > FEW_BYTES,
        "the image was streamed, and hardly anything was received: {deployed:?}"
    );
    tell(&deployed.line("streamed"));
    node.power_off()?;
    Ok(deployed)
}

/// From the volume that has the image already.
fn onto_volume(lab: &mut Lab) -> Result<(Node, Deployed)> {
    let mut node = waiting(lab, server())?;
    volume::introduce_card(lab, &mut node)?;
    let order = Order {
        volume: Some(NAME.to_owned()),
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let prepared = carry_out(lab, &mut node, (&order, "prepared"), SIZE_MIB)?;
    ensure!(
        prepared.fetched_bytes == 0 && prepared.received_bytes < FEW_BYTES,
        "the image was on the volume, and all the same much was received: {prepared:?}"
    );
    tell(&prepared.line("prepared"));
    let attached = volume::wait_state(lab, NAME, "attached")?;
    volume::expect_root(lab, &prepared.address, &attached).explain(|| lab.picture(&node))?;
    tell("its root is on the volume");
    Ok((node, prepared))
}

/// Tells what was won, and keeps it with the logs. Slow days are no failures.
fn compare(lab: &Lab, streamed: &Deployed, prepared: &Deployed) -> Result<()> {
    let ratio = |of: fn(&Deployed) -> Duration| of(prepared).as_secs_f64() / of(streamed).as_secs_f64();
    let won = format!(
        "prepared against streamed: {:.2} of the time until the restart, {:.2} of the time until active",
        ratio(|deployed| deployed.until_restart),
        ratio(|deployed| deployed.until_active)
    );
    tell(&won);
    let lines = [streamed.line("streamed"), prepared.line("prepared"), won];
    fs::write(lab.folder().join("figures.log"), lines.join("\n") + "\n").context("cannot keep the figures")
}

/// The server is gone; another one, without a disk, goes on with what it has left on the volume.
fn take_over(lab: &mut Lab, first: &mut Node, address: &str) -> Result<()> {
    let left = lab.key.run(address, LEAVE_A_FILE, ANSWER)?;
    let before = Identity::of(lab, address)?;
    first.power_off()?;
    volume::detach_by_force(lab, NAME)?;
    tell(&format!("{} is off, its card has let the volume go", first.name));

    let mut second = waiting(lab, NodeSpec::diskless(FIRMWARE).with_card(2))?;
    volume::introduce_card(lab, &mut second)?;
    let order = Order {
        volume: Some(NAME.to_owned()),
        keep_content: true,
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let kept = carry_out(lab, &mut second, (&order, "kept"), SIZE_MIB)?;
    tell(&kept.line("kept"));
    let attached = volume::wait_state(lab, NAME, "attached")?;
    volume::expect_root(lab, &kept.address, &attached).explain(|| lab.picture(&second))?;
    let found = lab.key.run(&kept.address, READ_THE_FILE, ANSWER)?;
    ensure!(
        !left.trim().is_empty() && found == left,
        "the first server has left {left:?}, and the second one finds {found:?}"
    );
    Identity::of(lab, &kept.address)?.differs_from(&before)?;
    tell(&format!(
        "{} has the system with its files, and an identity of its own",
        second.name
    ));
    // Both cards are asked.
    volume::expect_no_orphans(lab)
}

/// A new server that is in the ramdisk and waits for an order.
fn waiting(lab: &mut Lab, spec: NodeSpec) -> Result<Node> {
    let mut node = lab.build(spec)?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    tell(&format!("{} waits for an order", node.name));
    Ok(node)
}

/// Deploys, and looks at the system. `content`: where the content of its disk has to come from.
fn carry_out(
    lab: &mut Lab,
    node: &mut Node,
    (order, content): (&Order, &str),
    disk_mib: u64,
) -> Result<Deployed> {
    let received_before = node.wire_bytes()?;
    let began = Instant::now();
    let ordered = lab.cli.deploy(&node.mac, order)?;
    let id = ordered["id"].as_str().context("the deployment has no id")?;
    wait_restart(lab, node, id)?;
    let until_restart = began.elapsed();
    let received_bytes = node.wire_bytes()?.saturating_sub(received_before);
    let done = lab.wait_deployment(node, id, "succeeded", patience::DEPLOYMENT)?;
    let facts = lab.wait_state(node, "active", patience::SHORT)?;
    let until_active = began.elapsed();
    ensure!(
        done["content"] == content,
        "the content was to be {content}, and is {}",
        done["content"]
    );
    // The data take their part of it.
    let for_root_mib = disk_mib - image::DATA_MIB;
    deploy::check(lab, node, (FIRMWARE, for_root_mib), (&done, &facts))?;
    Ok(Deployed {
        address: deploy::address(&done)?,
        until_restart,
        until_active,
        fetched_bytes: fetched_bytes(&done),
        received_bytes,
    })
}

/// A deployment that writes nothing has no figures of a write.
fn fetched_bytes(deployment: &Value) -> u64 {
    deployment["write"]["bytes_fetched"].as_u64().unwrap_or(0)
}

/// Waits until the agent has done all and restarts the machine.
fn wait_restart(lab: &mut Lab, node: &mut Node, id: &str) -> Result<()> {
    let found = interrupt::until("the restart into the new system", patience::DEPLOYMENT, || {
        lab.controller.expect_running()?;
        node.expect_on()?;
        let deployment = lab.deployment(id)?;
        if deployment["state"] != "running" {
            bail!(
                "deployment {id} is {}: {}",
                deployment["state"],
                deployment["problem"]
            );
        }
        let step = deployment["step"].as_str().unwrap_or_default();
        Ok(matches!(step, "reboot" | "first_boot_report").then_some(()))
    });
    found.explain(|| lab.picture(node))
}

/// What no two systems have in common.
#[derive(Debug)]
struct Identity {
    machine: String,
    host_keys: BTreeSet<String>,
}

impl Identity {
    fn of(lab: &Lab, address: &str) -> Result<Self> {
        let ask = |command: &str| lab.key.run(address, command, ANSWER);
        let machine = ask("cat /etc/machine-id")?.trim().to_owned();
        let keys = ask("cat /etc/ssh/ssh_host_*_key.pub | cut -d ' ' -f 2")?;
        let host_keys: BTreeSet<String> = keys.lines().map(str::to_owned).collect();
        ensure!(
            machine.len() == 32 && !host_keys.is_empty(),
            "a system without an identity: machine-id {machine:?}, host keys {host_keys:?}"
        );
        Ok(Self { machine, host_keys })
    }

    fn differs_from(&self, other: &Self) -> Result<()> {
        ensure!(
            self.machine != other.machine && self.host_keys.is_disjoint(&other.host_keys),
            "the identity of the first server is left: {self:?} after {other:?}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_without_a_write_has_fetched_nothing() {
        let streamed = json!({ "write": { "bytes_fetched": 7, "bytes_written": 9 } });
        assert_eq!(fetched_bytes(&streamed), 7);
        assert_eq!(fetched_bytes(&json!({ "write": null })), 0);
    }

    #[test]
    fn identities_differ_when_nothing_is_shared() {
        let identity = |machine: &str, keys: &[&str]| Identity {
            machine: machine.to_owned(),
            host_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let first = identity("a", &["k1", "k2"]);
        assert!(identity("b", &["k3"]).differs_from(&first).is_ok());
        assert!(identity("a", &["k3"]).differs_from(&first).is_err());
        assert!(identity("b", &["k3", "k2"]).differs_from(&first).is_err());
    }
}
