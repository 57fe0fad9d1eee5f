//! What an operator does before a server boots from a volume of its SDI card.

use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use crate::lab::{IMAGE, Lab};
use crate::node::{Firmware, Node, NodeSpec};
use crate::scenario::volume;
use crate::story::tell;

/// A server that has nothing but its card.
pub fn server(firmware: Firmware) -> NodeSpec {
    NodeSpec::diskless(firmware).with_card(2)
}

/// Tells the controller of the server's card, and has it make a volume that holds the image; answers the volume's name.
pub fn prepare(lab: &mut Lab, node: &mut Node, size_mib: u64) -> Result<String> {
    let address = node.card()?.address();
    shown(lab, &["node", "set-card", &node.name, &address])?;
    let name = format!("{}-root", node.name);
    let began = Instant::now();
    let size = format!("{size_mib}MiB");
    shown(
        lab,
        &["volume", "create", &name, "--from-image", IMAGE, "--size", &size],
    )?;
    volume::wait_state(lab, &name, "available")?;
    tell(&format!(
        "{name} is prepared after {:.1} s: the controller has written the image, and serves the volume over NBD",
        began.elapsed().as_secs_f64()
    ));
    Ok(name)
}

/// Runs a command of the operator before everybody's eyes.
fn shown(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    tell(&format!("imprint {}", arguments.join(" ")));
    lab.cli.json(arguments)
}
