//! The right disk or none, over what is known of a machine. The agent decides again, over what it then sees.

use std::fmt;

use super::rule::DiskRule;
use crate::facts::Disk;

/// Why one disk was or was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The disk, for people.
    pub disk: String,
    /// What speaks against it; empty when it matches.
    pub against: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = if self.against.is_empty() {
            "it matches".to_owned()
        } else {
            self.against.join(", ")
        };
        write!(f, "{}: {reasons}", self.disk)
    }
}

/// No disk can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChoiceError {
    /// None fulfils the rule and may be written.
    None(Vec<Verdict>),
    /// More than one does.
    Several(Vec<Verdict>),
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, verdicts) = match self {
            Self::None(verdicts) if verdicts.is_empty() => return f.write_str("the machine has no disk"),
            Self::None(verdicts) => ("no disk matches", verdicts),
            Self::Several(verdicts) => ("more than one disk matches", verdicts),
        };
        let list: Vec<_> = verdicts.iter().map(ToString::to_string).collect();
        write!(f, "{head} ({})", list.join("; "))
    }
}

impl std::error::Error for ChoiceError {}

/// What an image asks of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The image's size.
    pub size_bytes: u64,
    /// The sector size that it was made for.
    pub logical_sector_bytes: u32,
}

/// The one disk that fulfils the rule, may be written and, if it is asked, suits the image.
///
/// Disks that are held, read-only or removable are never taken, nor are those on USB unless the rule asks for them.
pub fn choose<'a>(rule: &DiskRule, needs: Option<Needs>, disks: &'a [Disk]) -> Result<&'a Disk, ChoiceError> {
    let verdicts: Vec<Verdict> = disks.iter().map(|disk| judge(rule, needs, disk)).collect();
    let mut taken = disks
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.against.is_empty());
    match (taken.next(), taken.next()) {
        (Some((disk, _)), None) => Ok(disk),
        (Some(_), Some(_)) => Err(ChoiceError::Several(verdicts)),
        (None, _) => Err(ChoiceError::None(verdicts)),
    }
}

fn judge(rule: &DiskRule, needs: Option<Needs>, disk: &Disk) -> Verdict {
    let mut against = Vec::new();
    for condition in rule.conditions.iter().filter(|condition| !condition.holds(disk)) {
        against.push(format!(
            "has {}, the rule wants {condition}",
            condition.found(disk)
        ));
    }
    if !disk.holders.is_empty() {
        against.push(format!("in use ({})", disk.holders.join(", ")));
    }
    if disk.read_only {
        against.push("read-only".to_owned());
    }
    if disk.removable {
        against.push("removable".to_owned());
    }
    if disk.transport == "usb" && !disk.removable && !rule.asks_for_usb() {
        against.push("on USB, and the rule does not ask for transport=usb".to_owned());
    }
    if let Some(needs) = needs {
        if disk.size_bytes < needs.size_bytes {
            against.push(format!(
                "too small: the image needs {} bytes, the disk has {}",
                needs.size_bytes, disk.size_bytes
            ));
        }
        if disk.logical_sector_bytes != needs.logical_sector_bytes {
            against.push(format!(
                "has sectors of {} bytes, the image was made for {}",
                disk.logical_sector_bytes, needs.logical_sector_bytes
            ));
        }
    }
    Verdict {
        disk: disk.title(),
        against,
    }
}
