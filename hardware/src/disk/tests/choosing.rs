use super::*;

#[test]
fn conditions_hold_or_not() {
    let disks = [Disk {
        wwn: "naa.5000c500a1b2c3d4".to_owned(),
        hctl: "0:2:0:0".to_owned(),
        ..disk("S3XABC", 100, "nvme")
    }];
    for (text, matches) in [
        ("serial=s3xabc", true),
        ("serial=s3x", false),
        ("serial=S3X*", true),
        ("serial=*abc", true),
        ("serial=*XA*", true),
        ("serial=*XB*", false),
        ("serial=*", true),
        ("serial!=S3X*", false),
        ("serial=A|S3XABC", true),
        ("serial!=A|S3XABC", false),
        ("serial!=A|B", true),
        ("rotational=false", true),
        ("size>=100,size<=100,size=100", true),
        ("size>100", false),
        ("size!=100", false),
        ("size=99|100", true),
        ("sector=512", true),
        ("sector>=4096", false),
        ("wwn=0x5000C500A1B2C3D4", true),
        ("wwn=naa.5000c500a1b2c3d4", true),
        ("wwn=5000*", true),
        ("hctl=0:2:0:0", true),
        ("volume=*", false),
        ("nguid!=x", false),
        // What is not known is neither equal nor different; an exclusion leaves out what is known to be that.
        ("not(nguid=x)", true),
        ("not(serial=S3X*)", false),
        ("not(serial=S3X*,size>100)", true),
        ("serial=X|model=QEMU*", true),
        ("serial=X|(model=QEMU*,size>100)", false),
        ("only", true),
    ] {
        assert_eq!(pick(text, &disks).is_ok(), matches, "{text}");
    }
}

#[test]
fn exactly_one_disk_or_none() {
    let mut disks = vec![
        disk("A", 100, "nvme"),
        disk("B", 200, "nvme"),
        disk("C", 300, "sata"),
    ];
    assert_eq!(pick("transport=sata", &disks), Ok("C"));
    let several = pick("transport=nvme", &disks).unwrap_err();
    assert_eq!(
        (several.lack, several.code()),
        (Lack::Several, "several-disks-match")
    );
    assert_eq!(
        several.to_string(),
        "more than one disk matches (disk-A (QEMU NVMe Ctrl, serial A, 100 bytes): it matches; \
         disk-B (QEMU NVMe Ctrl, serial B, 200 bytes): it matches; \
         disk-C (QEMU NVMe Ctrl, serial C, 300 bytes): has transport=sata, the rule wants transport=nvme)"
    );
    let none = pick("serial=Z|wwn=Y", &disks).unwrap_err();
    assert_eq!((none.lack, none.code()), (Lack::None, "no-disk-matches"));
    assert!(
        none.to_string()
            .contains("has serial=A, no wwn, the rule wants serial=Z|wwn=Y"),
        "{none}"
    );
    assert_eq!(pick("", &disks).unwrap_err().lack, Lack::Several);
    assert_eq!(pick("only", &disks).unwrap_err().lack, Lack::Several);
    let no_disk = pick("", &[]).unwrap_err();
    assert_eq!(
        (no_disk.to_string().as_str(), no_disk.code()),
        ("the machine has no disk", "no-disk")
    );

    disks[0].holders = vec!["mounted at /".to_owned()];
    assert_eq!(pick("transport=nvme", &disks), Ok("B"));
    disks[1].read_only = true;
    let none = pick("transport=nvme", &disks).unwrap_err();
    let codes: Vec<Vec<_>> = none
        .verdicts
        .iter()
        .map(|verdict| verdict.reasons.iter().map(|reason| reason.code).collect())
        .collect();
    assert_eq!(codes, [vec!["mounted"], vec!["read-only"], vec!["rule-not-met"]]);
    assert!(none.to_string().contains("in use (mounted at /)"), "{none}");
}

#[test]
fn the_smallest_or_largest_only_when_asked_for() {
    let mut disks = vec![
        disk("A", 100, "nvme"),
        disk("B", 100, "nvme"),
        disk("C", 50, "sata"),
        disk("D", 300, "nvme"),
    ];
    assert_eq!(pick("smallest", &disks), Ok("C"));
    assert_eq!(pick("largest", &disks), Ok("D"));
    assert_eq!(pick("transport=nvme,largest", &disks), Ok("D"));
    let tie = pick("transport=nvme,smallest", &disks).unwrap_err();
    assert_eq!((tie.lack, tie.code()), (Lack::Tie(Pick::Smallest), "disks-tie"));
    let outcomes: Vec<_> = tie
        .verdicts
        .iter()
        .map(|verdict| {
            let code = verdict.reasons.first().map(|reason| reason.code);
            (verdict.serial.as_str(), verdict.outcome, code)
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("A", Outcome::Matches, None),
            ("B", Outcome::Matches, None),
            ("C", Outcome::Refused, Some("rule-not-met")),
            ("D", Outcome::Refused, Some("not-smallest")),
        ]
    );
    // Guards come first: what may not be written is not the smallest.
    disks[2].read_only = true;
    disks[1].removable = true;
    assert_eq!(pick("smallest", &disks), Ok("A"));
}

#[test]
fn a_chosen_disk_comes_with_all_the_others() {
    let disks = [disk("B", 100, "nvme"), disk("A", 100, "sata")];
    let choice = choose(&rule("transport=nvme"), None, &Policy::default(), &disks).unwrap();
    let outcomes: Vec<_> = choice
        .verdicts
        .iter()
        .map(|verdict| (verdict.serial.as_str(), verdict.outcome))
        .collect();
    assert_eq!(outcomes, [("A", Outcome::Refused), ("B", Outcome::Chosen)]);
    assert!(choice.warnings().is_empty());
}

#[test]
fn a_plan_tells_what_goes_and_what_stays() {
    let disks = [
        Disk {
            contents: vec![content(Some(1), "ext4", "data", "backup")],
            ..disk("B", 10_000_000_000, "nvme")
        },
        disk("A", 100, "sata"),
    ];
    let needs = Needs {
        size_bytes: 4_000_000_000,
        logical_sector_bytes: 512,
    };
    let wipe = ["B".to_owned(), "Z".to_owned()];
    let text = rule("transport=nvme");
    let choice = choose(&text, Some(needs), &Policy::default(), &disks).unwrap();
    let plan = plan(&text, needs, &wipe, choice);
    assert_eq!(
        (plan.rule.as_str(), plan.disk.serial.as_str()),
        ("transport=nvme", "B")
    );
    assert_eq!(
        plan.wiped,
        [
            "p1 ext4 \"backup\"",
            "the first 4.0 GB are written or zeroed, the last MiB is zeroed"
        ]
    );
    assert!(
        plan.stays[0].starts_with("5.9 GB behind the image"),
        "{:?}",
        plan.stays
    );
    assert_eq!(plan.others.len(), 1);
    let codes: Vec<_> = plan.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["foreign-data", "wipe-of-another-disk"]);
}
