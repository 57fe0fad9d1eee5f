//! What a deployment would do to the disks of a machine.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    choose::{Choice, Needs, Outcome, Verdict},
    rule::DiskRule,
};
use crate::{facts::shown_size, reason::Reason};

/// Both ends of a disk are cleared, whatever the image's size.
const END_BYTES: u64 = 1 << 20;

/// Which disk is written, what is on it, what goes and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DiskPlan {
    /// The rule as it was understood; `only` when none was given.
    pub rule: String,
    /// The disk.
    pub disk: Verdict,
    /// What will be gone.
    pub wiped: Vec<String>,
    /// What stays as it is.
    pub stays: Vec<String>,
    /// Every other disk, none of whose bytes is written, and why not.
    pub others: Vec<Verdict>,
    /// What is to be known of it, though it goes on.
    pub warnings: Vec<Reason>,
}

/// The plan of a choice.
#[must_use]
pub fn plan(rule: &DiskRule, needs: Needs, wipe: &[String], choice: Choice<'_>) -> DiskPlan {
    let disk = choice.disk;
    let mut warnings = choice.warnings().to_vec();
    for name in wipe.iter().filter(|name| !super::is_named(disk, name)) {
        warnings.push(Reason::new(
            "wipe-of-another-disk",
            format!("`{name}` is not the disk that is written, so nothing of it is wiped"),
            "Leave the name out, or change the rule to name that disk.",
        ));
    }
    let mut chosen = None;
    let mut others = Vec::new();
    for verdict in choice.verdicts {
        match verdict.outcome {
            Outcome::Chosen => chosen = Some(verdict),
            Outcome::Matches | Outcome::Refused => others.push(verdict),
        }
    }
    let chosen = chosen.expect("a choice has a verdict on the disk that it chose");
    let mut wiped: Vec<String> = chosen.on_it.clone();
    wiped.push(format!(
        "the first {} are written or zeroed, the last MiB is zeroed",
        shown_size(needs.size_bytes)
    ));
    let rest = disk
        .size_bytes
        .saturating_sub(needs.size_bytes)
        .saturating_sub(END_BYTES);
    let mut stays = Vec::new();
    if rest > 0 {
        stays.push(format!(
            "{} behind the image are not erased; no partition table leads to what was there",
            shown_size(rest)
        ));
    }
    if !others.is_empty() {
        stays.push("every byte of every other disk".to_owned());
    }
    let text = rule.to_string();
    DiskPlan {
        rule: if text.is_empty() { "only".to_owned() } else { text },
        disk: chosen,
        wiped,
        stays,
        others,
        warnings,
    }
}
