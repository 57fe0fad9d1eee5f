//! Both sides in a form that is quickly compared: numbers and sets of bits instead of texts.

use super::{
    Drivers, ImageKind, ImageNeeds, ImageState, NodeFacts, SeenBy, Site, Target,
    bits::Bits,
    vocabulary::{Names, SDI_DRIVERS, Vocabulary},
};

/// What an image asks, prepared.
#[derive(Debug)]
pub(super) struct Image {
    pub kind: ImageKind,
    pub is_system: bool,
    pub state: ImageState,
    pub for_vm: bool,
    pub elsewhere: bool,
    /// Numbers of the projects that see it; unset: all.
    pub projects: Option<Vec<u32>>,
    pub architecture: u32,
    /// Bit 0 UEFI, bit 1 BIOS; unset when it is not known.
    pub modes: Option<u8>,
    pub signed: Option<bool>,
    pub disk_bytes: u64,
    pub disks: u32,
    pub sector: u32,
    pub memory: u64,
    pub drivers_known: DriversKnown,
    pub drivers: Bits,
    pub has_sdi_driver: bool,
    pub arguments_known: bool,
    pub arguments: Bits,
    pub cloud_init: Option<bool>,
    pub guest_plugin: Option<bool>,
    pub source_model: u32,
    /// Numbers of the models that it is verified on or certified for, and of the one that it comes from.
    pub models: Vec<u32>,
    pub certified: bool,
    pub requires: Bits,
    pub forbids: Bits,
}

/// How much is known of an image's drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DriversKnown {
    Yes,
    No,
    NoSystem,
}

/// What a node is, prepared.
#[derive(Debug)]
pub(super) struct Node {
    pub known: bool,
    pub project: u32,
    pub architecture: u32,
    /// Bit 0 UEFI, bit 1 BIOS; unset when it is not known.
    pub modes: Option<u8>,
    pub mode_against_model: bool,
    pub secure_boot: Option<bool>,
    pub secure_boot_against_model: bool,
    pub memory: u64,
    /// Different kinds of disks that an image could go to, the largest of each.
    pub disks: Vec<Disk>,
    pub largest: u64,
    pub driver_unknown: bool,
    pub model: u32,
    pub hardware: u32,
    pub sectors: Vec<u32>,
    pub drivers: Bits,
    pub arguments: Bits,
    pub sdi: bool,
    pub guest_plugin: bool,
    pub conditions: Bits,
}

/// One kind of disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub bytes: u64,
    pub sector: u32,
    pub drivers: Bits,
}

pub(super) fn image(of: &ImageNeeds, site: Site<'_>, names: &mut Names, words: &Vocabulary) -> Image {
    let (drivers_known, drivers) = match &of.drivers {
        Drivers::Known(modules) => {
            let has = |name: &String| modules.binary_search(name).is_ok();
            let bits = words.drivers.iter().enumerate().filter(|(_, name)| has(name));
            (DriversKnown::Yes, bits.map(|(bit, _)| bit).collect())
        }
        Drivers::Unknown(_) => (DriversKnown::No, Bits::default()),
        Drivers::NoSystem => (DriversKnown::NoSystem, Bits::default()),
    };
    let sdi: Bits = SDI_DRIVERS
        .iter()
        .filter_map(|name| words.driver_bit(name))
        .collect();
    let arguments = of.kernel_arguments.as_deref().unwrap_or_default();
    let arguments = arguments
        .iter()
        .filter_map(|name| words.argument_bit(name))
        .collect();
    let vouched = of
        .verified_on
        .iter()
        .chain(&of.certified_for)
        .chain([&of.source_model]);
    let mut models: Vec<u32> = vouched
        .map(|name| names.folded(name))
        .filter(|n| *n != 0)
        .collect();
    models.sort_unstable();
    models.dedup();
    let condition_bits = |list: &[crate::model::Condition]| {
        let place = |wanted| words.conditions.iter().position(|known| known == wanted);
        list.iter().filter_map(place).collect()
    };
    Image {
        kind: of.kind,
        is_system: of.is_system(),
        state: of.state,
        for_vm: of.target == Target::Vm,
        elsewhere: of.region != site.region,
        projects: match &of.seen_by {
            SeenBy::Everyone => None,
            SeenBy::Projects(list) => Some(list.iter().map(|name| names.number(name)).collect()),
        },
        architecture: names.folded(&of.architecture),
        modes: of
            .firmware
            .map(|modes| u8::from(modes.uefi) | u8::from(modes.bios) << 1),
        signed: of.signed_loader,
        disk_bytes: of.needed_disk_bytes(),
        disks: of.disks,
        sector: of.sector_bytes,
        memory: of.min_memory_bytes,
        drivers_known,
        has_sdi_driver: drivers.meets(&sdi),
        drivers,
        arguments_known: of.kernel_arguments.is_some(),
        arguments,
        cloud_init: of.cloud_init,
        guest_plugin: of.guest_plugin,
        source_model: names.folded(&of.source_model),
        models,
        certified: !of.certified_for.is_empty(),
        requires: condition_bits(&of.rules.requires),
        forbids: condition_bits(&of.rules.forbids),
    }
}

