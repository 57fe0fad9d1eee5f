//! Steps of a deployment against faults, each with a server of its own: what `docs/reliability.md` says of a simulated
//! server is so for real firmware, a real ramdisk and a real system.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{deploy, fault};
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// Network and controller are away for so long.
const AWAY: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The server has asked for the ramdisk, whose agent has not called.
    Boot,
    /// A third of the image is written.
    Write,
    /// The installed system starts for the first time.
    FirstBoot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    PowerCut,
    NetworkCut,
    ControllerKilled,
}

const CELLS: [(When, Fault); 7] = [
    (When::Boot, Fault::PowerCut),
    (When::Boot, Fault::ControllerKilled),
    (When::Write, Fault::PowerCut),
    (When::Write, Fault::NetworkCut),
    (When::FirstBoot, Fault::PowerCut),
    (When::FirstBoot, Fault::NetworkCut),
    (When::FirstBoot, Fault::ControllerKilled),
];

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    for (when, what) in CELLS {
        let began = Instant::now();
        let spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Virtio).slow(30));
        let mut node = lab.build(spec)?;
        let attempts =
            cell(&mut lab, &mut node, when, what).with_context(|| format!("{when:?} × {what:?}"))?;
        node.power_off()?;
        tell(&format!(
            "{when:?} × {what:?}: active after {} s, {attempts} attempts",
            began.elapsed().as_secs()
        ));
    }
    Ok(())
}

/// One deployment with its fault; answers how many attempts it took.
fn cell(lab: &mut Lab, node: &mut Node, when: When, what: Fault) -> Result<u64> {
    node.power_on()?;
    lab.take_into_service(node)?;
    if when == When::Boot {
        node.power_off()?;
    }
    let id = fault::order(lab, node)?;
    match when {
        When::Boot => {
            node.power_on()?;
            // From here on it is not the firmware that asks, which would give up without an answer.
            node.wait_serial("boots the ramdisk", patience::NETWORK_BOOT)?;
        }
        When::Write => {
            lab.wait_written(node, &id, 33)?;
        }
        When::FirstBoot => {
            wait_step(lab, node, &id, "first_boot_report")?;
            node.wait_serial("boots its local disk", patience::NETWORK_BOOT)?;
        }
    }
    match what {
        Fault::PowerCut => {
            node.power_off()?;
            tell("the power is gone");
            interrupt::pause(fault::DISTURBANCE)?;
            node.power_on()?;
        }
        Fault::NetworkCut => {
            node.switch_port(false)?;
            tell("the network is gone");
            interrupt::pause(AWAY)?;
            node.switch_port(true)?;
        }
        Fault::ControllerKilled => {
            lab.controller.kill()?;
            tell("the controller is dead");
            interrupt::pause(fault::DISTURBANCE)?;
            lab.controller.start()?;
        }
    }
    tell("and is back");
    let done = lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(node, "active", patience::SHORT)?;
    let address = deploy::address(&done)?;
    let said = lab.key.run(&address, "cat /etc/hostname", ANSWER)?;
    ensure!(!said.trim().is_empty(), "the system has no name");
    done["attempt"].as_u64().context("no count of attempts")
}

fn wait_step(lab: &Lab, node: &Node, id: &str, step: &str) -> Result<()> {
    interrupt::until(&format!("step {step}"), patience::DEPLOYMENT, || {
        Ok((lab.deployment(id)?["step"] == step).then_some(()))
    })
    .explain(|| lab.picture(node))
}
