//! Orders that cannot be carried out: an image larger than the disk, a rule that two disks match, a rule that none
//! matches. Whether the controller refuses at once or the agent does, there is a cause and a remedy, both disks stay
//! as they were, and a correct order then works.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use super::fault;
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

const TOO_LARGE: &str = "too-large";
const DISK_MIB: u64 = 2048;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    import_large(&lab)?;
    let disk = DiskSpec::new(DiskKind::Virtio).size_mib(DISK_MIB);
    let mut node = lab.build(
        NodeSpec::new(Firmware::Bios, disk)
            .and_disk(disk)
            .stop_at_reboot(),
    )?;
    let mut before = Vec::new();
    for disk in &node.disks {
        disk.fill_with_old_data()?;
        before.push(disk.digest()?);
    }
    node.power_on()?;
    lab.take_into_service(&mut node)?;

    let orders = [
        ("image larger than the disk", TOO_LARGE, Some("serial=LAB-1-0")),
        ("two disks that match", IMAGE, Some("transport=virtio")),
        ("no rule and two disks", IMAGE, None),
        ("a rule that no disk matches", IMAGE, Some("serial=NOBODY")),
    ];
    for (what, image, rule) in orders {
        let order = Order {
            image: image.to_owned(),
            disk: rule.map(str::to_owned),
            user_data: None,
            ..Order::default()
        };
        let reason = expect_refusal(&mut lab, &mut node, &order).with_context(|| what.to_owned())?;
        tell(&format!("{what}: {reason}"));
        for (disk, before) in node.disks.iter().zip(&before) {
            ensure!(
                disk.digest()? == *before,
                "{what}: {} was written to",
                disk.serial
            );
        }
    }

    malformed_user_data(&lab, &node)?;
    let order = Order {
        image: IMAGE.to_owned(),
        disk: Some("serial=LAB-1-0".to_owned()),
        user_data: None,
        ..Order::default()
    };
    let deployment = lab.cli.deploy(&node.mac, &order)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    node.wait_end(patience::WRITE).explain(|| lab.picture(&node))?;
    fault::check_written(&lab, &node, id)?;
    ensure!(
        node.disks[1].digest()? == before[1],
        "the other disk was written to"
    );
    tell("the correct order was carried out, on that disk alone");
    Ok(())
}

/// User-data that cloud-init could not read is refused before anything happens.
fn malformed_user_data(lab: &Lab, node: &Node) -> Result<()> {
    let text = "#cloud-config\nusers: [\n  - name: lab\n".to_owned();
    let order = Order {
        image: IMAGE.to_owned(),
        disk: Some("serial=LAB-1-0".to_owned()),
        user_data: Some(text),
        ..Order::default()
    };
    let arguments = lab.cli.deploy_arguments(&[&node.mac], &order)?;
    let answer = lab
        .cli
        .ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let said = answer.err.trim();
    ensure!(!answer.success, "malformed user-data was accepted");
    ensure!(
        said.contains("user-data") || said.contains("user_data"),
        "malformed user-data: {said}"
    );
    tell(&format!("malformed user-data: {}", said.replace('\n', " | ")));
    Ok(())
}

/// Either the order is refused at once, or its deployment fails; both ways say why and what to do.
fn expect_refusal(lab: &mut Lab, node: &mut Node, order: &Order) -> Result<String> {
    let mut arguments = lab.cli.deploy_arguments(&[&node.mac], order)?;
    arguments.extend(["--output".to_owned(), "json".to_owned()]);
    let answer = lab
        .cli
        .ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    if !answer.success {
        let said = answer.err.trim().to_owned();
        ensure!(said.len() > 40, "refused without a reason and a remedy: {said:?}");
        let facts = lab.facts(node)?.context("the node is gone")?;
        ensure!(
            facts["state"] != "deploying",
            "a refused order left the node deploying"
        );
        return Ok(format!("refused at once: {}", said.replace('\n', " | ")));
    }
    let deployments = lab.cli.get(&format!("deployments?node={}", node.mac))?;
    let newest = deployments["items"].as_array().and_then(|items| {
        items
            .iter()
            .max_by_key(|item| item["id"].as_str().unwrap_or_default().to_owned())
    });
    let id = newest
        .and_then(|item| item["id"].as_str())
        .context("no deployment is listed")?
        .to_owned();
    let problem = fault::wait_failed(lab, node, &id)?;
    Ok(format!("refused by the agent: {problem}"))
}

/// An image one sector larger than the disks of the node, with a little data on it.
fn import_large(lab: &Lab) -> Result<()> {
    let path = lab.folder().join("large.raw");
    let file = File::create(&path).context("cannot create the large image")?;
    file.set_len((DISK_MIB << 20) + 512)
        .context("cannot size the large image")?;
    file.write_all_at(b"at the beginning", 4096)
        .context("cannot write the large image")?;
    file.write_all_at(b"and far behind", 1 << 30)
        .context("cannot write the large image")?;
    lab.cli.import(&path, TOO_LARGE)?;
    Ok(())
}
