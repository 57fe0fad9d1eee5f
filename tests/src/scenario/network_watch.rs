//! The network of a running system is spoilt, once in each kind of way: it is back within a minute, the controller knows what
//! had differed, and what was accepted stays. All ways, on all systems: `network_faults`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::deploy;
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// From the fault to the event on the controller.
const LIMIT: Duration = Duration::from_secs(60);

/// What is done to it, as root. `$I` is the interface, `$F` the file that configures it, `$S` the service.
const SPOILT: &[(&str, &str)] = &[
    ("the address is flushed", "ip address flush dev $I"),
    ("the file is deleted", "rm $F"),
    ("the service is disabled", "systemctl disable $S"),
];

/// Finds interface, file and service by what the plugin says it holds the network against.
const NAMES: &str = "I=$(ip -o -4 address show | awk '/ 10\\.77\\.0\\./ {print $2; exit}'); \
    F=$(ls -d /etc/netplan/*cloud-init* /etc/systemd/network/*cloud-init* /etc/network/interfaces.d/*cloud-init* 2>/dev/null | head -1); \
    test -n \"$I\" -a -n \"$F\" || exit 1; \
    case $F in */interfaces.d/*) S=networking;; *) S=systemd-networkd;; esac";

/// One fault of each kind.
pub fn of_each_kind(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let disk = DiskSpec::new(DiskKind::Virtio);
    let mut node = lab.build(NodeSpec::new(Firmware::Bios, disk))?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let order = Order {
        image: IMAGE.to_owned(),
        disk: None,
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let deployment = lab.cli.deploy(&node.mac, &order)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    let done = lab.wait_deployment(&mut node, id, "succeeded", patience::DEPLOYMENT)?;
    let address = deploy::address(&done)?;
    watch(&lab, &node, &address).explain(|| lab.picture(&node))
}

fn watch(lab: &Lab, node: &Node, address: &str) -> Result<()> {
    let ask = |command: &str, seconds: u64| lab.key.run(address, command, Duration::from_secs(seconds));
    ask(
        "for i in $(seq 180); do sudo grep -q '\"services\"' /etc/imprint/network.json && exit 0; sleep 1; done; \
         sudo journalctl -u imprint-network --no-pager | tail -30 >&2; exit 1",
        240,
    )
    .context("the watch has not learned what the network is like")?;
    let rss = ask(
        "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(systemctl show --value --property MainPID imprint-network)/status",
        30,
    )?;
    tell(&format!("the watch has learned, and takes {} KiB", rss.trim()));

    for (what, command) in SPOILT {
        let before = restored(lab, node)?.len();
        let begun = Instant::now();
        // In a unit of its own: the session that asks for it breaks with the network.
        let spoil = format!("{NAMES}; sudo systemd-run --quiet --collect sh -c \"sleep 1; {command}\"");
        ask(&spoil, 30).context(*what)?;
        let event = interrupt::until(what, LIMIT + Duration::from_secs(30), || {
            Ok(restored(lab, node)?.get(before).cloned())
        })?;
        let took = begun.elapsed();
        ensure!(took < LIMIT, "{what}: back after {} s", took.as_secs());
        let diff = event["details"]["diff"].as_str().unwrap_or_default();
        ensure!(diff.lines().count() > 1, "{what}: no diff: {event}");
        let said = diff.lines().nth(1).unwrap_or_default();
        tell(&format!(
            "{what}: back and told after {} s: {said}",
            took.as_secs()
        ));
        ask("sudo /opt/imprint/imprint-guest network status", 30).context(*what)?;
    }

    // What somebody accepts stays.
    let accepted = format!(
        "{NAMES}; printf '\\n# this is meant\\n' | sudo tee -a $F > /dev/null; sudo /opt/imprint/imprint-guest network accept"
    );
    ask(&accepted, 30)?;
    let before = restored(lab, node)?.len();
    let still = format!("{NAMES}; sleep 40; tail -1 $F");
    let line = ask(&still, 60)?;
    ensure!(
        line.trim() == "# this is meant",
        "what was accepted was changed: {line}"
    );
    ensure!(
        restored(lab, node)?.len() == before,
        "what was accepted was put back"
    );
    tell("what was accepted has stayed");
    Ok(())
}

/// The controller's events of a network that was put back, the oldest first.
fn restored(lab: &Lab, node: &Node) -> Result<Vec<Value>> {
    let page = lab.cli.get(&format!("events?node={}&page_size=1000", node.mac))?;
    let items = page["items"].as_array().context("no list of events")?;
    let restored = items
        .iter()
        .filter(|event| event["kind"] == "guest.network.restored");
    Ok(restored.cloned().collect())
}
