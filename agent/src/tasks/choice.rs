//! The one disk that a task's rule names among those that this agent sees. The controller has decided by the same code
//! over what it knew; this is over what is there now.

use imprint_hardware::{
    disk::{DiskRule, ForeignSystems, Needs, Policy, choose as decide},
    facts,
};
use imprint_proto::agent::v1::{self as wire, Disk, ImageSource};

/// Names of disks that are taken from a task.
const MAX_NAMES: usize = 64;

/// The disk with what is to be known of it, or cause and remedy.
pub(super) fn choose(
    rule: &wire::DiskRule,
    image: &ImageSource,
    disks: Vec<Disk>,
) -> Result<(Disk, Vec<String>), (String, String)> {
    let parsed: DiskRule = rule.text.parse().map_err(|error| {
        (
            format!("{error}: `{}`", rule.text),
            "boot the server with a ramdisk as new as the controller, whose rule this agent does not understand"
                .to_owned(),
        )
    })?;
    if rule.wipe.len() > MAX_NAMES || rule.own.len() > MAX_NAMES {
        return Err((
            format!(
                "the task names {} disks to be wiped and {} as the node's own; at most {MAX_NAMES} are taken",
                rule.wipe.len(),
                rule.own.len()
            ),
            "name the disk to be wiped alone".to_owned(),
        ));
    }
    let policy = Policy {
        wipe: rule.wipe.clone(),
        own: rule.own.clone(),
        foreign_systems: if rule.refuse_foreign_systems {
            ForeignSystems::Refuse
        } else {
            ForeignSystems::Warn
        },
    };
    let needs = Needs {
        size_bytes: image.disk_size_bytes,
        logical_sector_bytes: image.logical_sector_bytes,
    };
    let seen: Vec<facts::Disk> = disks.iter().cloned().map(facts::Disk::from).collect();
    let choice =
        decide(&parsed, Some(needs), &policy, &seen).map_err(|error| (error.to_string(), error.remedy()))?;
    let place = seen.iter().position(|disk| std::ptr::eq(disk, choice.disk));
    let notes = choice
        .warnings()
        .iter()
        .map(|warning| warning.text.clone())
        .collect();
    let disk = disks
        .into_iter()
        .nth(place.expect("the choice is one of the disks that were seen"));
    Ok((disk.expect("there are as many disks as facts of disks"), notes))
}

#[cfg(test)]
mod tests {
    use imprint_proto::agent::v1::{DiskContent, Transport};

    use super::*;

    fn disk(name: &str, kinds: &[&str]) -> Disk {
        let content = |kind: &&str| DiskContent {
            kind: (*kind).to_owned(),
            role: if *kind == "ext4" { "data" } else { "member" }.to_owned(),
            ..DiskContent::default()
        };
        Disk {
            kernel_name: name.to_owned(),
            serial: format!("SER-{name}"),
            transport: Transport::Nvme as i32,
            size_bytes: 10 << 30,
            logical_sector_bytes: 512,
            contents: kinds.iter().map(content).collect(),
            contents_read: true,
            ..Disk::default()
        }
    }

    fn rule(text: &str) -> wire::DiskRule {
        wire::DiskRule {
            text: text.to_owned(),
            ..wire::DiskRule::default()
        }
    }

    fn image() -> ImageSource {
        ImageSource {
            disk_size_bytes: 4 << 30,
            logical_sector_bytes: 512,
            ..ImageSource::default()
        }
    }

    #[test]
    fn the_rule_and_the_policy_of_the_task_decide() {
        let disks = || vec![disk("sdb", &["lvm-pv"]), disk("sda", &["ext4"])];
        let (chosen, notes) = choose(&rule("transport=nvme"), &image(), disks()).unwrap();
        assert_eq!(chosen.kernel_name, "sda");
        assert!(notes[0].contains("did not put there: ext4"), "{notes:?}");

        let mut own = rule("");
        own.own = vec!["serial=SER-sda".to_owned()];
        assert!(choose(&own, &image(), disks()).unwrap().1.is_empty());

        let mut strict = rule("transport=nvme");
        strict.refuse_foreign_systems = true;
        let (cause, _) = choose(&strict, &image(), disks()).unwrap_err();
        assert!(
            cause.contains("LVM physical volume") && cause.contains("did not put there"),
            "{cause}"
        );

        let mut wipe = rule("serial=SER-sdb");
        let (cause, remedy) = choose(&wipe, &image(), disks()).unwrap_err();
        assert!(cause.contains("LVM physical volume"), "{cause}");
        assert!(remedy.contains("--wipe SER-sdb"), "{remedy}");
        wipe.wipe = vec!["SER-sdb".to_owned()];
        assert_eq!(choose(&wipe, &image(), disks()).unwrap().0.kernel_name, "sdb");
    }

    #[test]
    fn a_rule_with_unknown_words_names_no_disk() {
        let (cause, remedy) = choose(
            &rule("serial=SER-sda,colour=red"),
            &image(),
            vec![disk("sda", &[])],
        )
        .unwrap_err();
        assert!(
            cause.contains("character 16: `colour` is not something a disk is chosen by"),
            "{cause}"
        );
        assert!(remedy.contains("a ramdisk as new as the controller"), "{remedy}");
        let mut many = rule("");
        many.wipe = vec![String::new(); 65];
        assert!(choose(&many, &image(), vec![disk("sda", &[])]).is_err());
    }
}
