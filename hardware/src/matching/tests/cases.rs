//! What is refused and why, one by one.

use super::*;

#[test]
fn what_fits_has_no_reason() {
    let (inventory, model) = (server(), model(""));
    let answer = answer(&image("a"), &node(&inventory, Some(&model)));
    assert_eq!(answer.verdict, Verdict::Fits);
    assert_eq!((answer.reasons.len(), answer.notes.len()), (0, 0), "{answer:?}");
}

#[test]
fn each_refusal_names_both_facts() {
    type Change = fn(&mut ImageNeeds, &mut Inventory);
    let table: &[(&str, &str, &str, Change)] = &[
        (
            "firmware-mode-differs",
            "boot_modes=bios",
            "firmware.mode=uefi",
            |i, _| {
                i.firmware = Some(FirmwareModes {
                    uefi: false,
                    bios: true,
                });
            },
        ),
        (
            "driver-missing",
            "initramfs.modules without nvme",
            "nvme0n1 driver=nvme",
            |i, _| {
                i.drivers = Drivers::Known(vec!["ahci".to_owned(), "sd_mod".to_owned()]);
            },
        ),
        (
            "sector-size-differs",
            "logical_sector_bytes=512",
            "disks: nvme0n1 logical_sector_bytes=4096",
            |_, n| n.disks[0].logical_sector_bytes = 4096,
        ),
        (
            "image-larger-than-disk",
            "disk_size_bytes=900000000000",
            "disks: nvme0n1 size_bytes=480000000000",
            |i, _| i.disk_bytes = 900_000_000_000,
        ),
        (
            "architecture-differs",
            "architecture=aarch64",
            "cpu.architecture=x86_64",
            |i, _| {
                i.architecture = "aarch64".to_owned();
            },
        ),
        (
            "not-enough-memory",
            "min_memory_bytes=17179869184",
            "memory_bytes=8589934592",
            |i, _| {
                i.min_memory_bytes = 16 << 30;
            },
        ),
        (
            "secure-boot-unsigned",
            "firmware.uefi.loaders.signed=false",
            "firmware.secure_boot=true",
            |i, n| {
                i.signed_loader = Some(false);
                n.firmware.secure_boot = Some(true);
            },
        ),
        ("image-in-other-region", "region=there", "region=here", |i, _| {
            i.region = "there".to_owned();
        }),
        ("image-not-shared", "visibility=private", "project=web", |i, _| {
            i.visibility = "private".to_owned();
            i.seen_by = SeenBy::Projects(vec!["other".to_owned()]);
        }),
        ("no-boot-disk", "", "disks=1", |_, n| n.disks[0].read_only = true),
    ];
    let model = model("");
    for (code, image_fact, node_fact, change) in table {
        let (mut image, mut inventory) = (image("a"), server());
        change(&mut image, &mut inventory);
        let answer = answer(&image, &node(&inventory, Some(&model)));
        assert_eq!(answer.verdict, Verdict::Refused, "{code}");
        assert_eq!(codes(&answer.reasons), [*code]);
        let reason = &answer.reasons[0];
        assert_eq!(
            (reason.image_fact.as_str(), reason.node_fact.as_str()),
            (*image_fact, *node_fact)
        );
        assert!(
            reason.text.ends_with('.') && reason.remedy.ends_with('.'),
            "{reason:?}"
        );
    }
}

#[test]
fn all_reasons_come_in_the_order_of_the_table() {
    let mut image = image("a");
    image.firmware = Some(FirmwareModes {
        uefi: false,
        bios: true,
    });
    image.drivers = Drivers::Known(Vec::new());
    image.architecture = "aarch64".to_owned();
    image.disk_bytes = 1 << 40;
    let mut inventory = server();
    inventory.disks[0].logical_sector_bytes = 4096;
    assert_eq!(
        codes(&answer(&image, &node(&inventory, None)).reasons),
        [
            "architecture-differs",
            "firmware-mode-differs",
            "image-larger-than-disk",
            "sector-size-differs",
            "driver-missing"
        ]
    );
}

#[test]
fn one_disk_must_have_it_all() {
    let mut inventory = server();
    inventory.disks = vec![
        disk("sda", "sata", "ahci", 900, 4096),
        disk("nvme0n1", "nvme", "nvme", 1, 512),
    ];
    assert_eq!(
        codes(&answer(&image("a"), &node(&inventory, None)).reasons),
        ["no-disk-suits"]
    );
    let rule = "transport=sata".parse().expect("a rule");
    let named = NodeFacts {
        disk: Some(&rule),
        ..node(&inventory, None)
    };
    assert_eq!(
        codes(&answer(&image("a"), &named).reasons),
        ["sector-size-differs"]
    );
}

