//! Which place a new boot entry takes, and which old ones go. Pure.

use std::collections::BTreeMap;

use imprint_proto::agent::v1::BootOrderPolicy;

use super::{
    device_path::{self, HardDrive, PartitionSignature},
    load_option::LoadOption,
};

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPlan {
    /// The new `BootOrder`.
    pub order: Vec<u16>,
    /// The new `BootNext`; none leaves it alone.
    pub next: Option<u16>,
}

/// Places `new` in the order by the policy; `gone` are entries that have been removed.
#[must_use]
pub fn place(
    current: &[u16],
    entries: &BTreeMap<u16, LoadOption>,
    new: u16,
    gone: &[u16],
    policy: BootOrderPolicy,
) -> OrderPlan {
    let kept = current
        .iter()
        .copied()
        .filter(|number| *number != new && !gone.contains(number));
    match policy {
        BootOrderPolicy::DiskFirst => OrderPlan {
            order: std::iter::once(new).chain(kept).collect(),
            next: None,
        },
        // Where it has a place it keeps it; a new entry gets none.
        BootOrderPolicy::NextBootOnly => OrderPlan {
            order: current
                .iter()
                .copied()
                .filter(|number| !gone.contains(number))
                .collect(),
            next: Some(new),
        },
        // Unspecified comes from a controller that does not say; its word about every boot stays possible.
        BootOrderPolicy::NetworkFirst | BootOrderPolicy::Unspecified => {
            let (mut order, rest): (Vec<u16>, Vec<u16>) =
                kept.partition(|number| entries.get(number).is_some_and(LoadOption::is_network));
            order.push(new);
            order.extend(rest);
            OrderPlan {
                order,
                next: Some(new),
            }
        }
    }
}

/// Entries that the new one replaces, each with the reason: the same label, or a partition that the written disk had
/// before and has no more. An entry for a partition of another disk is never stale, also when that disk is away now.
#[must_use]
pub fn stale(
    entries: &BTreeMap<u16, LoadOption>,
    label: &str,
    esp: &HardDrive,
    present: &[PartitionSignature],
    formerly_here: &[PartitionSignature],
) -> Vec<(u16, String)> {
    let mut out = Vec::new();
    for (number, option) in entries {
        let Some(drive) = device_path::hard_drive(&option.path) else {
            continue;
        };
        if drive.signature == esp.signature {
            out.push((
                *number,
                format!(
                    "\"{}\" points at the partition that was written",
                    option.description
                ),
            ));
        } else if present.contains(&drive.signature) {
            // A partition of another disk that is there: somebody else's entry, whatever its label.
        } else if option.description == label {
            out.push((
                *number,
                format!("\"{label}\" points at a partition that no disk has"),
            ));
        } else if formerly_here.contains(&drive.signature) {
            out.push((
                *number,
                format!(
                    "\"{}\" points at a partition that was overwritten",
                    option.description
                ),
            ));
        }
    }
    out
}

/// The lowest number that no entry has.
#[must_use]
pub fn free_number(entries: &BTreeMap<u16, LoadOption>, taken: &[u16]) -> Option<u16> {
    (0..=u16::MAX).find(|number| !entries.contains_key(number) && !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::efi::{device_path::Node, load_option::ACTIVE};

    fn network(name: &str) -> LoadOption {
        let path = vec![Node::Other {
            kind: 3,
            subtype: 11,
            data: vec![0; 33],
        }];
        LoadOption {
            attributes: ACTIVE,
            description: name.into(),
            path,
            optional: vec![],
        }
    }

    fn drive(id: u8) -> HardDrive {
        let signature = PartitionSignature::Gpt([id; 16]);
        HardDrive {
            partition_number: 1,
            start_lba: 2048,
            size_lba: 2048,
            signature,
        }
    }

    fn disk(name: &str, id: u8) -> LoadOption {
        let path = vec![
            Node::HardDrive(drive(id)),
            Node::FilePath("\\EFI\\x\\x.efi".into()),
        ];
        LoadOption {
            attributes: ACTIVE,
            description: name.into(),
            path,
            optional: vec![],
        }
    }

    fn entries() -> BTreeMap<u16, LoadOption> {
        [
            (1, network("NIC 1")),
            (2, network("NIC 2")),
            (3, disk("debian", 3)),
            (4, disk("windows", 4)),
        ]
        .into()
    }

    #[test]
    fn places_the_new_entry_by_policy() {
        type Case<'a> = (&'a [u16], &'a [u16], BootOrderPolicy, &'a [u16], Option<u16>);
        let cases: [Case<'_>; 9] = [
            (
                &[1, 2, 3, 4],
                &[3],
                BootOrderPolicy::NetworkFirst,
                &[1, 2, 9, 4],
                Some(9),
            ),
            (
                &[3, 1, 4, 2],
                &[],
                BootOrderPolicy::NetworkFirst,
                &[1, 2, 9, 3, 4],
                Some(9),
            ),
            (&[], &[], BootOrderPolicy::NetworkFirst, &[9], Some(9)),
            (
                &[1, 9, 4],
                &[],
                BootOrderPolicy::NetworkFirst,
                &[1, 9, 4],
                Some(9),
            ),
            (
                &[1, 2, 3, 4],
                &[3],
                BootOrderPolicy::DiskFirst,
                &[9, 1, 2, 4],
                None,
            ),
            (&[7, 1], &[], BootOrderPolicy::Unspecified, &[1, 9, 7], Some(9)),
            (&[4, 1, 3], &[3], BootOrderPolicy::NextBootOnly, &[4, 1], Some(9)),
            (
                &[4, 9, 1],
                &[],
                BootOrderPolicy::NextBootOnly,
                &[4, 9, 1],
                Some(9),
            ),
            (&[], &[], BootOrderPolicy::NextBootOnly, &[], Some(9)),
        ];
        for (current, gone, policy, order, next) in cases {
            let plan = place(current, &entries(), 9, gone, policy);
            assert_eq!(
                plan,
                OrderPlan {
                    order: order.to_vec(),
                    next
                },
                "{current:?} {policy:?}"
            );
        }
    }

    #[test]
    fn only_entries_that_can_be_told_are_stale() {
        let gpt = |id| PartitionSignature::Gpt([id; 16]);
        let numbers =
            |label: &str, esp: u8, present: &[PartitionSignature], former: &[PartitionSignature]| {
                stale(&entries(), label, &drive(esp), present, former)
                    .into_iter()
                    .map(|(n, _)| n)
                    .collect::<Vec<_>>()
            };
        assert_eq!(
            numbers("debian", 8, &[gpt(8)], &[]),
            [3],
            "same label, nobody has the partition"
        );
        assert_eq!(
            numbers("debian", 8, &[gpt(8), gpt(3)], &[]),
            [0u16; 0],
            "the other disk's debian stays"
        );
        assert_eq!(
            numbers("debian", 4, &[gpt(4), gpt(3)], &[]),
            [4],
            "an old entry for the very partition"
        );
        assert_eq!(
            numbers("fedora", 8, &[gpt(8)], &[gpt(4)]),
            [4],
            "the old system of this disk"
        );
        assert_eq!(
            numbers("fedora", 8, &[gpt(8)], &[]),
            [0u16; 0],
            "unknown partitions may be of a disk that is away"
        );
        assert_eq!(free_number(&entries(), &[0]), Some(5));
    }
}
