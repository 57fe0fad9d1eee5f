//! The kinds of refusals are documented, all of them and no others.

use std::collections::BTreeMap;

use imprint_hardware::matching::CHECKS;

use super::*;
use crate::catalog::ImageState;

fn one_of_each() -> Vec<Refusal> {
    let name = || "i".to_owned();
    let no_disk = NoDisk {
        text: String::new(),
        remedy: String::new(),
        verdicts: Vec::new(),
    };
    let unsuited = Unsuited {
        text: String::new(),
        verdicts: Vec::new(),
    };
    let of_image = [
        ImageRefusal::Unnamed,
        ImageRefusal::Unfinished { name: name() },
        ImageRefusal::Withdrawn {
            name: name(),
            state: ImageState::Obsolete,
            reason: String::new(),
            replacement: None,
        },
        ImageRefusal::Region {
            name: name(),
            theirs: name(),
            ours: name(),
        },
        ImageRefusal::Virtual { name: name() },
        ImageRefusal::Iso { name: name() },
        ImageRefusal::FullMachine {
            name: name(),
            disks: Vec::new(),
        },
        ImageRefusal::Role {
            name: name(),
            role: name(),
            roles: Vec::new(),
        },
        ImageRefusal::Data { name: name() },
        ImageRefusal::Damaged { name: name() },
    ];
    let mut all: Vec<Refusal> = of_image.into_iter().map(Refusal::Image).collect();
    all.extend([
        Refusal::NodeState(name(), NodeState::Deploying),
        Refusal::Active(name()),
        Refusal::DiskRule(name()),
        Refusal::NoDisk(no_disk),
        Refusal::Wipe(name()),
        Refusal::Volume(name()),
        Refusal::TooSmall(unsuited.clone()),
        Refusal::Sectors(unsuited),
        Refusal::UserData(name()),
        Refusal::NetworkConfig(name()),
        Refusal::Hostname(name()),
        Refusal::BootOrder(name()),
        Refusal::ImageUsers(name()),
        Refusal::DataSource(name()),
        Refusal::KernelArguments(name()),
        Refusal::Console(name()),
        Refusal::Sealed(Sealed::NoPlace(name())),
        Refusal::NothingToFinish,
    ]);
    for refusal in &all {
        // A variant without a place above does not compile here.
        match refusal {
            Refusal::Image(_)
            | Refusal::Fit(_)
            | Refusal::Other(_)
            | Refusal::NodeState(..)
            | Refusal::Active(_)
            | Refusal::DiskRule(_)
            | Refusal::NoDisk(_)
            | Refusal::Wipe(_)
            | Refusal::Volume(_)
            | Refusal::TooSmall(_)
            | Refusal::Sectors(_)
            | Refusal::UserData(_)
            | Refusal::NetworkConfig(_)
            | Refusal::Hostname(_)
            | Refusal::BootOrder(_)
            | Refusal::ImageUsers(_)
            | Refusal::DataSource(_)
            | Refusal::KernelArguments(_)
            | Refusal::Console(_)
            | Refusal::Sealed(_)
            | Refusal::NothingToFinish => {}
        }
    }
    all
}

#[test]
fn the_documentation_has_every_refusal_and_its_status() {
    let document = include_str!("../../../../docs/matching.md");
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let code = cells.next()?.strip_suffix('`')?;
        let status: u16 = cells.next()?.parse().ok()?;
        Some((code, status))
    });
    let told: BTreeMap<&str, u16> = rows.collect();
    let refusals = one_of_each();
    let known: BTreeMap<&str, u16> = refusals
        .iter()
        .filter(|refusal| CHECKS.iter().all(|check| check.code != refusal.kind()))
        .map(|refusal| (refusal.kind(), refusal.status().as_u16()))
        .collect();
    assert_eq!(told, known);
}
