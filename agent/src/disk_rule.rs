//! The right disk or none: a rule over stable facts must hold for exactly one disk that may be written.
//!
//! Pure. Every disk that is not taken comes back with the reason, in the words that the operator reads.

use std::fmt::{self, Display};

use imprint_proto::agent::v1::{Comparison, Disk, DiskCondition, DiskFact, DiskRule, Transport};

/// What the image asks of a disk.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// The image's size.
    pub size_bytes: u64,
    /// The sector size that its partition table and boot loader were made for.
    pub logical_sector_bytes: u32,
}

/// Not exactly one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDisk {
    /// How many did match and may be written.
    pub matches: usize,
    rule: String,
    disks: Vec<String>,
}

impl Display for NoDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = if self.rule.is_empty() {
            "the only disk"
        } else {
            &self.rule
        };
        match self.matches {
            0 => write!(f, "no disk matches \"{rule}\"")?,
            many => write!(f, "{many} disks match \"{rule}\"")?,
        }
        if self.disks.is_empty() {
            return write!(f, ": the machine shows no disk at all");
        }
        write!(f, ": {}", self.disks.join("; "))
    }
}

impl std::error::Error for NoDisk {}

impl NoDisk {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        if self.matches > 1 {
            "name one disk by its serial or WWN, for example --disk 'serial=…'"
        } else if self.disks.is_empty() {
            "check that the machine has a disk and the ramdisk the driver of its controller"
        } else {
            "change the disk rule to name one of the disks listed, or free the disk it names"
        }
    }
}

/// Chooses the one disk.
///
/// # Errors
/// When it is not exactly one; all disks are listed with the reason why they were or were not taken.
pub fn choose<'d>(rule: &DiskRule, needs: Needs, disks: &'d [Disk]) -> Result<&'d Disk, NoDisk> {
    let verdicts: Vec<(&Disk, Vec<String>)> = disks
        .iter()
        .map(|disk| (disk, objections(rule, needs, disk)))
        .collect();
    let mut taken = verdicts.iter().filter(|(_, objections)| objections.is_empty());
    if let (Some((disk, _)), None) = (taken.next(), taken.next()) {
        return Ok(disk);
    }
    let matches = verdicts
        .iter()
        .filter(|(_, objections)| objections.is_empty())
        .count();
    let line = |(disk, objections): &(&Disk, Vec<String>)| {
        let verdict = if objections.is_empty() {
            "matches".to_owned()
        } else {
            objections.join(", ")
        };
        format!("{}: {verdict}", describe(disk))
    };
    Err(NoDisk {
        matches,
        rule: rule.text.clone(),
        disks: verdicts.iter().map(line).collect(),
    })
}

/// A disk in one phrase: "sda (QEMU HARDDISK, serial QM0001, 30.0 GiB)".
#[must_use]
pub fn describe(disk: &Disk) -> String {
    let mut words = Vec::new();
    if !disk.model.is_empty() {
        words.push(disk.model.clone());
    }
    if !disk.serial.is_empty() {
        words.push(format!("serial {}", disk.serial));
    }
    words.push(size(disk.size_bytes));
    format!("{} ({})", disk.kernel_name, words.join(", "))
}

