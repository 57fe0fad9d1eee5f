use super::*;
use crate::facts::{Cpu, Disk, Firmware, Inventory, Nic, PciDevice, System};

const MODEL: &str = r#"
schema = 1
name = "example-r1"
version = 2
description = "A server of the tests"

[match]
vendor = "Example*"
product = ["Rack 1*", "Rack 2"]
architecture = "x86_64"
pci = ["15b3:*"]
memory_at_least = "64GiB"

[[match.nics]]
driver = "mlx5_core"
count = 2

[[match.disks]]
rule = "transport=nvme,size>=400GB"

[needs]
drivers = ["nvme", "virtio-blk"]
firmware = ["uefi"]
secure_boot = true
sector_sizes = [512, 4096]
kernel_arguments = ["console=ttyS1"]

[ramdisk]
kernel_arguments = ["nomodeset", "console=ttyS1"]

[disks]
boot = "transport=nvme"

[quirks]
boot_order = "reset-by-firmware"
local_boot = "sanboot"
boot_seconds = 240
"#;

fn server() -> Inventory {
    let nic = Nic {
        driver: "mlx5_core".to_owned(),
        pci_id: "15b3:1017".to_owned(),
        ..Nic::default()
    };
    Inventory {
        system: System {
            vendor: "Example Inc.".to_owned(),
            product: "Rack 1 Gen 3".to_owned(),
            sku: "Default string".to_owned(),
            ..System::default()
        },
        firmware: Firmware {
            mode: "uefi".to_owned(),
            secure_boot: Some(false),
            ..Firmware::default()
        },
        cpu: Cpu {
            architecture: "x86_64".to_owned(),
            ..Cpu::default()
        },
        memory_bytes: 128 << 30,
        disks: vec![Disk {
            kernel_name: "nvme0n1".to_owned(),
            transport: "nvme".to_owned(),
            size_bytes: 960_000_000_000,
            logical_sector_bytes: 512,
            pci_address: "0000:3b:00.0".to_owned(),
            ..Disk::default()
        }],
        nics: vec![nic.clone(), nic],
        pci: vec![PciDevice {
            address: "0000:3b:00.0".to_owned(),
            vendor_id: "144d".to_owned(),
            device_id: "a80a".to_owned(),
            driver: "nvme".to_owned(),
            ..PciDevice::default()
        }],
        ..Inventory::default()
    }
}

#[test]
fn a_model_says_all_it_can() {
    let model = HardwareModel::read(MODEL).expect("a good model");
    assert_eq!((model.name.as_str(), model.version), ("example-r1", 2));
    assert_eq!(model.conditions.len(), 7, "{:?}", model.conditions);
    assert_eq!(model.needs.drivers, ["nvme", "virtio_blk"]);
    assert_eq!(model.needs.secure_boot, Some(true));
    assert_eq!(model.quirks.boot_order, Some(BootOrderQuirk::ResetByFirmware));
    assert_eq!(model.quirks.local_boot, Some(LocalBoot::Sanboot));
    assert_eq!(model.quirks.boot_seconds, Some(240));
    assert_eq!(model.boot_arguments(), ["console=ttyS1", "nomodeset"]);
    assert_eq!(judge(&model, &server()).against, [""; 0]);
}

#[test]
fn every_condition_counts_and_says_what_it_found() {
    let model = HardwareModel::read(MODEL).expect("a good model");
    let nothing = judge(&model, &Inventory::default()).against;
    assert_eq!(nothing.len(), model.conditions.len(), "{nothing:?}");
    let mut other = server();
    other.nics.pop();
    other.system.product = "Rack 3".to_owned();
    assert_eq!(
        judge(&model, &other).against,
        [
            "wants product=rack 1*|rack 2, found product: Rack 3",
            "wants nics>=2 driver=mlx5_core, found nics: 1"
        ]
    );
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = "schema = 2\nname = \"Big Name\"\nverion = 1\n\n[match]\nvendor = 7\npci = [\"15b3\"]\n[needs]\nfirmware = [\"uefi\", \"efi\"]\n\
        sector_sizes = [500]\n[disks]\nboot = \"colour=red\"\n[quirks]\nlocal_boot = \"pray\"\n";
    let errors = HardwareModel::read(text).expect_err("many mistakes").0;
    let places: Vec<(usize, usize)> = errors.iter().map(|e| (e.line, e.column)).collect();
    let expected = [
        (1, 1),  // no version
        (1, 10), // schema
        (2, 8),  // name
        (3, 1),  // verion
        (5, 1),  // nothing is left to match by
        (6, 10), // vendor
        (7, 8),  // pci
        (9, 21), // efi
        (10, 17),
        (12, 8),
        (14, 14),
    ];
    assert_eq!(places, expected, "{errors:#?}");
    assert!(errors.iter().all(|e| !e.remedy.is_empty()));
    let unknown = &errors[3];
    assert_eq!(unknown.problem, "`verion` is not a key of models");
    assert!(unknown.remedy.contains("version"), "{}", unknown.remedy);
}