pub(super) fn node(of: &NodeFacts<'_>, names: &mut Names, words: &Vocabulary) -> Node {
    let needs = of.model.map(|model| &model.needs);
    let mut disks: Vec<Disk> = Vec::new();
    let mut driver_unknown = false;
    for disk in of.candidates() {
        let drivers = of.drivers_of(disk);
        driver_unknown |= drivers.is_empty();
        let drivers: Bits = drivers.iter().filter_map(|name| words.driver_bit(name)).collect();
        let (bytes, sector) = (disk.size_bytes, disk.logical_sector_bytes);
        match disks
            .iter_mut()
            .find(|same| same.sector == sector && same.drivers == drivers)
        {
            Some(same) => same.bytes = same.bytes.max(bytes),
            None => disks.push(Disk {
                bytes,
                sector,
                drivers,
            }),
        }
    }
    let bit = |mode: &str, bit: u8| of.starts_by(mode).map(|starts| if starts { bit } else { 0 });
    let conditions = match of.inventory {
        None => Bits::default(),
        Some(inventory) => {
            let holding = words
                .conditions
                .iter()
                .enumerate()
                .filter(|(_, one)| one.holds(inventory));
            holding.map(|(bit, _)| bit).collect()
        }
    };
    Node {
        known: of.inventory.is_some(),
        project: names.number(of.project),
        architecture: names.folded(of.architecture()),
        modes: bit("uefi", 1).zip(bit("bios", 2)).map(|(uefi, bios)| uefi | bios),
        mode_against_model: mode_against_model(of).is_some(),
        secure_boot: of.secure_boot(),
        secure_boot_against_model: secure_boot_against_model(of).is_some(),
        memory: of.inventory.map_or(0, |inventory| inventory.memory_bytes),
        largest: disks.iter().map(|disk| disk.bytes).max().unwrap_or(0),
        disks,
        driver_unknown,
        model: names.folded(of.model_name().unwrap_or_default()),
        hardware: names.folded(&of.hardware()),
        sectors: needs.map(|needs| needs.sector_sizes.clone()).unwrap_or_default(),
        drivers: of
            .model_drivers()
            .iter()
            .filter_map(|name| words.driver_bit(name))
            .collect(),
        arguments: needs
            .map(|needs| {
                needs
                    .kernel_arguments
                    .iter()
                    .filter_map(|name| words.argument_bit(name))
                    .collect()
            })
            .unwrap_or_default(),
        sdi: needs.is_some_and(|needs| needs.sdi),
        guest_plugin: needs.is_some_and(|needs| needs.guest_plugin),
        conditions,
    }
}

/// The mode that the firmware runs in, if its model does not allow it.
pub(super) fn mode_against_model<'a>(node: &NodeFacts<'a>) -> Option<&'a str> {
    let (runs, model) = (node.firmware_mode()?, node.model?);
    let allowed = &model.needs.firmware;
    (!allowed.is_empty() && !allowed.iter().any(|mode| mode == runs)).then_some(runs)
}

/// Whether Secure Boot is on, if its model asks for the contrary.
pub(super) fn secure_boot_against_model(node: &NodeFacts<'_>) -> Option<bool> {
    let seen = node
        .inventory
        .and_then(|inventory| inventory.firmware.secure_boot)?;
    let wanted = node.model.and_then(|model| model.needs.secure_boot)?;
    (seen != wanted).then_some(seen)
}

impl Image {
    /// Whether somebody vouches for it on a node.
    pub(super) fn is_verified_on(&self, node: &Node) -> bool {
        let vouched = |model: u32| model != 0 && self.models.binary_search(&model).is_ok();
        vouched(node.hardware) || vouched(node.model)
    }
}
