//! For any facts and requirements: the reasons are exactly the failed requirements, and no order of inputs matters.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::model::{Condition, HardwareModel};

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

const MODULES: &[&str] = &["nvme", "ahci", "sd_mod", "virtio_blk", "megaraid_sas"];
const ARCHITECTURES: &[&str] = &["", "x86_64", "aarch64"];
const MODELS: &[&str] = &["", "Example Rack 1", "Other Rack", "rack-1"];

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let one = prop_oneof![
        word(&["10de:*", "15b3:1017"]).prop_map(|id| Condition::Pci(id.parse().expect("a pattern"))),
        word(&["x86_64", "aarch64"]).prop_map(Condition::Architecture),
        select(vec![1_u64 << 30, 1 << 34]).prop_map(Condition::MemoryAtLeast),
    ];
    vec(one, 0..3)
}

fn drivers() -> impl Strategy<Value = Drivers> {
    let known = vec(word(MODULES), 0..5).prop_map(|mut modules| {
        modules.sort();
        modules.dedup();
        Drivers::Known(modules)
    });
    prop_oneof![4 => known, 1 => Just(Drivers::Unknown("damaged".to_owned())), 1 => Just(Drivers::NoSystem)]
}

prop_compose! {
    fn any_image()(
        (kind, target, state) in (select(ImageKind::ALL), select(Target::ALL), select(ImageState::ALL)),
        (region, architecture) in (word(&["here", "here", "here", "there"]), word(ARCHITECTURES)),
        firmware in option::of((any::<bool>(), any::<bool>())),
        (signed_loader, cloud_init, guest_plugin) in (any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>()),
        (disk_bytes, min_disk_bytes, disks) in (0..6_u64, 0..6_u64, 1..3_u32),
        sector_bytes in select(vec![0_u32, 512, 512, 4096]),
        min_memory_bytes in select(vec![0, 1 << 30, 1_u64 << 36]),
        drivers in drivers(),
        kernel_arguments in option::of(vec(word(&["quiet", "iommu=pt"]), 0..3)),
        source_model in word(MODELS),
        (verified_on, certified_for) in (vec(word(MODELS), 0..2), vec(word(MODELS), 0..2)),
        (requires, forbids) in (conditions(), conditions()),
        seen_by in option::of(vec(word(&["web", "other"]), 0..2)),
    ) -> ImageNeeds {
        ImageNeeds {
            kind, target, state, region, architecture, signed_loader, cloud_init, guest_plugin, disks, sector_bytes,
            min_memory_bytes, drivers, kernel_arguments, source_model, verified_on, certified_for,
            firmware: firmware.map(|(uefi, bios)| FirmwareModes { uefi, bios }),
            disk_bytes: disk_bytes * 1_000_000_000,
            min_disk_bytes: min_disk_bytes * 1_000_000_000,
            rules: ImageRules { requires, forbids },
            seen_by: seen_by.map_or(SeenBy::Everyone, SeenBy::Projects),
            ..image("a")
        }
    }
}

