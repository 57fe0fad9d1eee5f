//! What the stories of SDI cards have in common: what an operator does with volumes, and how a system sees them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::Lab;
use crate::node::Node;
use crate::sdi::VolumeSpec;

/// For a card that shows a disk or takes it away. Kernels take 5 s and more to let go.
const CARD: Duration = Duration::from_secs(240);
/// For a kernel that finds a disk, or misses it.
const KERNEL: Duration = Duration::from_secs(60);
/// Each disk in a line: name, sectors of 512 bytes, serial number if it has one. By the kernel's own words; those of
/// udev come later.
const DISKS: &str = "cd /sys/block; for d in *; do \
    echo $d $(cat $d/size) $(cat $d/serial $d/device/serial 2>/dev/null | tr -d ' '); done";
/// The disk that the root file system is on.
const ROOT_DISK: &str =
    "lsblk --noheadings --nodeps --output PKNAME $(findmnt --noheadings --output SOURCE /)";

/// Tells the controller of a server's card.
pub fn introduce_card(lab: &Lab, node: &mut Node) -> Result<()> {
    let address = node.card()?.address();
    set_card(lab, node, &address)
}

/// The same for a card that may not be there.
pub fn set_card(lab: &Lab, node: &Node, address: &str) -> Result<()> {
    lab.cli.json(&["node", "set-card", &node.mac, address]).map(drop)
}

/// Makes a volume known that the storage system has, by the name that it has there.
pub fn make_known(lab: &Lab, spec: &VolumeSpec) -> Result<()> {
    let size = (spec.size_mib << 20).to_string();
    let arguments = [
        "volume",
        "create",
        spec.name,
        "--size",
        &size,
        "--card-name",
        spec.name,
    ];
    let made = lab.cli.json(&arguments)?;
    ensure!(made["state"] == "available", "a new volume: {made}");
    Ok(())
}

/// Has the controller make a volume that begins with an image, and waits until it is there.
pub fn prepare(lab: &mut Lab, name: &str, image: &str, size_mib: u64) -> Result<Value> {
    let size = (size_mib << 20).to_string();
    let made = lab
        .cli
        .json(&["volume", "create", name, "--from-image", image, "--size", &size])?;
    ensure!(made["state"] == "preparing", "a new volume: {made}");
    wait_state(lab, name, "available")
}

/// Shows it to a server; answers what is known of it then.
pub fn attach(lab: &mut Lab, name: &str, node: &Node) -> Result<Value> {
    lab.cli.json(&["volume", "attach", name, &node.mac])?;
    wait_state(lab, name, "attached")
}

/// Takes it away from a server that is off, whose system is on it.
pub fn detach_by_force(lab: &mut Lab, name: &str) -> Result<()> {
    lab.cli.json(&["volume", "detach", name, "--force"])?;
    wait_state(lab, name, "available").map(drop)
}

/// Takes it away from its server.
pub fn detach(lab: &mut Lab, name: &str) -> Result<()> {
    lab.cli.json(&["volume", "detach", name])?;
    wait_state(lab, name, "available").map(drop)
}

/// As it stands.
pub fn facts(lab: &Lab, name: &str) -> Result<Value> {
    lab.cli.get(&format!("volumes/{name}"))
}

/// Waits for a state; answers what is known of the volume then.
pub fn wait_state(lab: &mut Lab, name: &str, state: &str) -> Result<Value> {
    let what = format!("the volume {name} to be {state}");
    let found = interrupt::until(&what, CARD, || {
        lab.controller.expect_running()?;
        let volume = facts(lab, name)?;
        if volume["state"] == state {
            return Ok(Some(volume));
        }
        if volume["state"] == "error" {
            bail!("the volume {name} has an error: {}", volume["why"]);
        }
        Ok(None)
    });
    found.explain(|| picture(lab, name))
}

/// Nothing is left on any card or in the storage of the controller, and all cards answer.
pub fn expect_no_orphans(lab: &Lab) -> Result<()> {
    let orphans = lab.cli.json(&["volume", "orphans"])?;
    for list in ["items", "stored", "unanswered"] {
        ensure!(
            orphans[list].as_array().is_some_and(Vec::is_empty),
            "orphans: {orphans}"
        );
    }
    Ok(())
}

/// What the volume's disk says as its serial number.
pub fn serial(volume: &Value) -> Result<&str> {
    let serial = volume["attachment"]["serial"].as_str().unwrap_or_default();
    ensure!(
        !serial.is_empty(),
        "an attached volume without a serial number: {volume}"
    );
    Ok(serial)
}

/// Waits until an installed system has the volume as a disk; answers the disk's name.
pub fn wait_disk(lab: &Lab, address: &str, volume: &Value) -> Result<String> {
    let serial = serial(volume)?;
    let disk = interrupt::until(&format!("the disk {serial} in the system"), KERNEL, || {
        disk_inside(lab, address, serial)
    })?;
    let (name, bytes) = disk;
    ensure!(
        volume["size_bytes"] == bytes,
        "the disk of a volume of {} bytes has {bytes}",
        volume["size_bytes"]
    );
    Ok(name)
}

/// Waits until an installed system has the volume no more.
pub fn wait_no_disk(lab: &Lab, address: &str, serial: &str) -> Result<()> {
    interrupt::until(&format!("the disk {serial} to leave the system"), KERNEL, || {
        Ok(disk_inside(lab, address, serial)?.is_none().then_some(()))
    })
}

/// An installed system's root is on the volume.
pub fn expect_root(lab: &Lab, address: &str, volume: &Value) -> Result<()> {
    let name = wait_disk(lab, address, volume)?;
    let root = lab.key.run(address, ROOT_DISK, KERNEL)?;
    ensure!(
        root.trim() == name,
        "the root is on {}, and the volume is {name}",
        root.trim()
    );
    Ok(())
}

/// Name and bytes of the disk with this serial number.
fn disk_inside(lab: &Lab, address: &str, serial: &str) -> Result<Option<(String, u64)>> {
    let disks = lab.key.run(address, DISKS, KERNEL)?;
    find_disk(&disks, serial)
}

fn find_disk(disks: &str, serial: &str) -> Result<Option<(String, u64)>> {
    for line in disks.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, sectors, says] = words[..]
            && says == serial
        {
            let sectors: u64 = sectors.parse().with_context(|| format!("no size: {line}"))?;
            return Ok(Some((name.to_owned(), sectors * 512)));
        }
    }
    Ok(None)
}

/// All that helps to understand why a volume is not where it should be.
pub fn picture(lab: &Lab, name: &str) -> String {
    let shown = match lab.cli.ask(&["volume", "show", name]) {
        Ok(answer) => answer.out + &answer.err,
        Err(error) => format!("{error:#}"),
    };
    format!(
        "--- imprint volume show {name}\n{}\n--- controller's log\n{}\n---",
        shown.trim(),
        lab.controller.log_tail(25)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_known_by_their_serial_numbers() {
        let disks = "loop0 0\nsr0 2097151\nvda 8388608 LAB-1-0\nvdb 131072 v01k9abcdefghijklmno\n";
        assert_eq!(
            find_disk(disks, "v01k9abcdefghijklmno").unwrap(),
            Some(("vdb".to_owned(), 64 << 20))
        );
        assert_eq!(find_disk(disks, "v01k9").unwrap(), None);
        assert!(find_disk("vda x S", "S").is_err());
    }
}
