//! A server with six disks of mixed kinds: NVMe, virtio, SCSI with a WWN and the serial number of the virtio one, SATA
//! with an LVM group that is kept, SCSI with sectors of 4 KiB, SCSI that can be taken out. Each rule names the right disk
//! or is refused with all six; then one is deployed, and no byte of the others has changed.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bmc::BmcSpec;
use crate::cli::Order;
use crate::compare;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

const WWN: u64 = 0x5000_c500_a1b2_c3d4;
/// The place of the disk with that name.
const WITH_WWN: usize = 2;

/// What must come of a rule.
enum Answer {
    /// It names the disk at this place.
    Disk(usize),
    /// It is refused with every disk; so many of them match, and this code is among the reasons.
    Refused { matching: usize, code: &'static str },
    /// It is refused with this type.
    Problem(&'static str),
}

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let mut node = lab.build(spec())?;
    let mut before = Vec::new();
    for (index, disk) in node.disks.iter().enumerate() {
        if index == 3 {
            disk.make_lvm_member()?;
        } else {
            disk.fill_with_old_data()?;
        }
        before.push(disk.digest()?);
    }
    node.power_on()?;
    let facts = lab.take_into_service(&mut node)?;
    // It is there, and knows nothing of a network: no fact, and no fault either.
    let bmc = &facts["inventory"]["bmc"];
    ensure!(
        bmc["address"] == "" && bmc["mac"] == "" && bmc["channel"].is_null(),
        "the management controller is told as {bmc}"
    );

    for (rule, wipe, expected) in cases() {
        check(&lab, &node, rule, wipe, &expected).with_context(|| format!("the rule `{rule}`"))?;
    }
    tell(&format!("{} rules were answered as they should", cases().len()));

    let order = Order {
        image: IMAGE.to_owned(),
        disk: Some(format!("wwn={WWN:#x}")),
        user_data: None,
        ..Order::default()
    };
    lab.cli.deploy(&node.mac, &order)?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    compare::boot_code_and_fixed_partitions(&lab.parts.image, &node.disks[WITH_WWN].path)?;
    for (index, (disk, before)) in node.disks.iter().zip(&before).enumerate() {
        let changed = disk.digest()? != *before;
        ensure!(
            changed == (index == WITH_WWN),
            "disk {index}: changed is {changed}"
        );
    }
    tell("the disk with the WWN has the image, and no byte of the other five has changed");
    Ok(())
}

/// Every disk has a size of its own, by which an answer tells it.
fn spec() -> NodeSpec {
    let disk = |kind, index: u64| DiskSpec::new(kind).size_mib(2048 + 64 * index);
    let virtio = DiskSpec {
        serial: Some("DUP"),
        ..disk(DiskKind::Virtio, 1)
    };
    let wide = DiskSpec {
        serial: Some("DUP"),
        wwn: Some(WWN),
        ..disk(DiskKind::Scsi, 2)
    };
    let kept = DiskSpec {
        serial: Some("KEPT"),
        ..disk(DiskKind::Sata, 3)
    };
    let large_sectors = DiskSpec {
        sector: 4096,
        ..disk(DiskKind::Scsi, 4)
    };
    let removable = DiskSpec {
        removable: true,
        ..disk(DiskKind::Scsi, 5)
    };
    [virtio, wide, kept, large_sectors, removable]
        .into_iter()
        .fold(
            NodeSpec::new(Firmware::Bios, disk(DiskKind::Nvme, 0)),
            NodeSpec::and_disk,
        )
        .with_bmc(BmcSpec::WithoutLan)
        .stop_at_reboot()
}

fn cases() -> Vec<(&'static str, Option<&'static str>, Answer)> {
    let refused = |matching, code| Answer::Refused { matching, code };
    vec![
        ("transport=nvme", None, Answer::Disk(0)),
        ("model=NOBODY*|QEMU NVMe*", None, Answer::Disk(0)),
        ("", None, refused(3, "removable")),
        ("only", None, refused(3, "lvm-member")),
        ("serial=NOBODY", None, refused(0, "rule-not-met")),
        ("serial=DUP", None, refused(2, "rule-not-met")),
        ("serial=DUP,transport=virtio", None, Answer::Disk(1)),
        ("serial=DUP,not(transport=virtio)", None, Answer::Disk(2)),
        ("wwn=0x5000C500A1B2C3D4", None, Answer::Disk(2)),
        ("smallest", None, Answer::Disk(0)),
        ("largest", None, Answer::Disk(2)),
        ("transport=sata", None, refused(0, "lvm-member")),
        ("transport=sata", Some("KEPT"), Answer::Disk(3)),
        ("size>2300MiB,sector=512", None, refused(0, "removable")),
        ("sector=4KiB", None, Answer::Problem("sector-size-differs")),
        ("name=sda", None, Answer::Problem("bad-disk-rule")),
        (r#"{"size": "<= 2", "tran": "nvme"}"#, None, Answer::Disk(0)),
        (r#"{"wwn": "0x5000c500a1b2c3d4"}"#, None, Answer::Disk(2)),
        (r#"{"name": "/dev/sda"}"#, None, Answer::Problem("bad-disk-rule")),
    ]
}

fn check(lab: &Lab, node: &Node, rule: &str, wipe: Option<&str>, expected: &Answer) -> Result<()> {
    let order = Order {
        image: IMAGE.to_owned(),
        disk: Some(rule.to_owned()),
        user_data: None,
        ..Order::default()
    };
    let mut arguments = lab.cli.deploy_arguments(&[&node.mac], &order)?;
    arguments.extend(["--dry-run", "--output", "json"].map(str::to_owned));
    arguments.extend(
        wipe.iter()
            .flat_map(|name| ["--wipe".to_owned(), (*name).to_owned()]),
    );
    let said = lab
        .cli
        .ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let text = if said.success { &said.out } else { &said.err };
    let answer: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
    match expected {
        Answer::Disk(index) => {
            let plan = &answer[0]["disk"];
            let size = node.disks[*index].spec.size_mib << 20;
            ensure!(plan["disk"]["size_bytes"] == size, "another disk: {answer}");
            let others = plan["others"].as_array().map_or(0, Vec::len);
            ensure!(others == 5, "{others} other disks: {answer}");
        }
        Answer::Refused { matching, code } => {
            ensure!(!said.success, "it was accepted: {answer}");
            let disks = answer["disks"].as_array().context("no list of disks")?;
            let found = disks.iter().filter(|disk| disk["outcome"] == "matches").count();
            ensure!(
                disks.len() == 6 && found == *matching,
                "{found} of {}: {answer}",
                disks.len()
            );
            let mut codes = disks
                .iter()
                .flat_map(|disk| disk["reasons"].as_array().into_iter().flatten())
                .map(|reason| &reason["code"]);
            ensure!(codes.any(|found| found == code), "no reason is {code}: {answer}");
        }
        Answer::Problem(kind) => {
            let wanted = format!("urn:imprint:problem:{kind}");
            ensure!(!said.success && answer["type"] == wanted, "not {kind}: {answer}");
        }
    }
    Ok(())
}
