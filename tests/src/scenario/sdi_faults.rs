//! What goes wrong with cards and storage systems, one after the other on one server: each failure says step, cause and
//! remedy, what only pauses goes on, and nothing is left on the card.

use anyhow::{Result, ensure};

use super::{deploy, fault, sdi_boot, volume};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::sdi::{STORAGE, Storage, VolumeSpec};
use crate::story::tell;

const NAME: &str = "system-7";
const SIZE_MIB: u64 = 6 << 10;
/// Nobody listens there.
const NO_CARD: &str = "127.0.0.1:50999";
/// What the deployment was at when its volume did not come as it should.
const STEP: &str = "attach_volume";

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let system = VolumeSpec::new(NAME, SIZE_MIB).slow(20);
    // Ends after the server.
    let _storage = Storage::start(lab.folder(), STORAGE, &[system])?;
    let mut node = lab.build(NodeSpec::diskless(Firmware::Uefi).with_card(2))?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    volume::make_known(&lab, &system)?;

    silent_card(&mut lab, &mut node)?;
    let half = (SIZE_MIB << 19).to_string();
    for (looks, told) in [
        ("never", "has not appeared"),
        ("wrong-size", half.as_str()),
        ("wrong-serial", "NOT-THE-ONE"),
    ] {
        another_disk(&mut lab, &mut node, looks, told)?;
    }
    interrupted_write(&mut lab, &mut node)
}

/// The card is not where the controller looks for it: that is waited for, and told.
fn silent_card(lab: &mut Lab, node: &mut Node) -> Result<()> {
    volume::set_card(lab, node, NO_CARD)?;
    lab.cli.json(&["volume", "attach", NAME, &node.mac])?;
    let told = interrupt::until("a silent card to be told", patience::SHORT, || {
        let volume = volume::facts(lab, NAME)?;
        ensure!(
            volume["state"] == "attaching",
            "a volume of a silent card is {}: {}",
            volume["state"],
            volume["why"]
        );
        let remedy = volume["remedy"].as_str().unwrap_or_default();
        Ok((!remedy.is_empty()).then_some(volume))
    });
    let told = told.explain(|| volume::picture(lab, NAME))?;
    let why = told["why"].as_str().unwrap_or_default();
    ensure!(!why.is_empty(), "nothing is told of the wait: {told}");
    ensure!(!told["deadline"].is_null(), "it is waited for ever: {told}");
    tell(&format!("silent card: {why}"));

    volume::introduce_card(lab, node)?;
    volume::wait_state(lab, NAME, "attached")?;
    tell("with the right address it has gone on by itself");
    take_back(lab)
}

/// The card says that it shows the volume, and the server sees no disk like it; `told` is what the cause says of that.
fn another_disk(lab: &mut Lab, node: &mut Node, looks: &str, told: &str) -> Result<()> {
    node.card()?.control(&format!("present {looks}"))?;
    let id = sdi_boot::order(lab, node, NAME, None)?;
    let problem = fault::wait_failed(lab, node, &id)?;
    let cause = problem["cause"].as_str().unwrap_or_default();
    ensure!(
        problem["step"] == STEP && cause.contains(NAME) && cause.contains(told),
        "present {looks}: the failure does not name step, volume and what is wrong: {problem}"
    );
    tell(&format!("present {looks}: {cause}"));
    node.card()?.control("present right")?;
    take_back(lab)
}

/// Card and storage system go away in the middle of the image, and come back.
fn interrupted_write(lab: &mut Lab, node: &mut Node) -> Result<()> {
    let id = sdi_boot::order(lab, node, NAME, None)?;
    lab.wait_written(node, &id, 20)?;
    node.card()?.restart()?;
    tell("the card has restarted in mid-write");
    lab.wait_written(node, &id, 40)?;
    node.card()?.control("backend lost")?;
    tell("the storage system is gone");
    interrupt::pause(fault::DISTURBANCE)?;
    node.expect_on()?;
    let meanwhile = lab.deployment(&id)?;
    ensure!(
        meanwhile["state"] == "running",
        "without its storage the deployment is {}: {}",
        meanwhile["state"],
        meanwhile["problem"]
    );
    node.card()?.control("backend back")?;
    tell("the storage system is back");

    let done = lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)?;
    let facts = lab.wait_state(node, "active", patience::SHORT)?;
    deploy::check(lab, node, (Firmware::Uefi, SIZE_MIB), (&done, &facts))?;
    let attached = volume::wait_state(lab, NAME, "attached")?;
    volume::expect_root(lab, &deploy::address(&done)?, &attached)?;
    tell("the deployment has gone on each time, and its system is complete");
    refuses_to_take_the_root(lab, node)?;
    volume::expect_no_orphans(lab)
}

/// A running system's volume stays where it is.
fn refuses_to_take_the_root(lab: &Lab, node: &Node) -> Result<()> {
    let refused = lab.cli.ask(&["volume", "detach", NAME])?;
    ensure!(
        !refused.success && refused.err.contains(&node.name),
        "the volume of a running system was to be taken away: {}{}",
        refused.out,
        refused.err
    );
    tell(&format!("detach: {}", refused.err.trim().replace('\n', " | ")));
    Ok(())
}

/// Detaches the volume where it is still attached; the card has nothing then.
fn take_back(lab: &mut Lab) -> Result<()> {
    if volume::facts(lab, NAME)?["state"] != "available" {
        volume::detach(lab, NAME)?;
    }
    volume::expect_no_orphans(lab)
}
