use proptest::prelude::*;

use super::*;

fn any_disk() -> impl Strategy<Value = Disk> {
    let names = ("sd[a-c]", "[AB]?", "(naa\\.500000000000000[12])?");
    let facts = (
        1_u64..4,
        prop::sample::select(vec!["nvme", "sata", "usb"]),
        any::<[bool; 3]>(),
    );
    let contents = prop::option::of(prop::collection::vec(
        prop::sample::select(vec!["lvm-pv", "ext4", "gpt"]),
        0..3,
    ));
    (names, facts, contents).prop_map(|((name, serial, wwn), (size, transport, flags), contents)| Disk {
        kernel_name: name,
        wwn,
        removable: flags[0] && flags[1],
        read_only: flags[1] && flags[2],
        rotational: flags[2],
        contents_read: contents.is_some(),
        contents: contents
            .into_iter()
            .flatten()
            .zip(1..)
            .map(|(kind, number)| content(Some(number), kind, "data", "x"))
            .collect(),
        ..disk(&serial, size * 100, transport)
    })
}

fn any_term() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "serial=A",
        "serial!=A|B",
        "transport=nvme|usb",
        "size>=200",
        "size<250",
        "wwn=*1",
        "rotational=true",
        "model=QEMU*",
        "sector=512|4096",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|terms| format!("not({})", terms.join(","))),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|terms| format!("({})", terms.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a})|({b})")),
        ]
    })
}

fn any_rule() -> impl Strategy<Value = String> {
    let pick = prop::sample::select(vec!["", "only", "smallest", "largest"]);
    (prop::collection::vec(any_term(), 0..3), pick).prop_map(|(mut terms, pick)| {
        if !pick.is_empty() {
            terms.push(pick.to_owned());
        }
        terms.join(",")
    })
}

fn answer(rule: &DiskRule, policy: &Policy, disks: &[Disk]) -> Result<(Disk, Vec<Verdict>), ChoiceError> {
    let needs = Some(Needs {
        size_bytes: 150,
        logical_sector_bytes: 512,
    });
    choose(rule, needs, policy, disks).map(|choice| (choice.disk.clone(), choice.verdicts))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_of_disks_changes_nothing(
        (disks, shuffled) in prop::collection::vec(any_disk(), 0..6)
            .prop_flat_map(|disks| (Just(disks.clone()), Just(disks).prop_shuffle())),
        text in any_rule(),
        wipe in prop::collection::vec("[ABC]", 0..2),
    ) {
        let rule: DiskRule = text.parse().unwrap();
        let policy = Policy { wipe, ..Policy::default() };
        prop_assert_eq!(answer(&rule, &policy, &disks), answer(&rule, &policy, &shuffled));
    }

    #[test]
    fn a_disk_is_chosen_only_if_it_is_the_only_one_without_a_reason(
        disks in prop::collection::vec(any_disk(), 0..6),
        text in any_rule(),
    ) {
        let rule: DiskRule = text.parse().unwrap();
        let verdicts = match answer(&rule, &Policy::default(), &disks) {
            Ok((_, verdicts)) => {
                let chosen = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Chosen).count();
                prop_assert_eq!(chosen, 1);
                verdicts
            }
            Err(error) => error.verdicts,
        };
        prop_assert_eq!(verdicts.len(), disks.len());
        for verdict in verdicts {
            prop_assert_eq!(verdict.reasons.is_empty(), verdict.outcome != Outcome::Refused);
        }
    }

    #[test]
    fn rules_read_back_the_same(text in any_rule()) {
        let rule: DiskRule = text.parse().unwrap();
        let again: DiskRule = rule.to_string().parse().unwrap();
        prop_assert_eq!(&rule.terms, &again.terms);
        prop_assert_eq!(rule.pick, again.pick);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "[a-z=<>!|(),\"* {}:\\[\\]0-9é]{0,60}") {
        let _rule: Result<DiskRule, _> = text.parse();
        let _hints = read_hints(&text);
    }
}