#[test]
fn a_model_asks_for_more_than_the_hardware() {
    let inventory = server();
    let table = [
        ("[needs]\ndrivers = [\"megaraid_sas\"]\n", "driver-missing"),
        ("[needs]\nfirmware = [\"bios\"]\n", "firmware-mode-against-model"),
        ("[needs]\nsecure_boot = true\n", "secure-boot-against-model"),
        ("[needs]\nsector_sizes = [4096]\n", "sector-size-against-model"),
        (
            "[needs]\nkernel_arguments = [\"iommu=pt\"]\n",
            "kernel-argument-missing",
        ),
        ("[needs]\nguest_plugin = true\n", "guest-plugin-missing"),
        ("[disks]\nboot = \"transport=sata\"\n", "no-boot-disk"),
    ];
    for (text, code) in table {
        let model = model(text);
        assert_eq!(
            codes(&answer(&image("a"), &node(&inventory, Some(&model))).reasons),
            [code],
            "{text}"
        );
    }
    let volumes = model("[needs]\nsdi = true\n");
    let mut without = image("a");
    without.drivers = Drivers::Known(vec!["ahci".to_owned()]);
    let node = node(&inventory, Some(&volumes));
    assert_eq!(
        codes(&answer(&without, &node).reasons),
        ["driver-missing", "sdi-driver-missing"]
    );
}

#[test]
fn what_was_captured_elsewhere_is_unverified_until_it_is_shown_to_work() {
    let (inventory, model) = (server(), model(""));
    let node = node(&inventory, Some(&model));
    let mut captured = image("a");
    captured.source_model = "Other Rack 9".to_owned();
    let told = answer(&captured, &node);
    assert_eq!(
        (told.verdict, codes(&told.reasons)),
        (Verdict::Unverified, vec!["image-unverified-on-model"])
    );
    for (field, name) in [
        ("source", "example  RACK 1"),
        ("verified", "Example Rack 1"),
        ("certified", "rack-1"),
    ] {
        let mut image = captured.clone();
        match field {
            "source" => image.source_model = name.to_owned(),
            "verified" => image.verified_on.push(name.to_owned()),
            _ => image.certified_for.push(name.to_owned()),
        }
        assert_eq!(answer(&image, &node).verdict, Verdict::Fits, "{field}");
    }
}

#[test]
fn the_unknown_is_never_guessed() {
    let inventory = server();
    let mut unread = image("a");
    unread.drivers = Drivers::Unknown("its initramfs is damaged".to_owned());
    let told = answer(&unread, &node(&inventory, None));
    assert_eq!(
        (told.verdict, codes(&told.reasons)),
        (Verdict::Unverified, vec!["drivers-unknown"])
    );
    let mut strange = image("a");
    strange.drivers = Drivers::NoSystem;
    strange.firmware = None;
    strange.architecture = String::new();
    let model = model("");
    let told = answer(&strange, &node(&inventory, Some(&model)));
    assert_eq!(told.verdict, Verdict::Fits);
    assert_eq!(
        codes(&told.notes),
        ["system-unknown", "architecture-unknown", "firmware-mode-unknown"]
    );
    let nothing = NodeFacts {
        inventory: None,
        ..node(&inventory, None)
    };
    assert_eq!(codes(&answer(&image("a"), &nothing).notes), ["hardware-unknown"]);
}

#[test]
fn owners_say_what_their_images_are_for() {
    use crate::model::Condition;
    let gpu = || Condition::Pci("10de:*".parse().expect("a pattern"));
    let (mut wants, mut avoids) = (image("a"), image("b"));
    wants.rules.requires.push(gpu());
    avoids.rules.forbids.push(gpu());
    let plain = server();
    let mut with_gpu = server();
    with_gpu.pci.push(crate::facts::PciDevice {
        vendor_id: "10de".to_owned(),
        device_id: "2330".to_owned(),
        ..crate::facts::PciDevice::default()
    });
    assert_eq!(
        codes(&answer(&wants, &node(&plain, None)).reasons),
        ["image-requirement-not-met"]
    );
    assert_eq!(
        codes(&answer(&avoids, &node(&with_gpu, None)).reasons),
        ["image-forbids-hardware"]
    );
    assert_eq!(answer(&wants, &node(&with_gpu, None)).verdict, Verdict::Fits);
    assert_eq!(answer(&avoids, &node(&plain, None)).verdict, Verdict::Fits);
}

#[test]
fn codes_are_unique_words() {
    let mut codes: Vec<&str> = CHECKS.iter().map(|check| check.code).collect();
    assert!(
        codes
            .iter()
            .all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
    );
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), CHECKS.len());
}

#[test]
fn the_documentation_has_every_check_in_order() {
    let document = include_str!("../../../../docs/matching.md");
    let told: Vec<(&str, &str, &str)> = document
        .lines()
        .filter_map(|line| {
            let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (verdict, about) = rest.split_once(" | ")?;
            Some((code, verdict, about.strip_suffix(" |")?))
        })
        .filter(|(_, verdict, _)| ["refused", "unverified", "note"].contains(verdict))
        .collect();
    let verdict = |weight| match weight {
        Weight::Refuses => "refused",
        Weight::Unverified => "unverified",
        Weight::Note => "note",
    };
    let known = CHECKS
        .iter()
        .map(|check| (check.code, verdict(check.weight), check.about));
    assert_eq!(told, known.collect::<Vec<_>>());
}
