//! Findings about the way from the firmware to the kernel.

use super::Report;
use crate::PartitionTable;
use crate::facts::firmware::REMOVABLE;
use crate::facts::model::{EfiPartition, Facts, Kernel, LoaderKind};

/// What most servers have their disks behind; a machine needs one of them.
const STORAGE: [&str; 6] = ["nvme", "ahci", "megaraid_sas", "mpt3sas", "smartpqi", "aacraid"];

pub(super) fn check(facts: &Facts, report: &mut Report) {
    partitions(facts, report);
    firmware(facts, report);
    kernels(facts, report);
    command_lines(facts, report);
}

fn partitions(facts: &Facts, report: &mut Report) {
    let remedy =
        "Build the image with a GUID partition table: UEFI firmware and disks of more than 2 TiB need it.";
    match facts.partitions.table {
        PartitionTable::Gpt => {}
        PartitionTable::Mbr => report.warning("no_gpt", "The disk has a DOS partition table.", remedy),
        PartitionTable::None => report.warning("no_gpt", "The disk has no partition table.", remedy),
    }
    odd_table(facts, report);
    let root = facts
        .volumes
        .iter()
        .find(|volume| volume.mounted_at.as_deref() == Some("/"))
        .and_then(|volume| volume.partition);
    let last = facts
        .partitions
        .partitions
        .iter()
        .max_by_key(|partition| partition.first_byte);
    if let (Some(root), Some(last)) = (root, last)
        && last.number != root
    {
        report.warning(
            "root_not_last",
            format!(
                "The root file system is partition {root}, but partition {} lies behind it: the root cannot grow to \
                 the end of the disk.",
                last.number
            ),
            "Make the root file system the last partition of the image.",
        );
    }
}

/// What is odd about the table of any disk.
pub(super) fn odd_table(facts: &Facts, report: &mut Report) {
    for note in &facts.partitions.notes {
        report.warning(
            "odd_partition_table",
            format!("The partition table is odd: {note}."),
            "Rewrite the table with a partitioning tool before the image is imported, if machines have trouble with it.",
        );
    }
}

fn firmware(facts: &Facts, report: &mut Report) {
    let bios = facts.firmware.bios.known();
    let bios_boots = bios.is_some_and(|bios| {
        bios.boot_code && (facts.partitions.table != PartitionTable::Gpt || bios.boot_partition_filled)
    });
    let Some(efi) = facts.firmware.uefi.known() else {
        return;
    };
    match efi {
        None if bios_boots => report.warning(
            "no_efi_partition",
            "There is no EFI system partition: the image starts on BIOS firmware only.",
            "Add an EFI system partition with a boot loader, unless all machines start by BIOS.",
        ),
        None if bios.is_some() => report.error(
            "no_boot_loader",
            "There is neither an EFI system partition nor boot code for BIOS firmware.",
            "Install a boot loader into the image.",
        ),
        None => {}
        Some(efi) => {
            loaders(facts, efi, report);
            if bios.is_some() && !bios_boots {
                report.info(
                    "no_bios_boot",
                    "There is no boot code for BIOS firmware: the image starts on UEFI firmware only.",
                    "Nothing, unless machines start by BIOS.",
                );
            }
        }
    }
}

fn loaders(facts: &Facts, efi: &EfiPartition, report: &mut Report) {
    let wanted = facts.architecture.known().and_then(|architecture| {
        let fitting = REMOVABLE.iter().find(|(_, machine)| machine == architecture);
        fitting.map(|(name, _)| *name)
    });
    let removable = efi.loaders.iter().find(|loader| {
        let name = loader.path.rsplit('/').next().unwrap_or_default();
        loader.removable_path && wanted.is_none_or(|wanted| name.eq_ignore_ascii_case(wanted))
    });
    let Some(removable) = removable else {
        let name = wanted.unwrap_or("bootx64.efi").to_ascii_uppercase();
        return report.error(
            "no_removable_loader",
            format!("The EFI system partition has no loader at EFI/BOOT/{name}."),
            "Install the boot loader to the removable path too (`grub-install --removable`): firmware that loses its \
             boot entries starts nothing else.",
        );
    };
    if let (Some(machine), Some(system)) = (removable.architecture.known(), facts.architecture.known())
        && machine != system
    {
        report.error(
            "loader_of_other_architecture",
            format!(
                "{} is made for {machine}, the system for {system}.",
                removable.path
            ),
            "Install the boot loader that belongs to the system.",
        );
    }
    let shim = efi
        .loaders
        .iter()
        .any(|loader| loader.kind == LoaderKind::Shim && loader.signed.known() == Some(&true));
    if removable.signed.known() == Some(&false) && !shim {
        report.info(
            "no_signed_loader",
            "No loader carries a signature: the image does not start while Secure Boot is on.",
            "Install a signed shim and boot loader, or switch Secure Boot off on the machines.",
        );
    }
}

