//! How long it takes to compare many images with many nodes. `fleet NODES IMAGES ROUNDS` prints medians as JSON;
//! `cargo xtask bench match` runs it.

use std::{
    env,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use imprint_hardware::{
    facts::{Cpu, Disk, Firmware, Inventory, Nic, PciDevice, System},
    matching::{
        Drivers, FirmwareModes, Fleet, ImageKind, ImageNeeds, ImageRules, ImageState, NodeFacts, Ranking,
        SeenBy, Site, Target, Verdict,
    },
    model::{Condition, HardwareModel, choose},
};

const SITE: Site<'static> = Site { region: "here" };
const MODULES: [&str; 6] = [
    "ahci",
    "megaraid_sas",
    "nvme",
    "sd_mod",
    "virtio_blk",
    "virtio_pci",
];

fn main() {
    let number = |place: usize, default: usize| {
        env::args()
            .nth(place)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (nodes, images, rounds) = (number(1, 10_000), number(2, 1_000), number(3, 5));
    let models = models();
    let inventories: Vec<Inventory> = (0..nodes).map(inventory).collect();
    let images: Vec<ImageNeeds> = (0..images).map(image).collect();

    let cores = thread::available_parallelism().map_or(1, usize::from).min(2);
    let (mut whole, mut prepare, mut one, mut ranked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut verdicts = [0_u64; 3];
    for _ in 0..rounds {
        let start = Instant::now();
        let parts: Vec<([u64; 3], Duration)> = thread::scope(|scope| {
            let part = inventories.len().div_ceil(cores).max(1);
            let started: Vec<_> = inventories
                .chunks(part)
                .map(|part| scope.spawn(|| compare(part, &models, &images)))
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().expect("comparing does not panic"))
                .collect()
        });
        whole.push(start.elapsed());
        prepare.push(parts.iter().map(|(_, time)| *time).max().unwrap_or_default());
        verdicts = parts
            .iter()
            .fold([0; 3], |sum, (part, _)| std::array::from_fn(|n| sum[n] + part[n]));

        // One node: its model, the preparation of everything, all judgements, the order, and the texts of a page.
        let start = Instant::now();
        let nodes = [facts(&inventories[rounds % inventories.len()], &models)];
        let fleet = Fleet::new(SITE, &nodes, &images);
        (0..images.len()).for_each(|image| {
            black_box(fleet.judge(0, image));
        });
        one.push(start.elapsed());
        let order = fleet.rank(0, Ranking::default());
        for (place, _) in order.iter().take(50) {
            black_box(fleet.answer(0, *place));
        }
        ranked.push(start.elapsed());
    }
    println!(
        "{{\"nodes\": {}, \"images\": {}, \"rounds\": {rounds}, \"threads\": {cores}, \"all_ms\": {:.1}, \
         \"prepare_ms\": {:.1}, \"one_ms\": {:.3}, \"one_ranked_ms\": {:.3}, \"fits\": {}, \"unverified\": {}, \"refused\": {}}}",
        inventories.len(),
        images.len(),
        median(&mut whole),
        median(&mut prepare),
        median(&mut one),
        median(&mut ranked),
        verdicts[0],
        verdicts[1],
        verdicts[2],
    );
}

/// Counts the verdicts of all pairs, and says what of the time was preparation.
fn compare(
    inventories: &[Inventory],
    models: &[HardwareModel],
    images: &[ImageNeeds],
) -> ([u64; 3], Duration) {
    let start = Instant::now();
    let nodes: Vec<NodeFacts<'_>> = inventories
        .iter()
        .map(|inventory| facts(inventory, models))
        .collect();
    let fleet = Fleet::new(SITE, &nodes, images);
    let prepared = start.elapsed();
    let mut verdicts = [0; 3];
    for node in 0..nodes.len() {
        for image in 0..images.len() {
            let place = match fleet.judge(node, image).verdict() {
                Verdict::Fits => 0,
                Verdict::Unverified => 1,
                Verdict::Refused => 2,
            };
            verdicts[place] += 1;
        }
    }
    (verdicts, prepared)
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn facts<'a>(inventory: &'a Inventory, models: &'a [HardwareModel]) -> NodeFacts<'a> {
    NodeFacts {
        id: &inventory.system.serial,
        name: &inventory.system.serial,
        project: &inventory.system.family,
        inventory: Some(inventory),
        model: choose(models, inventory),
        disk: None,
    }
}

fn models() -> Vec<HardwareModel> {
    let model = |n: usize| {
        let mode = ["\"uefi\"", "\"uefi\", \"bios\""][n % 2];
        let text = format!(
            "schema = 1\nname = \"rack-{n}\"\nversion = 1\n[match]\nvendor = \"Example*\"\nproduct = \"Rack {n}\"\n\
             [needs]\nfirmware = [{mode}]\nsector_sizes = [512, 4096]\n"
        );
        HardwareModel::read(&text).expect("the bench's model is one")
    };
    (0..20).map(model).collect()
}

fn inventory(n: usize) -> Inventory {
    let (transport, driver) = [
        ("nvme", "nvme"),
        ("raid", "megaraid_sas"),
        ("sata", "ahci"),
        ("virtio", "virtio_blk"),
    ][n % 4];
    let disk = |place: usize| Disk {
        kernel_name: format!("disk{place}"),
        serial: format!("S{n}-{place}"),
        transport: transport.to_owned(),
        driver: driver.to_owned(),
        size_bytes: (240 + 240 * (place as u64)) * 1_000_000_000,
        logical_sector_bytes: if n.is_multiple_of(10) { 4096 } else { 512 },
        pci_address: format!("0000:{place:02x}:00.0"),
        ..Disk::default()
    };
    let device = |place: usize| PciDevice {
        address: format!("0000:{place:02x}:00.0"),
        vendor_id: if n.is_multiple_of(7) { "10de" } else { "8086" }.to_owned(),
        device_id: format!("{place:04x}"),
        driver: driver.to_owned(),
        ..PciDevice::default()
    };
    Inventory {
        system: System {
            vendor: "Example Inc.".to_owned(),
            product: format!("Rack {}", n % 25),
            serial: format!("N{n:05}"),
            family: format!("project-{}", n % 50),
            ..System::default()
        },
        firmware: Firmware {
            mode: if n.is_multiple_of(5) { "bios" } else { "uefi" }.to_owned(),
            secure_boot: Some(n % 6 == 1),
            ..Firmware::default()
        },
        cpu: Cpu {
            architecture: if n % 20 == 3 { "aarch64" } else { "x86_64" }.to_owned(),
            ..Cpu::default()
        },
        memory_bytes: (16 << (n % 6)) << 30,
        disks: (0..2 + n % 6).map(disk).collect(),
        nics: vec![
            Nic {
                driver: "mlx5_core".to_owned(),
                pci_id: "15b3:1017".to_owned(),
                ..Nic::default()
            };
            2
        ],
        pci: (0..24).map(device).collect(),
        ..Inventory::default()
    }
}

fn image(n: usize) -> ImageNeeds {
    let mut modules: Vec<String> = (0..400).map(|place| format!("module_{place:03}")).collect();
    modules.extend(
        MODULES
            .iter()
            .enumerate()
            .filter(|(place, _)| !(n + place).is_multiple_of(5))
            .map(|(_, m)| (*m).to_owned()),
    );
    modules.sort();
    let gpu = || Condition::Pci("10de:*".parse().expect("the bench's pattern is one"));
    ImageNeeds {
        id: format!("{n:05}"),
        name: format!("image-{n:05}"),
        family: Some(format!("family-{}", n % 40)),
        version: Some(n.to_string()),
        project: format!("project-{}", n % 50),
        seen_by: if n.is_multiple_of(4) {
            SeenBy::Projects(vec![format!("project-{}", n % 50)])
        } else {
            SeenBy::Everyone
        },
        visibility: if n.is_multiple_of(4) { "private" } else { "public" }.to_owned(),
        kind: ImageKind::SystemDisk,
        target: Target::Baremetal,
        state: if n.is_multiple_of(11) {
            ImageState::Deprecated
        } else {
            ImageState::Active
        },
        state_shown: "active".to_owned(),
        exclude_from_latest: false,
        region: "here".to_owned(),
        architecture: if n % 9 == 2 { "aarch64" } else { "x86_64" }.to_owned(),
        firmware: Some(FirmwareModes {
            uefi: true,
            bios: n.is_multiple_of(2),
        }),
        signed_loader: (!n.is_multiple_of(3)).then_some(n.is_multiple_of(2)),
        disk_bytes: (n as u64 % 700) * 1_000_000_000,
        disks: 1,
        sector_bytes: if n.is_multiple_of(13) { 4096 } else { 512 },
        min_disk_bytes: 0,
        min_memory_bytes: 1 << (30 + n % 6),
        drivers: if n.is_multiple_of(17) {
            Drivers::Unknown("not read".to_owned())
        } else {
            Drivers::Known(modules)
        },
        kernel_arguments: Some(vec!["quiet".to_owned()]),
        cloud_init: Some(true),
        guest_plugin: Some(true),
        source_model: if n.is_multiple_of(4) {
            format!("Example Inc. Rack {}", n % 25)
        } else {
            String::new()
        },
        verified_on: Vec::new(),
        certified_for: Vec::new(),
        rules: ImageRules {
            requires: if n.is_multiple_of(15) {
                vec![gpu()]
            } else {
                Vec::new()
            },
            forbids: Vec::new(),
        },
        price: None,
    }
}
