//! The right disk or none, over what is known of a machine. The agent decides again, over what it then sees.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    guard::{self, Policy},
    rule::{DiskRule, Pick},
};
use crate::{facts::Disk, reason::Reason};

/// What an image asks of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The image's size.
    pub size_bytes: u64,
    /// The sector size that it was made for.
    pub logical_sector_bytes: u32,
}

/// How a disk came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DiskOutcome)]
pub enum Outcome {
    /// It is the one.
    Chosen,
    /// It could be the one, and so could another.
    Matches,
    /// It is not, for the reasons given.
    Refused,
}

/// Why one disk was or was not taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[schema(as = DiskVerdict)]
pub struct Verdict {
    /// The disk, for people.
    pub disk: String,
    /// Its serial number; may be empty.
    pub serial: String,
    /// Its world wide name; may be empty.
    pub wwn: String,
    /// Its link below `/dev/disk/by-path`; may be empty.
    pub by_path: String,
    /// Its size.
    pub size_bytes: u64,
    /// What is on it, in short: "p2 ext4 \"rootfs\"".
    pub on_it: Vec<String>,
    /// How it came out.
    pub outcome: Outcome,
    /// What speaks against it; empty unless it is refused. What the rule says comes first.
    pub reasons: Vec<Reason>,
    /// What is to be known of it, though it does not speak against it.
    pub warnings: Vec<Reason>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.disk)?;
        match self.outcome {
            Outcome::Chosen => f.write_str("it is the one"),
            Outcome::Matches => f.write_str("it matches"),
            Outcome::Refused => {
                let reasons: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
                f.write_str(&reasons.join(", "))
            }
        }
    }
}

/// The disk, and why not the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The one disk.
    pub disk: &'a Disk,
    /// Every disk of the machine in stable order, the chosen one among them.
    pub verdicts: Vec<Verdict>,
}

impl Choice<'_> {
    /// What is to be known of the chosen disk.
    #[must_use]
    pub fn warnings(&self) -> &[Reason] {
        let chosen = self
            .verdicts
            .iter()
            .find(|verdict| verdict.outcome == Outcome::Chosen);
        chosen.map_or(&[], |verdict| &verdict.warnings)
    }
}

/// Why no disk can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// None fulfils the rule and may be written.
    None,
    /// More than one does.
    Several,
    /// More than one is the smallest, or the largest.
    Tie(Pick),
}

/// No disk can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceError {
    /// Why.
    pub lack: Lack,
    /// Every disk of the machine, in stable order.
    pub verdicts: Vec<Verdict>,
}

impl ChoiceError {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.lack {
            Lack::None if self.verdicts.is_empty() => "no-disk",
            Lack::None => "no-disk-matches",
            Lack::Several => "several-disks-match",
            Lack::Tie(_) => "disks-tie",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self.lack {
            Lack::None if self.verdicts.is_empty() => {
                "Check that the machine has a disk and the ramdisk the driver of its controller.".to_owned()
            }
            Lack::None => {
                // When the rule names one disk, what keeps that one from being written is what helps.
                let guarded: Vec<_> = self
                    .verdicts
                    .iter()
                    .filter(|verdict| verdict.reasons.iter().all(|reason| reason.code != RULE_NOT_MET))
                    .collect();
                match guarded.as_slice() {
                    [one] => {
                        let mut remedies: Vec<_> =
                            one.reasons.iter().map(|reason| reason.remedy.as_str()).collect();
                        remedies.dedup();
                        remedies.join(" ")
                    }
                    _ => "Change the rule to name one of the disks listed, or free the disk that it names."
                        .to_owned(),
                }
            }
            Lack::Several => {
                "Name one disk by facts that no other disk has, such as its serial number, or add smallest or largest to the rule."
                    .to_owned()
            }
            Lack::Tie(_) => {
                "Name one disk by facts that no other disk has, such as its serial number or its path.".to_owned()
            }
        }
    }
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = match self.lack {
            Lack::None if self.verdicts.is_empty() => return f.write_str("the machine has no disk"),
            Lack::None => "no disk matches".to_owned(),
            Lack::Several => "more than one disk matches".to_owned(),
            Lack::Tie(pick) => format!("more than one disk is the {}", pick.word()),
        };
        let list: Vec<_> = self.verdicts.iter().map(ToString::to_string).collect();
        write!(f, "{head} ({})", list.join("; "))
    }
}

impl std::error::Error for ChoiceError {}

