//! The disk of a request, over what is known of the node. The agent decides again by the same rule.

use imprint_hardware::disk::{
    ChoiceError, DiskPlan, DiskRule, Needs, Policy, Verdict, are_hints, choose, plan, read_hints,
};

use super::request::Refusal;
use crate::{
    catalog::{Image, ImageDisk},
    inventory::Inventory,
};

/// No disk, or more than one, with every disk and its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDisk {
    /// All in one sentence.
    pub text: String,
    /// What can be done.
    pub remedy: String,
    /// Every disk of the machine.
    pub verdicts: Vec<Verdict>,
}

/// The one disk that a rule names does not suit the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuited {
    /// What of it does not, and every other disk.
    pub text: String,
    /// Every disk of the machine, with the reasons.
    pub verdicts: Vec<Verdict>,
}

impl NoDisk {
    /// The same, where the rule is not the caller's.
    #[must_use]
    pub(super) fn by_model(mut self, rule: &DiskRule, model: &str) -> Self {
        self.text = format!(
            "{}; the request names no disk, and servers of the hardware model {model} start from {rule}",
            self.text
        );
        self.remedy = format!("Name a disk with --disk (API: `disk`). {}", self.remedy);
        self
    }
}

impl From<ChoiceError> for NoDisk {
    fn from(error: ChoiceError) -> Self {
        Self {
            text: error.to_string(),
            remedy: error.remedy(),
            verdicts: error.verdicts,
        }
    }
}

/// Reads a rule, or the root device hints of another system.
pub(super) fn read(text: &str) -> Result<DiskRule, Refusal> {
    if are_hints(text) {
        return read_hints(text).map_err(|error| Refusal::DiskRule(error.to_string()));
    }
    text.parse()
        .map_err(|error: imprint_hardware::disk::RuleError| Refusal::DiskRule(error.to_string()))
}

/// What the deployment would do to the node's disks.
pub(super) fn find(
    rule: &DiskRule,
    image: &Image,
    content: &ImageDisk,
    inventory: &Inventory,
    policy: &Policy,
) -> Result<DiskPlan, Vec<Refusal>> {
    // What its owner says of the smallest disk is meant for the disk that the system is on.
    let least = match image.disks.as_slice() {
        [first, ..] if first.role == content.role => image.min_disk_bytes,
        _ => 0,
    };
    let needs = Needs {
        size_bytes: content.disk_size_bytes.max(least),
        logical_sector_bytes: content.logical_sector_bytes,
    };
    let error = match choose(rule, Some(needs), policy, &inventory.disks) {
        Ok(choice) => return Ok(plan(rule, needs, &policy.wipe, choice)),
        Err(error) => error,
    };
    // The rule may be good and only the disk not: that is said more plainly.
    let Ok(choice) = choose(rule, None, policy, &inventory.disks) else {
        return Err(vec![Refusal::NoDisk(error.into())]);
    };
    let disk = choice.disk;
    let title = disk.title();
    let others: Vec<String> = error
        .verdicts
        .iter()
        .filter(|verdict| verdict.disk != title)
        .map(ToString::to_string)
        .collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!("; of the other disks, {}", others.join("; ")),
    };
    let unsuited = |text: String| Unsuited {
        text: text + &others,
        verdicts: error.verdicts.clone(),
    };
    let mut refusals = Vec::new();
    if disk.size_bytes < needs.size_bytes {
        refusals.push(Refusal::TooSmall(unsuited(format!(
            "the image {} needs {} bytes, the disk {} has {}",
            image.name, needs.size_bytes, title, disk.size_bytes
        ))));
    }
    if disk.logical_sector_bytes != needs.logical_sector_bytes {
        refusals.push(Refusal::Sectors(unsuited(format!(
            "the image {} was made for sectors of {} bytes, the disk {} has sectors of {}",
            image.name, needs.logical_sector_bytes, title, disk.logical_sector_bytes
        ))));
    }
    if refusals.is_empty() {
        refusals.push(Refusal::NoDisk(error.into()));
    }
    Err(refusals)
}

/// The same while nobody knows the image.
pub(super) fn find_any(rule: &DiskRule, inventory: &Inventory, policy: &Policy) -> Option<Refusal> {
    let error = choose(rule, None, policy, &inventory.disks).err()?;
    Some(Refusal::NoDisk(error.into()))
}