prop_compose! {
    fn any_disk()(
        transport in word(&["nvme", "sata", "virtio", "usb", "raid"]),
        driver in word(&["", "nvme", "ahci", "virtio-blk", "megaraid_sas"]),
        gb in 0..6_u64,
        sector in select(vec![512_u32, 512, 4096]),
        (read_only, removable) in (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
    ) -> Disk {
        Disk { read_only, removable, ..disk("sda", &transport, &driver, gb, sector) }
    }
}

prop_compose! {
    fn any_inventory()(
        architecture in word(ARCHITECTURES),
        mode in word(&["", "uefi", "bios"]),
        secure_boot in any::<Option<bool>>(),
        memory_bytes in select(vec![0_u64, 1 << 33, 1 << 35]),
        disks in vec(any_disk(), 0..4),
        gpu in any::<bool>(),
    ) -> Inventory {
        let mut inventory = server();
        inventory.cpu.architecture = architecture;
        inventory.firmware.mode = mode;
        inventory.firmware.secure_boot = secure_boot;
        inventory.memory_bytes = memory_bytes;
        inventory.disks = disks;
        if gpu {
            inventory.pci.push(crate::facts::PciDevice {
                vendor_id: "10de".to_owned(),
                device_id: "2330".to_owned(),
                ..crate::facts::PciDevice::default()
            });
        }
        inventory
    }
}

prop_compose! {
    fn any_model()(
        drivers in vec(word(MODULES), 0..2),
        firmware in vec(word(&["uefi", "bios"]), 0..2),
        secure_boot in any::<Option<bool>>(),
        sector_sizes in vec(select(vec![512_u32, 4096]), 0..2),
        kernel_arguments in vec(word(&["quiet", "iommu=pt"]), 0..2),
        (sdi, guest_plugin) in (any::<bool>(), any::<bool>()),
        boot in option::of(word(&["transport=nvme", "size>=2GB"])),
        architecture in option::of(word(&["x86_64", "aarch64"])),
    ) -> HardwareModel {
        let mut model = model("");
        model.conditions.extend(architecture.map(crate::model::Condition::Architecture));
        model.needs = crate::model::ModelNeeds {
            drivers, firmware, secure_boot, sector_sizes, kernel_arguments, sdi, guest_plugin,
        };
        model.boot = boot.map(|rule| rule.parse().expect("a rule"));
        model
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reasons_are_exactly_the_failed_requirements(
        images in vec(any_image(), 1..6),
        machines in vec((option::weighted(0.9, any_inventory()), option::of(any_model()), word(&["web", "lab"])), 1..5),
    ) {
        let nodes: Vec<NodeFacts<'_>> = machines
            .iter()
            .map(|(inventory, model, project)| NodeFacts {
                id: "n", name: "node", project, inventory: inventory.as_ref(), model: model.as_ref(), disk: None,
            })
            .collect();
        let fleet = Fleet::new(SITE, &nodes, &images);
        for (n, node) in nodes.iter().enumerate() {
            for (i, image) in images.iter().enumerate() {
                let expected = naive::failed(image, node, SITE);
                let judgement = fleet.judge(n, i);
                prop_assert_eq!(judgement.codes().collect::<Vec<_>>(), expected.clone());
                let answer = fleet.answer(n, i);
                prop_assert_eq!(answer.verdict, judgement.verdict());
                let weight = |code: &str| CHECKS.iter().find(|check| check.code == code).map(|check| check.weight);
                let of = |note: bool| expected.iter().copied()
                    .filter(|code| (weight(code) == Some(Weight::Note)) == note).collect::<Vec<_>>();
                prop_assert_eq!(codes(&answer.reasons), of(false));
                prop_assert_eq!(codes(&answer.notes), of(true));
                let worst = if expected.iter().any(|code| weight(code) == Some(Weight::Refuses)) {
                    Verdict::Refused
                } else if expected.iter().any(|code| weight(code) == Some(Weight::Unverified)) {
                    Verdict::Unverified
                } else {
                    Verdict::Fits
                };
                prop_assert_eq!(answer.verdict, worst);
            }
        }
    }

    #[test]
    fn no_order_of_inputs_matters(
        images in vec(any_image(), 1..6).prop_shuffle(),
        mut inventory in any_inventory(),
        model in option::of(any_model()),
    ) {
        let mut images = images;
        for (number, image) in images.iter_mut().enumerate() {
            image.id = format!("id-{number}");
        }
        let one = |images: &[ImageNeeds], inventory: &Inventory| {
            let nodes = [node(inventory, model.as_ref())];
            let fleet = Fleet::new(SITE, &nodes, images);
            let ranked = fleet.rank(0, Ranking::default());
            ranked.into_iter().map(|(place, judgement)| (images[place].id.clone(), judgement)).collect::<Vec<_>>()
        };
        let before = one(&images, &inventory);
        images.reverse();
        inventory.disks.reverse();
        inventory.pci.reverse();
        for image in &mut images {
            image.rules.requires.reverse();
            image.certified_for.reverse();
            image.verified_on.reverse();
        }
        prop_assert_eq!(before, one(&images, &inventory));
    }
}
