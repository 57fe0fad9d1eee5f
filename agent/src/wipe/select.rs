//! Which disks a task means. Pure: rules and what is there in, disks or a refusal out.

use imprint_hardware::{
    disk::{DiskRule, Outcome, Policy, Verdict, choose},
    facts,
};
use imprint_proto::agent::v1::{Disk, WipeTask};

/// Rules that are taken from a task.
const MAX_RULES: usize = 64;
/// Reasons for which a disk that is not built in is passed over.
const NOT_BUILT_IN: [&str; 3] = ["removable", "usb-not-asked-for", "volume"];
/// Drivers of adapters whose disks are somewhere else.
const NETWORK_DRIVERS: [&str; 13] = [
    "lpfc", "qla2xxx", "qla4xxx", "bfa", "fnic", "qedf", "qedi", "be2iscsi", "bnx2i", "bnx2fc", "cxgb4i",
    "nbd", "rbd",
];

/// What a task means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// To be wiped, each once.
    pub disks: Vec<Disk>,
    /// What else is to be known: disks that are passed over or left alone.
    pub notes: Vec<String>,
}

/// Why nothing is wiped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub cause: String,
    /// What an operator can do.
    pub remedy: String,
}

impl Refusal {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Refusal {
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// The disks that the task means, among all of this machine.
///
/// # Errors
/// When a rule names none or several, or when a disk that is meant can't be wiped or is to be left alone.
pub fn select(task: &WipeTask, disks: &[Disk]) -> Result<Selection, Refusal> {
    if task.disks.is_empty() != task.all_local_disks {
        return Err(Refusal::new(
            "the task names disks and means all of them, or neither",
            "name the disks to be wiped, or ask for all local ones",
        ));
    }
    if task.disks.len() > MAX_RULES || task.leave.len() > MAX_RULES {
        return Err(Refusal::new(
            format!(
                "the task has {} rules for disks to wipe and {} for disks to leave alone; at most {MAX_RULES} are taken",
                task.disks.len(),
                task.leave.len()
            ),
            "ask for all local disks instead",
        ));
    }
    let wanted = rules(&task.disks)?;
    let left = rules(&task.leave)?;
    if left.iter().any(|rule| rule.pick.is_some()) {
        return Err(Refusal::new(
            "a rule for disks to leave alone picks one of several",
            "leave out smallest, largest and only there",
        ));
    }
    let facts: Vec<facts::Disk> = disks.iter().map(bare).collect();
    let is_left = |disk: &facts::Disk| left.iter().any(|rule| rule.holds(disk));
    let mut selection = Selection::default();
    if task.all_local_disks {
        all(&facts, &is_left, disks, &mut selection)?;
        if selection.disks.is_empty() && !task.allow_no_disk {
            return Err(no_disk(&selection));
        }
    } else {
        named(&wanted, &facts, &is_left, disks, &mut selection)?;
    }
    Ok(selection)
}

fn rules(texts: &[String]) -> Result<Vec<DiskRule>, Refusal> {
    let parsed = texts.iter().map(|text| {
        if text.trim().is_empty() {
            return Err(Refusal::new("a rule is empty", "name each disk by its facts"));
        }
        text.parse::<DiskRule>().map_err(|error| {
            Refusal::new(
                format!("{error}: `{text}`"),
                "boot the server with a ramdisk as new as the controller, whose rule this agent does not understand",
            )
        })
    });
    parsed.collect()
}

/// What counts of a disk: content and holders go with the wipe, but what is mounted stays.
fn bare(disk: &Disk) -> facts::Disk {
    let mut disk = facts::Disk::from(disk.clone());
    disk.holders
        .retain(|user| user.starts_with("mounted") || user.contains("swap"));
    disk.contents.clear();
    disk.contents_read = true;
    disk
}

fn take(facts: &[facts::Disk], title: &str, disks: &[Disk], selection: &mut Selection) {
    let place = facts.iter().position(|disk| disk.title() == title);
    if let Some(disk) = place.and_then(|place| disks.get(place))
        && !selection.disks.contains(disk)
    {
        selection.disks.push(disk.clone());
    }
}

fn named(
    rules: &[DiskRule],
    facts: &[facts::Disk],
    is_left: &dyn Fn(&facts::Disk) -> bool,
    disks: &[Disk],
    selection: &mut Selection,
) -> Result<(), Refusal> {
    for rule in rules {
        let choice = choose(rule, None, &Policy::default(), facts)
            .map_err(|error| Refusal::new(error.to_string(), error.remedy()))?;
        if is_left(choice.disk) {
            return Err(Refusal::new(
                format!("{} is to be wiped and to be left alone", choice.disk.title()),
                "take it out of one of the lists",
            ));
        }
        if !choice.disk.volume_id.is_empty() {
            return Err(Refusal::new(
                format!("{} is the volume {}", choice.disk.title(), choice.disk.volume_id),
                "volumes are not wiped by an agent: delete the volume, or wipe it where it is stored",
            ));
        }
        take(facts, &choice.disk.title(), disks, selection);
    }
    Ok(())
}

fn all(
    facts: &[facts::Disk],
    is_left: &dyn Fn(&facts::Disk) -> bool,
    disks: &[Disk],
    selection: &mut Selection,
) -> Result<(), Refusal> {
    let anything = DiskRule {
        text: String::new(),
        terms: Vec::new(),
        pick: None,
    };
    let verdicts = match choose(&anything, None, &Policy::default(), facts) {
        Ok(choice) => choice.verdicts,
        Err(error) => error.verdicts,
    };
    let mut against: Vec<String> = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for verdict in &verdicts {
        let Some(disk) = facts.iter().find(|disk| disk.title() == verdict.disk) else {
            continue;
        };
        if is_left(disk) {
            selection.notes.push(format!("{} is left alone", verdict.disk));
        } else if let Some(reason) = not_built_in(disk, verdict) {
            selection
                .notes
                .push(format!("{} is passed over: {reason}", verdict.disk));
        } else if verdict.outcome == Outcome::Refused {
            against.push(verdict.to_string());
            remedies.extend(verdict.reasons.iter().map(|reason| reason.remedy.clone()));
        } else {
            take(facts, &verdict.disk, disks, selection);
        }
    }
    if !against.is_empty() {
        remedies.dedup();
        remedies.push("Or name it among the disks to leave alone.".to_owned());
        return Err(Refusal::new(
            format!("cannot be wiped: {}", against.join("; ")),
            remedies.join(" "),
        ));
    }
    Ok(())
}

fn no_disk(selection: &Selection) -> Refusal {
    let mut cause = "this machine has no local disk to wipe".to_owned();
    if !selection.notes.is_empty() {
        cause.push_str(&format!(" ({})", selection.notes.join("; ")));
    }
    Refusal::new(
        cause,
        "check that the ramdisk has the driver of the disks' controller",
    )
}

fn not_built_in(disk: &facts::Disk, verdict: &Verdict) -> Option<String> {
    let over_network = disk.transport == "iscsi"
        || NETWORK_DRIVERS.contains(&disk.driver.as_str())
        || (disk.transport == "nvme" && disk.pci_address.is_empty());
    if over_network {
        return Some("over a network".to_owned());
    }
    let reason = verdict
        .reasons
        .iter()
        .find(|reason| NOT_BUILT_IN.contains(&reason.code));
    reason.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use imprint_proto::agent::v1::{DiskContent, Transport};

    use super::*;

    fn disk(name: &str, change: impl FnOnce(&mut Disk)) -> Disk {
        let mut disk = Disk {
            kernel_name: name.to_owned(),
            serial: format!("SER-{name}"),
            transport: Transport::Nvme.into(),
            pci_address: "0000:3b:00.0".to_owned(),
            size_bytes: 10 << 30,
            logical_sector_bytes: 512,
            ..Disk::default()
        };
        change(&mut disk);
        disk
    }

    fn machine() -> Vec<Disk> {
        let member = |disk: &mut Disk| {
            disk.holders = vec!["md127".to_owned()];
            disk.contents_read = true;
            disk.contents = vec![DiskContent {
                kind: "md-raid".to_owned(),
                role: "member".to_owned(),
                ..DiskContent::default()
            }];
        };
        vec![
            disk("nvme0n1", member),
            disk("nvme1n1", |_| {}),
            disk("sdb", |disk| disk.removable = true),
            disk("sdc", |disk| disk.transport = Transport::Usb.into()),
            disk("sdd", |disk| disk.transport = Transport::Iscsi.into()),
            disk("sde", |disk| {
                (disk.transport, disk.driver) = (Transport::Scsi.into(), "lpfc".to_owned());
            }),
            disk("nvme2n1", |disk| disk.pci_address = String::new()),
            disk("vda", |disk| disk.volume_id = "V1".to_owned()),
        ]
    }

    fn task(disks: &[&str], leave: &[&str]) -> WipeTask {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        WipeTask {
            disks: texts(disks),
            leave: texts(leave),
            all_local_disks: disks.is_empty(),
            ..WipeTask::default()
        }
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection
            .disks
            .iter()
            .map(|disk| disk.kernel_name.as_str())
            .collect()
    }

    #[test]
    fn all_local_disks_are_those_built_in() {
        let selection = select(&task(&[], &[]), &machine()).unwrap();
        assert_eq!(names(&selection), ["nvme0n1", "nvme1n1"]);
        assert_eq!(selection.notes.len(), 6, "{:?}", selection.notes);
        let selection = select(&task(&[], &["serial=SER-nvme0n1"]), &machine()).unwrap();
        assert_eq!(names(&selection), ["nvme1n1"]);
        assert!(
            selection
                .notes
                .iter()
                .any(|note| note.contains("SER-nvme0n1") && note.contains("left alone"))
        );
        let refusal = select(&task(&[], &["size>1"]), &machine()).unwrap_err();
        assert!(refusal.cause.contains("no local disk"), "{refusal:?}");
    }

    #[test]
    fn a_machine_without_a_disk_has_nothing_to_wipe_where_the_task_allows_it() {
        let refusal = select(&task(&[], &[]), &[]).unwrap_err();
        assert!(refusal.cause.contains("no local disk"), "{refusal:?}");
        let allowed = WipeTask {
            allow_no_disk: true,
            ..task(&[], &[])
        };
        assert_eq!(select(&allowed, &[]).unwrap(), Selection::default());
        // A disk that cannot be wiped is none that is not there.
        let mut disks = machine();
        disks[1].read_only = true;
        assert!(select(&allowed, &disks).is_err());
    }

    #[test]
    fn a_built_in_disk_that_cannot_be_wiped_is_a_refusal() {
        for change in [
            (|disk: &mut Disk| disk.read_only = true) as fn(&mut Disk),
            |disk| disk.holders = vec!["mounted at /".to_owned()],
            |disk| disk.multipath = "mpatha".to_owned(),
        ] {
            let mut disks = machine();
            change(&mut disks[1]);
            let refusal = select(&task(&[], &[]), &disks).unwrap_err();
            assert!(refusal.cause.contains("SER-nvme1n1"), "{refusal:?}");
            assert!(refusal.remedy.contains("leave alone"), "{refusal:?}");
            let left = select(&task(&[], &["serial=SER-nvme1n1"]), &disks).unwrap();
            assert_eq!(names(&left), ["nvme0n1"]);
            assert!(select(&task(&["serial=SER-nvme1n1"], &[]), &disks).is_err());
        }
    }

    #[test]
    fn named_disks_are_one_each_and_not_left_alone() {
        let wipe = |disks: &[&str], leave: &[&str]| select(&task(disks, leave), &machine());
        let both = wipe(
            &["serial=SER-nvme1n1", "serial=SER-nvme0n1", "serial=SER-nvme0n1"],
            &[],
        )
        .unwrap();
        assert_eq!(
            names(&both),
            ["nvme1n1", "nvme0n1"],
            "members and doubles are no hindrance"
        );
        let refusal = wipe(&["transport=nvme"], &[]).unwrap_err();
        assert!(refusal.cause.contains("more than one"), "{refusal:?}");
        let refusal = wipe(&["serial=SER-nvme1n1"], &["transport=nvme"]).unwrap_err();
        assert!(refusal.cause.contains("left alone"), "{refusal:?}");
        let refusal = wipe(&["volume=V1"], &[]).unwrap_err();
        assert!(refusal.cause.contains("the volume V1"), "{refusal:?}");
        // A disk on USB is wiped when that is asked for.
        assert_eq!(names(&wipe(&["transport=usb"], &[]).unwrap()), ["sdc"]);
    }

    #[test]
    fn a_task_without_a_clear_meaning_wipes_nothing() {
        assert!(select(&WipeTask::default(), &machine()).is_err(), "an empty task");
        let mut both = task(&["serial=SER-nvme1n1"], &[]);
        both.all_local_disks = true;
        assert!(select(&both, &machine()).is_err());
        for (disks, leave) in [
            (&["colour=red"][..], &[][..]),
            (&[""], &[]),
            (&[], &["smallest"]),
            (&[], &["x=1"]),
        ] {
            assert!(
                select(&task(disks, leave), &machine()).is_err(),
                "{disks:?} {leave:?}"
            );
        }
        let many = vec!["serial=SER-nvme1n1"; 65];
        assert!(select(&task(&many, &[]), &machine()).is_err());
    }
}
