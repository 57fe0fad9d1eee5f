//! What an image needs to be published. Pure: all that is known of it comes in as values, and every reason against it goes
//! out at once.

use imprint_image::facts::{Fact, Facts, Finding, Severity};

use super::{Image, ImageKind, ImageState, Target, Visibility};
use crate::identity::PLATFORM;

/// Drivers that a server needs in its initramfs to start from a volume of the smart NIC.
const VOLUME_DRIVERS: [&str; 4] = ["virtio_blk", "virtio_scsi", "nvme", "scsi_ep_front"];

/// What is known of one disk.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub role: String,
    /// What was read from it; `None`: it was not looked at.
    pub facts: Option<Facts>,
    /// What would keep it from working; `None`: it was not looked at.
    pub lint: Option<Vec<Finding>>,
    /// Why its manifest cannot be trusted.
    pub signature: Result<(), String>,
}

/// A reason, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub what: String,
    pub remedy: String,
}

fn reason(what: impl Into<String>, remedy: impl Into<String>) -> Reason {
    Reason {
        what: what.into(),
        remedy: remedy.into(),
    }
}

/// Everything against publishing `image`, with the terms that it is to have.
pub(super) fn against(image: &Image, to: Visibility, disks: &[Evidence]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend(of_state(image, to));
    reasons.extend(of_terms(image, to));
    for disk in disks {
        if let Err(cause) = &disk.signature {
            reasons.push(reason(
                format!(
                    "the manifest of its disk {} does not prove itself: {cause}",
                    disk.role
                ),
                "Import the image again; `imprint store verify` says what else is damaged.",
            ));
        }
        if to != Visibility::Community {
            reasons.extend(of_lint(image, disk));
        }
    }
    let machine =
        matches!(image.kind, ImageKind::SystemDisk | ImageKind::FullMachine) && image.target != Target::Vm;
    if to == Visibility::Public && machine {
        if image.certified_for.is_empty() {
            reasons.push(reason(
                "it is certified for no model of servers",
                "Name the models that it was tried on: `--certified-for MODEL`.",
            ));
        }
        reasons.extend(of_capabilities(disks));
    }
    reasons
}

fn of_state(image: &Image, to: Visibility) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let name = &image.name;
    if image.state != ImageState::Active {
        reasons.push(reason(
            format!("it is {}", image.state),
            format!("Put it back first: `imprint image activate {name}`."),
        ));
    }
    match image.visibility {
        Visibility::Private => {}
        Visibility::Shared => reasons.push(reason(
            "it is shared with projects",
            format!("Stop sharing it first: `imprint image members {name}`, `imprint image unshare {name} PROJECT`."),
        )),
        other if other == to => {}
        other => reasons.push(reason(
            format!("it is published as {other} already"),
            format!("Take that back first: `imprint image unpublish {name}`."),
        )),
    }
    if image.kind == ImageKind::Iso {
        reasons.push(reason(
            "it is an ISO image, which serves a transition only",
            "Install from it, and publish an image of the installed disk.",
        ));
    }
    if image.encrypted || image.disks.iter().any(|disk| disk.encrypted) {
        reasons.push(reason(
            "it is encrypted, and nobody else has its key",
            format!("Publish a copy that is not: `imprint image copy {name} --name NAME --decrypt`."),
        ));
    }
    if to == Visibility::Public && image.project_id != PLATFORM {
        reasons.push(reason(
            "it belongs to a project, and public images are the platform's",
            format!(
                "Copy it with a token of an administrator, `imprint image copy {name}`, and publish the copy."
            ),
        ));
    }
    reasons
}

fn of_terms(image: &Image, to: Visibility) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if to != Visibility::Marketplace {
        return reasons;
    }
    if image.publisher.is_empty() {
        reasons.push(reason(
            "nobody is named as its publisher",
            "Name yourself: `--publisher NAME`.",
        ));
    }
    if image.license.is_none() {
        reasons.push(reason(
            "it has no licence",
            "Say on what terms it may be used: `--license NAME`.",
        ));
    }
    if image.price.is_none() {
        reasons.push(reason(
            "it has no price",
            "Say `--price 0.05/EUR/deployment`, or `--free`.",
        ));
    }
    reasons
}

