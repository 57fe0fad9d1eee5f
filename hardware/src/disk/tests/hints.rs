use super::*;

fn read(text: &str) -> Result<String, String> {
    assert!(are_hints(text), "{text}");
    let rule = read_hints(text).map_err(|error| error.to_string())?;
    assert_eq!(rule.text.parse::<DiskRule>().unwrap(), rule, "{text}");
    Ok(rule.text)
}

#[test]
fn hints_of_ironic_become_rules() {
    for (hints, expected) in [
        (r#"{"size": 447}"#, "size=447GiB"),
        (r#"{"size": "447"}"#, "size=447GiB"),
        (r#"{"size": ">= 447"}"#, "size>=447GiB"),
        (r#"{"size": "= 447"}"#, "size>=447GiB"),
        (r#"{"size": "== 1024"}"#, "size=1TiB"),
        (r#"{"size": "<=447"}"#, "size<=447GiB"),
        (r#"{"size": "!= 10"}"#, "size!=10GiB"),
        (r#"{"serial": "WD-123"}"#, "serial=WD-123"),
        (r#"{"serial": "s== WD-123"}"#, "serial=WD-123"),
        (r#"{"serial": "s!= WD-123"}"#, "not(serial=WD-123)"),
        (r#"{"model": "<in> samsung mz7"}"#, "model=*samsung mz7*"),
        (
            r#"{"vendor": "<or> intel <or> samsung corp"}"#,
            "vendor=intel|samsung corp",
        ),
        (r#"{"root_device": {"model": "MZ7LH480"}}"#, "model=MZ7LH480"),
        (r#"{"wwn": "0x5000c500a1b2c3d4"}"#, "wwn-base=0x5000c500a1b2c3d4"),
        (
            r#"{"wwn": "0x600508b400105e210000900000490000"}"#,
            "wwn=0x600508b400105e210000900000490000",
        ),
        (
            r#"{"wwn_with_extension": "0x600508b400105e210000900000490000"}"#,
            "wwn=0x600508b400105e210000900000490000",
        ),
        (
            r#"{"wwn_vendor_extension": "0x0000900000490000"}"#,
            "wwn-extension=0x0000900000490000",
        ),
        (r#"{"rotational": true}"#, "rotational=true"),
        (r#"{"rotational": "No"}"#, "rotational=false"),
        (r#"{"hctl": "1:0:0:0"}"#, "hctl=1:0:0:0"),
        (
            r#"{"by_path": "/dev/disk/by-path/pci-0000:00:07.0"}"#,
            "path=/dev/disk/by-path/pci-0000:00:07.0",
        ),
        (
            r#"{"name": "s== /dev/disk/by-path/pci-0000:00:07.0"}"#,
            "path=/dev/disk/by-path/pci-0000:00:07.0",
        ),
        (
            r#"{"size": "> 10", "rotational": "false", "tran": "nvme"}"#,
            "size>10GiB,rotational=false,transport=nvme",
        ),
        (
            "root_device:\n  size: '>= 100'\n  rotational: false\n",
            "size>=100GiB,rotational=false",
        ),
    ] {
        assert_eq!(read(hints), Ok(expected.to_owned()), "{hints}");
    }
}

#[test]
fn hints_of_metal3_become_rules() {
    for (hints, expected) in [
        (
            r#"{"serialNumber": "WD-123", "model": "WDC"}"#,
            "serial=WD-123,model=*WDC*",
        ),
        (r#"{"minSizeGigabytes": 100}"#, "size>=100GiB"),
        (r#"{"rootDeviceHints": {"vendor": "ATA"}}"#, "vendor=*ATA*"),
        (
            "rootDeviceHints:\n  deviceName: /dev/disk/by-path/pci-0000:3b:00.0-nvme-1\n  minSizeGigabytes: 0\n",
            "path=/dev/disk/by-path/pci-0000:3b:00.0-nvme-1",
        ),
        (
            r#"{"wwnWithExtension": "0x5000c500a1b2c3d4", "hctl": "", "rotational": false}"#,
            "wwn=0x5000c500a1b2c3d4,rotational=false",
        ),
    ] {
        assert_eq!(read(hints), Ok(expected.to_owned()), "{hints}");
    }
}

#[test]
fn hints_that_cannot_be_kept_are_refused_with_the_remedy() {
    for (hints, part) in [
        (
            r#"{"name": "/dev/sda"}"#,
            "name the disk by its serial number, WWN or a path below /dev/disk/by-path/",
        ),
        (
            r#"{"name": "<or> /dev/sda <or> /dev/sdb"}"#,
            "a name that the kernel gives anew",
        ),
        (
            r#"{"deviceName": "/dev/vda"}"#,
            "a name that the kernel gives anew",
        ),
        (r#"{"by_path": "/dev/sda"}"#, "is not a path that stays"),
        (
            r#"{"model": "X"}"#,
            "the whole name in Ironic and a part of it in Metal3",
        ),
        (
            r#"{"size": 10, "serialNumber": "X"}"#,
            "`size` is a hint of Ironic, `serialNumber` one of Metal3",
        ),
        (
            r#"{"colour": "red", "size": 1}"#,
            "`colour`: is not a hint of Ironic; those are size",
        ),
        (
            r#"{"rootDeviceHints": {"size": 1}}"#,
            "`size`: is not a hint of Metal3",
        ),
        (r#"{"size": 0}"#, "`0` is not a whole number of GiB above 0"),
        (r#"{"size": "10.5"}"#, "not a whole number"),
        (
            r#"{"size": "<or> 10 <or> 20"}"#,
            "a size is not compared with `<or>`",
        ),
        (r#"{"size": "99999999999999999"}"#, "not a whole number"),
        (r#"{"serial": ">= 5"}"#, "text is not compared with `>=`"),
        (
            r#"{"serial": "<all-in> a b"}"#,
            "text is not compared with `<all-in>`",
        ),
        (r#"{"serial": 5}"#, "is text; put it in quotes"),
        (r#"{"serial": "s=="}"#, "has no value"),
        (r#"{"serial": "a*"}"#, "a value with '*' in it"),
        (r#"{"rotational": "maybe"}"#, "is true or false"),
        (r#"{"minSizeGigabytes": "100"}"#, "is a whole number of GiB"),
        (r#"{"tran": "pcie", "size": 1}"#, "is not a transport"),
        (r#"{}"#, "no hint is set"),
        (r#"{"serialNumber": ""}"#, "no hint is set"),
        ("{\"size\"", "neither JSON nor YAML"),
        ("serial: [1]", "is text"),
    ] {
        let error = read(hints).unwrap_err();
        assert!(error.contains(part), "{hints}: {error}");
    }
    let both = read(r#"{"size": 0, "serial": 5}"#).unwrap_err();
    assert!(both.contains("`size`") && both.contains("`serial`"), "{both}");
    assert!(read_hints(&format!("{{\"serial\": \"{}\"}}", "x".repeat(5000))).is_err());
    for rule in ["", "serial=X", "path=pci-0000:3b:00.0", "smallest", "(serial=A)"] {
        assert!(!are_hints(rule), "{rule}");
    }
}

/// What Ironic answers for each of these disks, by its documented rules: GiB exactly, text without regard to case.
#[test]
fn the_answers_are_those_of_ironic() {
    let disks = [
        Disk {
            wwn: "naa.5000c500a1b2c3d4".to_owned(),
            vendor: "ATA".to_owned(),
            model: "SAMSUNG MZ7LH480".to_owned(),
            // 480 GB are 447.1 GiB.
            ..disk("A", 480_103_981_056, "sata")
        },
        Disk {
            wwn: "naa.600508b400105e210000900000490000".to_owned(),
            vendor: "HP".to_owned(),
            model: "LOGICAL VOLUME".to_owned(),
            rotational: true,
            ..disk("B", 447 << 30, "raid")
        },
        Disk {
            wwn: "eui.0025385b71b00e5d".to_owned(),
            model: "MZ7LH480".to_owned(),
            ..disk("C", 1 << 40, "nvme")
        },
    ];
    for (hints, expected) in [
        (r#"{"size": 447}"#, "B"),
        (r#"{"size": "= 447"}"#, "ABC"),
        (r#"{"size": ">= 447"}"#, "ABC"),
        (r#"{"size": "> 447"}"#, "AC"),
        (r#"{"size": "<= 447"}"#, "B"),
        (r#"{"size": "< 448"}"#, "AB"),
        (r#"{"size": 480}"#, ""),
        (r#"{"root_device": {"model": "mz7lh480"}}"#, "C"),
        (r#"{"model": "<in> mz7lh480"}"#, "AC"),
        (r#"{"rootDeviceHints": {"model": "mz7lh480"}}"#, "AC"),
        (r#"{"vendor": "<or> ata <or> hp"}"#, "AB"),
        // The third does not tell its vendor.
        (r#"{"vendor": "s!= ATA"}"#, "BC"),
        (r#"{"wwn": "0x5000C500A1B2C3D4"}"#, "A"),
        (r#"{"wwn": "0x600508b400105e21"}"#, "B"),
        (r#"{"wwn": "eui.0025385b71b00e5d"}"#, "C"),
        (r#"{"wwn": "<in> c500"}"#, "A"),
        (r#"{"wwn_vendor_extension": "0x0000900000490000"}"#, "B"),
        (r#"{"wwn_with_extension": "0x5000c500a1b2c3d4"}"#, "A"),
        (r#"{"rotational": false}"#, "AC"),
    ] {
        let rule = read_hints(hints).unwrap();
        let matching: String = disks
            .iter()
            .filter(|disk| rule.terms.iter().all(|term| term.holds(disk)))
            .map(|disk| disk.serial.as_str())
            .collect();
        assert_eq!(matching, expected, "{hints}");
    }
}
