//! What the fault stories have in common: an order, a failure that is explained, a disk that is complete.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cli::Order;
use crate::compare;
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, patience};
use crate::node::Node;
use crate::story::tell;

/// The lab's image onto a node's only disk.
pub fn plain_order(lab: &Lab) -> Order {
    Order {
        image: IMAGE.to_owned(),
        disk: None,
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    }
}

/// Orders the lab's image onto a node's only disk; answers the deployment's id.
pub fn order(lab: &Lab, node: &Node) -> Result<String> {
    let deployment = lab.cli.deploy(&node.mac, &plain_order(lab))?;
    Ok(deployment["id"]
        .as_str()
        .context("the deployment has no id")?
        .to_owned())
}

/// Waits until a deployment has failed; answers the node's problem, which names step, cause and remedy.
pub fn wait_failed(lab: &mut Lab, node: &mut Node, id: &str) -> Result<Value> {
    let failed = interrupt::until(&format!("deployment {id} to fail"), patience::WRITE, || {
        lab.controller.expect_running()?;
        node.expect_on()?;
        match lab.deployment(id)?["state"].as_str() {
            Some("failed") => Ok(Some(())),
            Some("succeeded") => bail!("the deployment succeeded"),
            _ => Ok(None),
        }
    });
    failed.explain(|| lab.picture(node))?;
    let facts = interrupt::until("the node to be failed", patience::SHORT, || {
        Ok(lab.facts(node)?.filter(|facts| facts["state"] == "failed"))
    })?;
    for part in ["step", "cause", "remedy"] {
        let text = facts["problem"][part].as_str().unwrap_or_default();
        ensure!(
            !text.is_empty(),
            "a failed node without a {part}: {}",
            facts["problem"]
        );
    }
    ensure!(
        facts["agent_connected"] == true,
        "the agent of a failed node is gone"
    );
    Ok(facts["problem"].clone())
}

/// What the event log tells of a node, oldest first.
pub fn messages(lab: &Lab, node: &Node) -> Result<Vec<String>> {
    let events = lab.cli.get(&format!("events?node={}&page_size=500", node.mac))?;
    let items = events["items"].as_array().context("the events are no list")?;
    let messages = items.iter().filter_map(|event| event["message"].as_str());
    Ok(messages.map(str::to_owned).collect())
}

/// Checks that a write which was disturbed has put the whole image onto the disk; answers its figures.
pub fn check_written(lab: &Lab, node: &Node, id: &str) -> Result<Value> {
    // The outcome was acknowledged before the machine restarted, so it is there.
    let deployment = lab.deployment(id)?;
    let figures = deployment["write"].clone();
    ensure!(
        !figures.is_null(),
        "the deployment has no figures of its write: {deployment}"
    );
    compare::boot_code_and_fixed_partitions(&lab.parts.image, &node.disks[0].path)?;
    Ok(figures)
}

/// Counts what a deployment moves, on the wire: a product that fetched everything twice could not hide it.
#[derive(Debug)]
pub struct Meter {
    begin: u64,
    stored: u64,
}

impl Meter {
    /// Starts counting.
    pub fn start(lab: &Lab, node: &Node) -> Result<Self> {
        Ok(Self {
            begin: node.wire_bytes()?,
            stored: stored_bytes(lab)?,
        })
    }

    /// Fails when more has gone over the wire than the image, its packaging and what was in flight at a fault.
    pub fn expect_once(&self, node: &Node, figures: &Value) -> Result<()> {
        let wire = node.wire_bytes()? - self.begin;
        let fetched = figures["bytes_fetched"].as_u64().context("no bytes_fetched")?;
        let stored = self.stored;
        tell(&format!(
            "image of {stored} bytes: {fetched} fetched, {wire} on the wire, {} retries",
            figures["retries"]
        ));
        ensure!(
            fetched <= stored + IN_FLIGHT,
            "{fetched} bytes were fetched for an image of {stored}"
        );
        let limit = stored + stored / 10 + IN_FLIGHT;
        ensure!(
            wire <= limit,
            "{wire} bytes went over the wire for an image of {stored}"
        );
        ensure!(wire > stored / 2, "the count of the wire is no use: {wire}");
        Ok(())
    }
}

/// What may have been on its way when something broke, and is fetched a second time.
pub const IN_FLIGHT: u64 = 32 << 20;

/// Bytes that all frames of the lab's image have.
pub fn stored_bytes(lab: &Lab) -> Result<u64> {
    lab.cli.get(&format!("images/{IMAGE}"))?["stored_bytes"]
        .as_u64()
        .context("the image has no stored_bytes")
}

/// Time for the agent's session and transfers to notice a fault.
pub const DISTURBANCE: Duration = Duration::from_secs(12);
