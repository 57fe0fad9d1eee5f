use super::*;
use crate::facts::Disk;

fn disk(serial: &str, size_bytes: u64, transport: &str) -> Disk {
    Disk {
        kernel_name: format!("disk-{serial}"),
        serial: serial.to_owned(),
        transport: transport.to_owned(),
        model: "QEMU NVMe Ctrl".to_owned(),
        size_bytes,
        logical_sector_bytes: 512,
        ..Disk::default()
    }
}

#[test]
fn rules_are_read() {
    let size = |rule: &str| match &rule.parse::<DiskRule>().unwrap().conditions[0].wanted {
        Wanted::Bytes(bytes) => *bytes,
        Wanted::Text(text) => panic!("{text}"),
    };
    for (rule, bytes) in [
        ("size=1", 1),
        ("size=512B", 512),
        ("size>=400GB", 400_000_000_000),
        ("size <= 1.5 TiB", 1_649_267_441_664),
        ("size!=2KiB", 2048),
        ("size<3kb", 3000),
        ("size>0.5MB", 500_000),
        ("SIZE=1MiB", 1 << 20),
        ("size=1TB", 1_000_000_000_000),
    ] {
        assert_eq!(size(rule), bytes, "{rule}");
    }
    let rule: DiskRule = r#" transport=NVMe , size>=400GB,model="a, b*",serial!=S3X* "#
        .parse()
        .unwrap();
    assert_eq!(
        rule.text,
        r#"transport=NVMe , size>=400GB,model="a, b*",serial!=S3X*"#
    );
    let shown: Vec<_> = rule.conditions.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "transport=nvme",
            "size>=400000000000",
            "model=a, b*",
            "serial!=S3X*"
        ]
    );
    assert!("".parse::<DiskRule>().unwrap().conditions.is_empty());
    assert!("  ".parse::<DiskRule>().unwrap().conditions.is_empty());
}

#[test]
fn wrong_rules_are_refused_where_they_are_wrong() {
    for (rule, position, part) in [
        (
            "name=sda",
            1,
            "use one of serial, wwn, nguid, model, vendor, transport, pci, path, size, rotational",
        ),
        ("serial=a,,model=b", 10, "expected one of serial"),
        ("serial=a,", 10, "expected one of serial"),
        ("serial", 7, "expected one of =, !=, <"),
        ("serial=", 8, "expected a value"),
        ("serial<5", 7, "`<` compares sizes only"),
        ("size=large", 6, "`large` is not a size"),
        ("size=1.2.3GB", 6, "is not a size"),
        ("size=1XB", 6, "is not a size"),
        ("size=99999999999999999999TB", 6, "larger than any disk"),
        ("model=é,size=x", 14, "`x` is not a size"),
        ("rotational=no", 12, "`true` or `false`"),
        ("transport=pcie", 11, "use one of nvme, sata"),
        ("model=\"abc", 7, "closing `\"`"),
        ("model=\"abc\" size=1", 13, "expected `,`"),
        ("serial=\"\"", 8, "expected a value"),
        ("model=a*b", 7, "`*` can stand only"),
    ] {
        let error = rule.parse::<DiskRule>().unwrap_err();
        assert_eq!(error.position, position, "{rule}: {error}");
        assert!(error.to_string().contains(part), "{rule}: {error}");
    }
    assert!("x".repeat(2000).parse::<DiskRule>().is_err());
}

#[test]
fn text_is_compared_without_case_and_with_stars_at_the_ends() {
    let disks = [disk("S3XABC", 100, "nvme")];
    for (rule, matches) in [
        ("serial=s3xabc", true),
        ("serial=s3x", false),
        ("serial=S3X*", true),
        ("serial=*abc", true),
        ("serial=*XA*", true),
        ("serial=*XB*", false),
        ("serial=*", true),
        ("serial!=S3X*", false),
        ("rotational=false", true),
        ("size>=100,size<=100,size=100", true),
        ("size>100", false),
        ("size!=100", false),
        ("wwn=*", false),
        ("wwn!=x", false),
    ] {
        let rule: DiskRule = rule.parse().unwrap();
        assert_eq!(choose(&rule, None, &disks).is_ok(), matches, "{}", rule.text);
    }
}

#[test]
fn exactly_one_disk_or_none() {
    let mut disks = vec![
        disk("A", 100, "nvme"),
        disk("B", 200, "nvme"),
        disk("C", 300, "sata"),
    ];
    let rule = |text: &str| text.parse::<DiskRule>().unwrap();
    assert_eq!(choose(&rule("transport=sata"), None, &disks).unwrap().serial, "C");
    let several = choose(&rule("transport=nvme"), None, &disks).unwrap_err();
    assert!(matches!(several, ChoiceError::Several(_)));
    let text = several.to_string();
    assert!(
        text.contains("disk-A") && text.contains("disk-B") && text.contains("wants transport=nvme"),
        "{text}"
    );
    let none = choose(&rule("serial=Z"), None, &disks).unwrap_err();
    assert!(
        none.to_string().contains("has serial=A, the rule wants serial=Z"),
        "{none}"
    );
    assert!(matches!(
        choose(&rule(""), None, &disks).unwrap_err(),
        ChoiceError::Several(_)
    ));
    assert_eq!(
        choose(&rule(""), None, &[]).unwrap_err().to_string(),
        "the machine has no disk"
    );

    disks[0].holders = vec!["mounted at /".to_owned()];
    assert_eq!(choose(&rule("transport=nvme"), None, &disks).unwrap().serial, "B");
    disks[1].read_only = true;
    let none = choose(&rule("transport=nvme"), None, &disks)
        .unwrap_err()
        .to_string();
    assert!(
        none.contains("in use (mounted at /)") && none.contains("read-only"),
        "{none}"
    );
}

#[test]
fn rules_go_over_the_wire_whole() {
    let rule: DiskRule = "serial=S3X*,size>=1GB".parse().unwrap();
    let wire = rule.to_wire();
    assert_eq!(wire.text, rule.text);
    assert_eq!(
        (wire.conditions[0].text.as_str(), wire.conditions[0].bytes),
        ("S3X*", 0)
    );
    assert_eq!(
        (wire.conditions[1].text.as_str(), wire.conditions[1].bytes),
        ("", 1_000_000_000)
    );
    assert_eq!(
        wire.conditions[1].comparison(),
        imprint_proto::agent::v1::Comparison::GreaterOrEqual
    );
}

#[test]
fn disks_that_do_not_suit_the_image_or_sit_on_usb_are_left_out() {
    let disks = [
        disk("A", 100, "nvme"),
        disk("B", 200, "nvme"),
        disk("C", 200, "usb"),
    ];
    let rule = |text: &str| text.parse::<DiskRule>().unwrap();
    let needs = |size_bytes, logical_sector_bytes| {
        Some(Needs {
            size_bytes,
            logical_sector_bytes,
        })
    };
    assert_eq!(choose(&rule(""), needs(150, 512), &disks).unwrap().serial, "B");
    assert_eq!(
        choose(&rule("transport=usb"), needs(150, 512), &disks)
            .unwrap()
            .serial,
        "C"
    );
    assert_eq!(choose(&rule("serial=A"), None, &disks).unwrap().serial, "A");
    let none = choose(&rule(""), needs(150, 4096), &disks)
        .unwrap_err()
        .to_string();
    assert!(
        none.contains("too small: the image needs 150 bytes") && none.contains("made for 4096"),
        "{none}"
    );
    assert!(none.contains("does not ask for transport=usb"), "{none}");
}
