//! The system comes up and its user-data fails: the deployment fails with cloud-init's words, and an operator takes the
//! system as it is.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::deploy;
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// What fails, in the last of cloud-init's stages.
const FAILING: &str = "  - [sh, -c, 'exit 3']\n";
/// Parts of a boot that every such system has.
const PHASES: [&str; 4] = [
    "kernel",
    "userspace",
    "cloud-init: init-local",
    "cloud-init: modules-final",
];

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let spec = NodeSpec::new(Firmware::Uefi, DiskSpec::new(DiskKind::Nvme));
    let mut node = lab.build(spec)?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let order = Order {
        image: IMAGE.to_owned(),
        disk: None,
        user_data: Some(lab.key.user_data() + FAILING),
        ..Order::default()
    };
    let deployment = lab.cli.deploy(&node.mac, &order)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    let failed = wait_failed(&lab, &mut node, id).explain(|| lab.picture(&node))?;
    let cause = failed["problem"]["cause"].as_str().unwrap_or_default();
    ensure!(
        cause.contains("cloud-init failed") && cause.contains("modules-final"),
        "the cause does not say what failed: {cause}"
    );
    tell(&format!("failed: {cause}"));
    let facts = lab.wait_failed_node(&mut node)?;
    ensure!(
        facts["problem"]["remedy"]
            .as_str()
            .is_some_and(|remedy| remedy.contains("deployment accept")),
        "the remedy does not say how to go on: {}",
        facts["problem"]
    );
    check_facts(&failed["first_boot"])?;
    for (name, part) in [("show", "boot phase"), ("accept", "succeeded")] {
        let said = lab.cli.ask(&["deployment", name, id])?;
        ensure!(
            said.success && said.out.contains(part),
            "{name}: {}{}",
            said.out,
            said.err
        );
    }
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    let address = deploy::address(&lab.deployment(id)?)?;
    let hostname = lab
        .key
        .run(&address, "hostname", std::time::Duration::from_secs(60))?;
    ensure!(hostname.trim() == node.name, "the system is called {hostname}");
    tell("accepted as it is: the node is active");
    Ok(())
}

fn wait_failed(lab: &Lab, node: &mut Node, id: &str) -> Result<Value> {
    interrupt::until(&format!("deployment {id} to fail"), patience::DEPLOYMENT, || {
        node.expect_on()?;
        let deployment = lab.deployment(id)?;
        match deployment["state"].as_str() {
            Some("failed") => Ok(Some(deployment)),
            Some("succeeded") => bail!("the deployment succeeded: {}", deployment["first_boot"]),
            _ => Ok(None),
        }
    })
}

fn check_facts(report: &Value) -> Result<()> {
    let entry = report["boot_entry"].as_str().unwrap_or_default();
    ensure!(entry.starts_with("Boot"), "no boot entry was reported: {report}");
    let phases = report["boot_phases"]
        .as_array()
        .context("no phases were reported")?;
    for name in PHASES {
        let found = phases.iter().find(|phase| phase["name"] == name);
        let found = found.with_context(|| format!("no {name} in {phases:?}"))?;
        ensure!(found["duration_ms"].as_u64().is_some_and(|ms| ms > 0), "{found}");
    }
    tell(&format!(
        "started by {entry}; {} phases: {}",
        phases.len(),
        report["boot_phases"]
    ));
    tell(&format!("warnings: {}", report["warnings"]));
    Ok(())
}