fn size(bytes: u64) -> String {
    let tenths = |unit: u32| bytes.saturating_mul(10) >> unit;
    let (tenths, name) = if bytes >= 1 << 30 {
        (tenths(30), "GiB")
    } else {
        (tenths(20), "MiB")
    };
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Why a disk is not taken: what the rule says first, then what forbids to write it.
fn objections(rule: &DiskRule, needs: Needs, disk: &Disk) -> Vec<String> {
    let mut found: Vec<String> = rule
        .conditions
        .iter()
        .filter_map(|condition| unmet(condition, disk))
        .collect();
    if !disk.holders.is_empty() {
        found.push(format!("in use ({})", disk.holders.join(", ")));
    }
    if disk.read_only {
        found.push("read-only".to_owned());
    }
    if disk.removable {
        found.push("removable".to_owned());
    }
    let asked_for_usb = rule.conditions.iter().any(|condition| {
        condition.fact() == DiskFact::Transport
            && condition.comparison() == Comparison::Equal
            && condition.text.eq_ignore_ascii_case("usb")
    });
    if disk.transport() == Transport::Usb && !disk.removable && !asked_for_usb {
        found.push("on USB, and the rule does not ask for transport=usb".to_owned());
    }
    if disk.size_bytes < needs.size_bytes {
        found.push(format!(
            "too small: the image needs {} bytes, the disk has {}",
            needs.size_bytes, disk.size_bytes
        ));
    }
    if disk.logical_sector_bytes != needs.logical_sector_bytes {
        found.push(format!(
            "has sectors of {} bytes, the image was made for {}",
            disk.logical_sector_bytes, needs.logical_sector_bytes
        ));
    }
    found
}

/// Why a condition doesn't hold; none when it does. What this agent doesn't know can't hold: a rule of a newer
/// controller must not match more disks than it means.
fn unmet(condition: &DiskCondition, disk: &Disk) -> Option<String> {
    let (Ok(fact), Ok(comparison)) = (
        DiskFact::try_from(condition.fact),
        Comparison::try_from(condition.comparison),
    ) else {
        return Some("the rule has a condition that this agent does not know".to_owned());
    };
    if fact == DiskFact::Size {
        return unmet_size(comparison, condition.bytes, disk.size_bytes);
    }
    let (name, value) = match fact {
        DiskFact::Serial => ("serial", disk.serial.clone()),
        DiskFact::Wwn => ("wwn", disk.wwn.clone()),
        DiskFact::Nguid => ("nguid", disk.nguid.clone()),
        DiskFact::Model => ("model", disk.model.clone()),
        DiskFact::Vendor => ("vendor", disk.vendor.clone()),
        DiskFact::Transport => ("transport", transport(disk.transport()).to_owned()),
        DiskFact::PciAddress => ("pci", disk.pci_address.clone()),
        DiskFact::ByPath => ("by-path", disk.by_path.clone()),
        DiskFact::Rotational => ("rotational", disk.rotational.to_string()),
        DiskFact::Size | DiskFact::Unspecified => {
            return Some("the rule has a condition that this agent does not know".to_owned());
        }
    };
    let equal = matches(&condition.text, &value);
    let (holds, sign) = match comparison {
        Comparison::Equal => (equal, "="),
        // A disk that doesn't say its serial is not known to have another one.
        Comparison::NotEqual => (!equal && !value.is_empty(), "!="),
        _ => return Some(format!("the rule compares {name} by size, which is not possible")),
    };
    let shown = if value.is_empty() {
        "unknown".to_owned()
    } else {
        format!("\"{value}\"")
    };
    (!holds).then(|| format!("{name} is {shown}, not {sign} \"{}\"", condition.text))
}

fn unmet_size(comparison: Comparison, wanted: u64, found: u64) -> Option<String> {
    let (holds, sign) = match comparison {
        Comparison::Equal => (found == wanted, "="),
        Comparison::NotEqual => (found != wanted, "!="),
        Comparison::Less => (found < wanted, "<"),
        Comparison::LessOrEqual => (found <= wanted, "<="),
        Comparison::Greater => (found > wanted, ">"),
        Comparison::GreaterOrEqual => (found >= wanted, ">="),
        Comparison::Unspecified => {
            return Some("the rule has a condition that this agent does not know".to_owned());
        }
    };
    (!holds).then(|| format!("size is {found} bytes, not {sign} {wanted}"))
}

/// Text without regard to case; `*` at either end matches the rest. Nothing matches an unknown value.
fn matches(pattern: &str, value: &str) -> bool {
    let (pattern, value) = (pattern.trim().to_lowercase(), value.to_lowercase());
    if value.is_empty() {
        return false;
    }
    let (open_start, open_end) = (
        pattern.starts_with('*'),
        pattern.len() > 1 && pattern.ends_with('*'),
    );
    let core = &pattern[usize::from(open_start)..pattern.len() - usize::from(open_end)];
    match (open_start, open_end) {
        (false, false) => value == core,
        (true, false) => value.ends_with(core),
        (false, true) => value.starts_with(core),
        (true, true) => value.contains(core),
    }
}

/// The transport as rules and people name it.
#[must_use]
pub fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Unspecified => "",
        Transport::Nvme => "nvme",
        Transport::Sata => "sata",
        Transport::Sas => "sas",
        Transport::Scsi => "scsi",
        Transport::Virtio => "virtio",
        Transport::Usb => "usb",
        Transport::Raid => "raid",
        Transport::Iscsi => "iscsi",
        Transport::Mmc => "mmc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const NEEDS: Needs = Needs {
        size_bytes: 4 * GIB,
        logical_sector_bytes: 512,
    };

    fn disk(name: &str) -> Disk {
        Disk {
            kernel_name: name.into(),
            serial: format!("SER-{name}"),
            model: "Fast Disk 9000".into(),
            size_bytes: 10 * GIB,
            logical_sector_bytes: 512,
            transport: Transport::Nvme as i32,
            ..Disk::default()
        }
    }

    fn rule(fact: DiskFact, comparison: Comparison, text: &str, bytes: u64) -> DiskRule {
        let condition = DiskCondition {
            fact: fact as i32,
            comparison: comparison as i32,
            text: text.into(),
            bytes,
        };
        DiskRule {
            text: format!("{fact:?} {text}{bytes}"),
            conditions: vec![condition],
        }
    }

    #[test]
    fn conditions_hold_or_not() {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        use DiskFact::{Model, Rotational, Serial, Size, Transport, Unspecified, Vendor, Wwn};
        let cases = [
            (rule(Serial, Equal, "ser-a", 0), true),
            (rule(Serial, Equal, "ser-b", 0), false),
            (rule(Serial, NotEqual, "ser-b", 0), true),
            (rule(Serial, Equal, "SER*", 0), true),
            (rule(Serial, Equal, "*-a", 0), true),
            (rule(Model, Equal, "*disk*", 0), true),
            (rule(Model, Equal, "disk", 0), false),
            (rule(Model, Equal, "*", 0), true),
            (rule(Wwn, Equal, "*", 0), false),
            (rule(Vendor, NotEqual, "x", 0), false),
            (rule(Transport, Equal, "NVMe", 0), true),
            (rule(Rotational, Equal, "false", 0), true),
            (rule(Size, GreaterOrEqual, "", 10 * GIB), true),
            (rule(Size, Greater, "", 10 * GIB), false),
            (rule(Size, Less, "", 11 * GIB), true),
            (rule(Size, LessOrEqual, "", 9 * GIB), false),
            (rule(Size, Equal, "", 10 * GIB), true),
            (rule(Serial, Less, "x", 0), false),
            (rule(Unspecified, Equal, "x", 0), false),
            (DiskRule::default(), true),
        ];
        for (rule, holds) in cases {
            assert_eq!(choose(&rule, NEEDS, &[disk("a")]).is_ok(), holds, "{rule:?}");
        }
        let mut unknown = rule(Serial, Equal, "ser-a", 0);
        unknown.conditions[0].fact = 99;
        assert!(
            choose(&unknown, NEEDS, &[disk("a")]).is_err(),
            "a fact of a newer controller"
        );
    }

    #[test]
    fn disks_that_must_not_be_written_are_refused_with_the_reason() {
        let change = |change: &dyn Fn(&mut Disk)| {
            let mut disk = disk("a");
            change(&mut disk);
            disk
        };
        let cases = [
            (
                change(&|disk| disk.holders = vec!["mounted at /".into()]),
                "in use (mounted at /)",
            ),
            (change(&|disk| disk.read_only = true), "read-only"),
            (change(&|disk| disk.removable = true), "removable"),
            (change(&|disk| disk.transport = Transport::Usb as i32), "on USB"),
            (change(&|disk| disk.size_bytes = 4 * GIB - 1), "too small"),
            (
                change(&|disk| disk.logical_sector_bytes = 4096),
                "sectors of 4096",
            ),
        ];
        for (disk, reason) in cases {
            let error = choose(
                &rule(DiskFact::Serial, Comparison::Equal, "ser-a", 0),
                NEEDS,
                &[disk],
            )
            .unwrap_err();
            assert_eq!(error.matches, 0);
            assert!(error.to_string().contains(reason), "{error}");
        }
        let usb = change(&|disk| disk.transport = Transport::Usb as i32);
        assert!(
            choose(
                &rule(DiskFact::Transport, Comparison::Equal, "usb", 0),
                NEEDS,
                &[usb]
            )
            .is_ok()
        );
    }

    #[test]
    fn ambiguity_lists_every_disk() {
        let mut small = disk("c");
        small.size_bytes = GIB;
        let disks = [disk("a"), disk("b"), small];
        let error = choose(
            &DiskRule {
                text: "model=Fast*".into(),
                conditions: vec![],
            },
            NEEDS,
            &disks,
        )
        .unwrap_err();
        assert_eq!(error.matches, 2);
        let text = error.to_string();
        assert!(
            text.starts_with(
                "2 disks match \"model=Fast*\": a (Fast Disk 9000, serial SER-a, 10.0 GiB): matches"
            ),
            "{text}"
        );
        assert!(
            text.contains("c (Fast Disk 9000, serial SER-c, 1.0 GiB): too small"),
            "{text}"
        );
        assert!(error.remedy().contains("serial"));
        let none = choose(&DiskRule::default(), NEEDS, &[]).unwrap_err();
        assert!(none.to_string().contains("no disk at all"));
    }

    #[test]
    fn one_of_many_is_taken_when_the_others_object() {
        let mut held = disk("b");
        held.holders = vec!["md0".into()];
        let disks = [held, disk("a")];
        assert_eq!(
            choose(&DiskRule::default(), NEEDS, &disks).unwrap().kernel_name,
            "a"
        );
    }
}