#[test]
fn what_nothing_would_heed_or_a_script_would_run_is_refused() {
    let long = "x".repeat(129);
    let many =
        vec!["\"0123456789012345678901234567890123456789012345678901234567890123456789\""; 16].join(", ");
    let rows = [
        (
            "[quirks]\nbmc = [\"boot-once-ignored\"]".to_owned(),
            "is not a key",
        ),
        (
            "[quirks]\nlocal_boot = \"chain\"".to_owned(),
            "`chain` is not a known quirk",
        ),
        ("[quirks]\nboot_seconds = 86400".to_owned(), "more than 7200"),
        (
            "[needs]\nkernel_arguments = [\"a b\"]".to_owned(),
            "`a b` cannot be passed",
        ),
        (
            "[ramdisk]\nkernel_arguments = [\"a${net0/ip}\"]".to_owned(),
            "cannot be passed",
        ),
        (
            "[ramdisk]\nkernel_arguments = [\"a||reboot\"]".to_owned(),
            "cannot be passed",
        ),
        (
            format!("[ramdisk]\nkernel_arguments = [\"{long}\"]"),
            "cannot be passed",
        ),
        (
            format!("[ramdisk]\nkernel_arguments = [{many}]"),
            "longer than 1024 bytes",
        ),
    ];
    for (text, part) in rows {
        let text = format!("schema = 1\nname = \"a\"\nversion = 1\n[match]\nvendor = \"A\"\n{text}\n");
        let errors = HardwareModel::read(&text).expect_err("it is refused").0;
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert!(
            errors[0].problem.contains(part) && errors[0].line >= 7,
            "{errors:#?}"
        );
    }
}

#[test]
fn faults_of_syntax_have_places_too() {
    let errors = HardwareModel::read("schema = 1\nname = \"a\n[match\n")
        .expect_err("no TOML")
        .0;
    assert!(
        errors
            .iter()
            .any(|e| e.line == 2 && e.problem.starts_with("this is not TOML")),
        "{errors:#?}"
    );
    assert!(HardwareModel::read(&"#".repeat(70_000)).is_err());
}

#[test]
fn the_most_specific_model_is_taken_then_the_first_by_name() {
    let model = |name: &str, rules: &str| {
        let text = format!("schema = 1\nname = \"{name}\"\nversion = 1\n[match]\n{rules}");
        HardwareModel::read(&text).expect("a model")
    };
    let models = [
        model("b-two", "vendor = \"Example*\"\narchitecture = \"x86_64\"\n"),
        model("z-one", "vendor = \"Example*\"\n"),
        model("a-two", "vendor = \"Example*\"\nproduct = \"Rack*\"\n"),
        model(
            "three-of-others",
            "vendor = \"Other\"\nproduct = \"Rack*\"\narchitecture = \"x86_64\"\n",
        ),
    ];
    let name = |models: &[HardwareModel]| choose(models, &server()).map(|model| model.name.clone());
    assert_eq!(name(&models).as_deref(), Some("a-two"));
    let mut turned = models.to_vec();
    turned.reverse();
    assert_eq!(name(&turned).as_deref(), Some("a-two"));
    assert_eq!(name(&models[3..]), None);
}

#[test]
fn what_is_suggested_is_a_model_of_the_server() {
    for inventory in [server(), Inventory::default()] {
        let text = suggest(&inventory);
        let model = HardwareModel::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if !inventory.disks.is_empty() {
            assert_eq!(judge(&model, &inventory).against, [""; 0], "{text}");
            assert_eq!(model.name, "example-inc-rack-1-gen-3");
            assert_eq!(model.needs.drivers, ["nvme"]);
            assert!(!text.contains("Default string"), "{text}");
        }
    }
}

#[test]
fn patterns_match_anywhere() {
    let table = [
        ("Dell*", "Dell Inc.", true),
        ("dell inc.", "Dell Inc.", true),
        ("*R650*", "PowerEdge R650xs", true),
        ("Power*R6*xs", "PowerEdge R650xs", true),
        ("Power*R6*ys", "PowerEdge R650xs", false),
        ("a*a", "a", false),
        ("*", "", false),
        ("*", "x", true),
        ("Dell", "Dell Inc.", false),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(
            TextPattern::new(pattern).matches(text),
            expected,
            "{pattern} {text}"
        );
    }
    let any: PciPattern = "15b3:*".parse().expect("a pattern");
    assert!(any.matches_id("15B3:1017") && !any.matches_id("8086:1017") && !any.matches_id("15b3"));
}