fn of_lint(image: &Image, disk: &Evidence) -> Vec<Reason> {
    let Some(findings) = &disk.lint else {
        return vec![reason(
            format!("the content of its disk {} was not looked at", disk.role),
            "Import the image again: every import looks at the content.",
        )];
    };
    let errors: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code.as_str())
        .collect();
    if errors.is_empty() {
        return Vec::new();
    }
    vec![reason(
        format!(
            "the lint report of its disk {} has errors: {}",
            disk.role,
            errors.join(", ")
        ),
        format!(
            "`imprint image lint {}` says what to do about each of them.",
            image.name
        ),
    )]
}

/// What every public image for bare metal brings along.
fn of_capabilities(disks: &[Evidence]) -> Vec<Reason> {
    let Some(facts) = disks.first().and_then(|disk| disk.facts.as_ref()) else {
        // That it was not looked at is said already.
        return Vec::new();
    };
    let checks: [(&str, Result<(), String>, &str); 4] = [
        (
            "cloud-init",
            cloud_init(facts),
            "Install cloud-init in the image, and enable it.",
        ),
        (
            "password reset",
            guest_plugin(facts),
            "Install the guest plugin in /opt/imprint: it resets passwords.",
        ),
        (
            "network configuration",
            guest_plugin(facts),
            "Install the guest plugin in /opt/imprint: it configures the network and mends it.",
        ),
        (
            "volume driver",
            volume_driver(facts),
            "Build the initramfs with virtio_blk, virtio_scsi or nvme, so that servers start from volumes.",
        ),
    ];
    let missing = |(what, held, remedy): (&str, Result<(), String>, &str)| {
        let cause = held.err()?;
        Some(reason(
            format!("the capability `{what}` is missing: {cause}"),
            remedy,
        ))
    };
    checks.into_iter().filter_map(missing).collect()
}

fn cloud_init(facts: &Facts) -> Result<(), String> {
    match &facts.cloud_init {
        Fact::Unknown(why) => Err(format!("it could not be looked for, {why}")),
        Fact::Known(None) => Err("it is not installed".to_owned()),
        Fact::Known(Some(found)) if found.disabled_by.is_empty() => Ok(()),
        Fact::Known(Some(found)) => Err(format!("it is disabled by {}", found.disabled_by.join(", "))),
    }
}

fn guest_plugin(facts: &Facts) -> Result<(), String> {
    match &facts.guest_plugin {
        Fact::Known(true) => Ok(()),
        Fact::Known(false) => Err("there is no /opt/imprint".to_owned()),
        Fact::Unknown(why) => Err(format!("it could not be looked for, {why}")),
    }
}

fn volume_driver(facts: &Facts) -> Result<(), String> {
    let kernels = match &facts.kernels {
        Fact::Known(kernels) => kernels,
        Fact::Unknown(why) => return Err(format!("it could not be looked for, {why}")),
    };
    let is_driver = |module: &String| VOLUME_DRIVERS.contains(&module.as_str());
    let mut started = kernels.iter().filter(|kernel| kernel.image.is_some()).peekable();
    if started.peek().is_none() {
        return Err("there is no kernel".to_owned());
    }
    for kernel in started {
        let builtin = kernel
            .builtin
            .known()
            .is_some_and(|modules| modules.iter().any(is_driver));
        let loaded = kernel
            .initramfs
            .known()
            .and_then(Option::as_ref)
            .is_some_and(|initramfs| initramfs.modules.iter().any(is_driver));
        if !builtin && !loaded {
            return Err(format!("kernel {} does not start with one", kernel.version));
        }
    }
    Ok(())
}
