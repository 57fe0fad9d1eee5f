//! The requirements once more, written down plainly and apart from the table: what the engine must answer.

use super::*;

/// Codes of all requirements that fail, in the documented order.
pub(super) fn failed(image: &ImageNeeds, node: &NodeFacts<'_>, site: Site<'_>) -> Vec<&'static str> {
    let mut failed = Vec::new();
    let mut add = |code: &'static str, fails: bool| failed.extend(fails.then_some(code));
    let system = image.kind == ImageKind::SystemDisk || image.kind == ImageKind::FullMachine;
    let inventory = node.inventory.cloned().unwrap_or_default();
    let known = node.inventory.is_some();
    let needs = node.model.map(|model| model.needs.clone()).unwrap_or_default();
    let disks = node.candidates();
    let modules = match &image.drivers {
        Drivers::Known(modules) => Some(modules.clone()),
        _ => None,
    };
    let has_all = |drivers: &[String]| match &modules {
        Some(modules) if system => drivers.iter().all(|driver| modules.contains(driver)),
        _ => true,
    };
    let mode = inventory.firmware.mode.clone();
    let modes: Vec<String> = match mode.as_str() {
        "uefi" | "bios" => vec![mode.clone()],
        _ => needs.firmware.clone(),
    };
    let startable: Option<Vec<&str>> = image.firmware.map(|f| {
        let all = [("uefi", f.uefi), ("bios", f.bios)];
        all.iter()
            .filter(|(_, can)| *can)
            .map(|(mode, _)| *mode)
            .collect()
    });
    let large = |disk: &Disk| disk.size_bytes >= image.disk_bytes && disk.size_bytes >= image.min_disk_bytes;
    let sector = |disk: &Disk| image.sector_bytes == 0 || disk.logical_sector_bytes == image.sector_bytes;
    let driven = |disk: &Disk| has_all(&node.drivers_of(disk));
    let any = |good: &dyn Fn(&Disk) -> bool| disks.is_empty() || disks.iter().any(|disk| good(disk));

    add("image-not-ready", image.state == ImageState::Unfinished);
    add("image-withdrawn", image.state == ImageState::Withdrawn);
    add("image-in-other-region", image.region != site.region);
    add("image-for-virtual-machines", image.target == Target::Vm);
    add("image-is-iso", image.kind == ImageKind::Iso);
    add(
        "image-not-shared",
        match &image.seen_by {
            SeenBy::Everyone => false,
            SeenBy::Projects(list) => !list.iter().any(|project| project == node.project),
        },
    );
    let said = node.model.iter().flat_map(|model| &model.conditions);
    let said = said.filter_map(|condition| match condition {
        crate::model::Condition::Architecture(architecture) => Some(architecture),
        _ => None,
    });
    let ours = match known {
        true => inventory.cpu.architecture.clone(),
        false => said.take(1).cloned().collect(),
    };
    let theirs = &image.architecture;
    add(
        "architecture-differs",
        system && !ours.is_empty() && !theirs.is_empty() && ours != *theirs,
    );
    add(
        "firmware-mode-differs",
        match &startable {
            Some(list) if system && !modes.is_empty() => {
                !modes.iter().any(|mode| list.contains(&mode.as_str()))
            }
            _ => false,
        },
    );
    let foreign_mode = !needs.firmware.is_empty() && !needs.firmware.contains(&mode);
    add("firmware-mode-against-model", !mode.is_empty() && foreign_mode);
    let secure = inventory.firmware.secure_boot.or(needs.secure_boot) == Some(true);
    let by_uefi = system
        && (modes.is_empty() || modes.iter().any(|mode| mode == "uefi"))
        && startable.as_ref().is_none_or(|list| list.contains(&"uefi"));
    add(
        "secure-boot-unsigned",
        secure && by_uefi && image.signed_loader == Some(false),
    );
    add(
        "secure-boot-against-model",
        match (inventory.firmware.secure_boot, needs.secure_boot) {
            (Some(is), Some(wanted)) => is != wanted,
            _ => false,
        },
    );
    add("no-boot-disk", known && disks.is_empty());
    add("image-larger-than-disk", !any(&large));
    add("sector-size-differs", !any(&sector));
    let sizes = &needs.sector_sizes;
    add(
        "sector-size-against-model",
        system && image.sector_bytes != 0 && !sizes.is_empty() && !sizes.contains(&image.sector_bytes),
    );
    add("driver-missing", !has_all(&needs.drivers) || !any(&driven));
    let each = any(&large) && any(&sector) && any(&driven);
    add(
        "no-disk-suits",
        each && !any(&|disk| large(disk) && sector(disk) && driven(disk)),
    );
    add(
        "not-enough-memory",
        inventory.memory_bytes > 0 && inventory.memory_bytes < image.min_memory_bytes,
    );
    let volume = ["virtio_blk", "virtio_scsi", "nvme"].map(str::to_owned);
    add(
        "sdi-driver-missing",
        needs.sdi && !volume.iter().any(|one| has_all(std::slice::from_ref(one))),
    );
    add(
        "kernel-argument-missing",
        match &image.kernel_arguments {
            Some(list) if system => needs.kernel_arguments.iter().any(|one| !list.contains(one)),
            _ => false,
        },
    );
    add(
        "guest-plugin-missing",
        system && needs.guest_plugin && image.guest_plugin == Some(false),
    );
    let holds = |one: &crate::model::Condition| one.holds(&inventory);
    add(
        "image-requirement-not-met",
        known && !image.rules.requires.iter().all(holds),
    );
    add(
        "image-forbids-hardware",
        known && image.rules.forbids.iter().any(holds),
    );
    let verified = image.is_verified_on(&node.hardware(), node.model_name());
    add(
        "image-unverified-on-model",
        !image.source_model.is_empty() && !verified,
    );
    let no_system = image.drivers == Drivers::NoSystem;
    add(
        "secure-boot-unknown",
        secure && by_uefi && image.signed_loader.is_none() && !no_system,
    );
    let unread = matches!(image.drivers, Drivers::Unknown(_));
    let every_disk_known = !disks.is_empty() && disks.iter().all(|disk| !node.drivers_of(disk).is_empty());
    let asks = needs.sdi || !needs.drivers.is_empty() || every_disk_known;
    add("drivers-unknown", system && unread && asks);
    add("image-deprecated", image.state == ImageState::Deprecated);
    add("image-has-several-disks", image.disks > 1);
    add("image-holds-data", image.kind == ImageKind::DataDisk);
    add("hardware-unknown", !known);
    add("model-unknown", known && node.model.is_none());
    add("system-unknown", system && no_system);
    add("architecture-unknown", system && theirs.is_empty());
    add("firmware-mode-unknown", system && image.firmware.is_none());
    add(
        "disk-driver-unknown",
        disks.iter().any(|disk| node.drivers_of(disk).is_empty()),
    );
    add("no-cloud-init", system && image.cloud_init == Some(false));
    let certified = !image.certified_for.is_empty();
    add(
        "not-certified",
        certified && image.source_model.is_empty() && !verified,
    );
    failed
}