fn kernels(facts: &Facts, report: &mut Report) {
    let Some(kernels) = facts.kernels.known() else {
        return;
    };
    let unified = facts
        .firmware
        .uefi
        .known()
        .and_then(Option::as_ref)
        .is_some_and(|efi| {
            efi.loaders
                .iter()
                .any(|loader| loader.kind == LoaderKind::UnifiedKernel)
        });
    if !unified && kernels.iter().all(|kernel| kernel.image.is_none()) {
        report.error(
            "no_kernel",
            "There is no kernel in /boot.",
            "Install the distribution's kernel into the image.",
        );
    }
    for kernel in kernels.iter().filter(|kernel| kernel.image.is_some()) {
        one_kernel(kernel, report);
    }
}

fn one_kernel(kernel: &Kernel, report: &mut Report) {
    let version = &kernel.version;
    if kernel.modules.known() == Some(&false) && !version.contains("rescue") {
        report.warning(
            "kernel_without_modules",
            format!("Kernel {version} has no modules below /lib/modules."),
            "Install the kernel's module package, or remove the kernel.",
        );
    }
    let initramfs = match kernel.initramfs.known() {
        None => return,
        Some(None) => {
            return report.warning(
                "kernel_without_initramfs",
                format!(
                    "Kernel {version} has no initramfs: it finds a root disk only with drivers of its own."
                ),
                "Make an initramfs for the kernel.",
            );
        }
        Some(Some(initramfs)) => initramfs,
    };
    // Without the list of what is built in, a driver that is not in the initramfs may still be there.
    let Some(builtin) = kernel.builtin.known() else {
        return;
    };
    let has = |driver: &str| {
        let named = |names: &[String]| names.iter().any(|name| name == driver);
        named(&initramfs.modules) || named(builtin)
    };
    let missing: Vec<&str> = STORAGE.into_iter().filter(|driver| !has(driver)).collect();
    let remedy = "Make the initramfs for any machine, not for the one it was built on: `MODULES=most` for \
                  initramfs-tools, `hostonly=no` or `--add-drivers` for dracut; on Debian install the full kernel \
                  rather than the cloud kernel.";
    if missing.len() == STORAGE.len() {
        report.error(
            "initramfs_without_storage",
            format!(
                "{} has no driver for the disks of any usual server.",
                initramfs.path
            ),
            remedy,
        );
    } else if !missing.is_empty() {
        report.warning(
            "initramfs_lacks_storage",
            format!(
                "{} lacks drivers of usual servers: {}.",
                initramfs.path,
                missing.join(", ")
            ),
            remedy,
        );
    }
}

fn command_lines(facts: &Facts, report: &mut Report) {
    let Some(lines) = facts.command_lines.known() else {
        return;
    };
    let arguments = || lines.iter().flat_map(|line| &line.arguments);
    let serial = |argument: &String| {
        argument
            .strip_prefix("console=")
            .is_some_and(|console| console.starts_with("ttyS") || console.starts_with("ttyAMA"))
    };
    if !lines.is_empty() && !arguments().any(serial) {
        report.warning(
            "no_serial_console",
            "No kernel command line names a serial console: the console that management controllers forward stays \
             empty.",
            "Add `console=tty0 console=ttyS0,115200` to the boot loader's configuration.",
        );
    }
    for line in lines {
        let by_name = line.arguments.iter().find(|argument| {
            argument
                .strip_prefix("root=")
                .or_else(|| argument.strip_prefix("resume="))
                .is_some_and(super::system::is_device_name)
        });
        if let Some(argument) = by_name {
            report.error(
                "root_by_device_name",
                format!(
                    "{} says `{argument}`: device names differ between machines.",
                    line.path
                ),
                "Name the file system by UUID.",
            );
        }
    }
}