const RULE_NOT_MET: &str = "rule-not-met";

/// The one disk that fulfils the rule, may be written and, if it is asked, suits the image.
///
/// # Errors
/// When it is not exactly one; every disk is listed with the reasons. The order of `disks` changes nothing.
pub fn choose<'a>(
    rule: &DiskRule,
    needs: Option<Needs>,
    policy: &Policy,
    disks: &'a [Disk],
) -> Result<Choice<'a>, ChoiceError> {
    let mut judged: Vec<(&Disk, Verdict)> = disks
        .iter()
        .map(|disk| (disk, judge(rule, needs, policy, disk, disks)))
        .collect();
    judged.sort_by(|(a, in_a), (b, in_b)| {
        key(a)
            .cmp(&key(b))
            .then_with(|| natural(&a.kernel_name).cmp(&natural(&b.kernel_name)))
            .then_with(|| in_a.cmp(in_b))
    });
    pick(rule.pick, &mut judged);
    let mut left = judged
        .iter()
        .enumerate()
        .filter(|(_, (_, verdict))| verdict.outcome == Outcome::Matches)
        .map(|(index, (disk, _))| (index, *disk));
    let first = left.next();
    let is_one = left.next().is_none();
    drop(left);
    let mut verdicts: Vec<Verdict> = judged.into_iter().map(|(_, verdict)| verdict).collect();
    match first {
        Some((index, disk)) if is_one => {
            verdicts[index].outcome = Outcome::Chosen;
            Ok(Choice { disk, verdicts })
        }
        Some(_) => Err(ChoiceError {
            lack: match rule.pick {
                Some(pick @ (Pick::Smallest | Pick::Largest)) => Lack::Tie(pick),
                _ => Lack::Several,
            },
            verdicts,
        }),
        None => Err(ChoiceError {
            lack: Lack::None,
            verdicts,
        }),
    }
}

/// What stays from boot to boot. Kernel names come after it: they only decide between disks without any other name.
fn key(disk: &Disk) -> [&str; 8] {
    [
        &disk.pci_address,
        &disk.by_path,
        &disk.hctl,
        &disk.serial,
        &disk.wwn,
        &disk.nguid,
        &disk.model,
        &disk.volume_id,
    ]
}

/// sda, sdb, …, sdz, sdaa; nvme2n1 before nvme10n1.
pub(super) fn natural(name: &str) -> (usize, &str) {
    (name.len(), name)
}

fn judge(rule: &DiskRule, needs: Option<Needs>, policy: &Policy, disk: &Disk, all: &[Disk]) -> Verdict {
    let unmet = rule.terms.iter().filter(|term| !term.holds(disk)).map(|term| {
        Reason::new(
            RULE_NOT_MET,
            format!("has {}, the rule wants {term}", term.found(disk)),
            "Change the rule if this disk is meant.",
        )
    });
    let mut reasons: Vec<Reason> = unmet.collect();
    let findings = guard::look(disk, all, rule, needs, policy);
    reasons.extend(findings.against);
    Verdict {
        disk: disk.title(),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
        by_path: disk.by_path.clone(),
        size_bytes: disk.size_bytes,
        on_it: disk.contents.iter().map(guard::on_it).collect(),
        outcome: if reasons.is_empty() {
            Outcome::Matches
        } else {
            Outcome::Refused
        },
        reasons,
        warnings: findings.warnings,
    }
}

fn pick(pick: Option<Pick>, judged: &mut [(&Disk, Verdict)]) {
    let (wanted, code, word): (fn(_) -> Option<u64>, _, _) = match pick {
        None | Some(Pick::Only) => return,
        Some(Pick::Smallest) => (
            |sizes: Vec<u64>| sizes.into_iter().min(),
            "not-smallest",
            "smaller",
        ),
        Some(Pick::Largest) => (|sizes: Vec<u64>| sizes.into_iter().max(), "not-largest", "larger"),
    };
    let left = judged
        .iter()
        .filter(|(_, verdict)| verdict.outcome == Outcome::Matches);
    let Some(size) = wanted(left.map(|(disk, _)| disk.size_bytes).collect()) else {
        return;
    };
    for (disk, verdict) in judged {
        if verdict.outcome == Outcome::Matches && disk.size_bytes != size {
            verdict.outcome = Outcome::Refused;
            verdict.reasons.push(Reason::new(
                code,
                format!("another disk that matches is {word}"),
                "Name this disk in the rule if it is meant.",
            ));
        }
    }
}
