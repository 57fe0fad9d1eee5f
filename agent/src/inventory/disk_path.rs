//! Where a disk hangs: its way through the devices of /sys tells its SCSI address, its driver, and whether a card made it.

use std::path::{Path, PathBuf};

use imprint_proto::agent::v1::Transport;

use super::{pci, sysfs};

/// Drivers of what is on a bus, not of the controller that makes it a disk.
const NOT_CONTROLLERS: [&str; 3] = ["sd", "ses", "pcieport"];

/// Makers of cards that present volumes of a network as NVMe (PCI vendors): NVIDIA's BlueField, AMD's Pensando.
const CARD_MAKERS: [&str; 2] = ["15b3", "1dd8"];

/// The folder of a disk below the hardware it hangs on.
///
/// An NVMe namespace that may have several paths is a virtual device; beside it are links to its controllers.
pub(super) fn hardware(folder: &Path) -> PathBuf {
    let path = sysfs::resolved(folder).unwrap_or_else(|| folder.to_path_buf());
    if !path.iter().any(|name| name == "nvme-subsystem") {
        return path;
    }
    let Some(subsystem) = path.parent() else {
        return path;
    };
    let controller = sysfs::names(subsystem)
        .into_iter()
        .filter(|name| {
            name.strip_prefix("nvme").is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            })
        })
        .find_map(|name| sysfs::resolved(subsystem.join(name)));
    match (controller, path.file_name()) {
        (Some(controller), Some(name)) => controller.join(name),
        _ => path,
    }
}

/// SCSI address of a disk, the name of its device: "0:2:0:0".
pub(super) fn hctl(device: &Path) -> String {
    let name = sysfs::link_name(device);
    let parts: Vec<&str> = name.split(':').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
    if parts.len() == 4 && parts.iter().all(is_number) {
        name
    } else {
        String::new()
    }
}

/// The driver nearest to the disk that is one of a controller: "nvme", "ahci", "megaraid_sas", "virtio_blk".
pub(super) fn driver(path: &Path, device: &Path) -> String {
    let own = sysfs::resolved(device);
    own.iter()
        .flat_map(|own| own.ancestors())
        .chain(path.ancestors())
        .map(|folder| sysfs::link_name(folder.join("driver")))
        .find(|driver| !driver.is_empty() && !NOT_CONTROLLERS.contains(&driver.as_str()))
        .unwrap_or_default()
}

/// The volume that a card presents as a disk; empty for any other disk.
///
/// A virtio disk of a machine that is not virtual can only come from a card, and its serial number is what the card was
/// told. An NVMe disk comes from a card when its controller, or a bridge above it, is of a maker of such cards; its
/// namespace has the volume's UUID.
pub(super) fn volume_id(
    folder: &Path,
    path: &Path,
    transport: Transport,
    serial: &str,
    is_virtual_machine: bool,
) -> String {
    match transport {
        Transport::Virtio if !is_virtual_machine => serial.to_owned(),
        Transport::Nvme if is_behind_card(path) => {
            let uuid = sysfs::value(folder.join("uuid")).to_lowercase();
            if uuid
                .bytes()
                .any(|letter| letter.is_ascii_hexdigit() && letter != b'0')
            {
                uuid
            } else {
                serial.to_owned()
            }
        }
        _ => String::new(),
    }
}

fn is_behind_card(path: &Path) -> bool {
    sysfs::pci_folders(path).any(|folder| CARD_MAKERS.contains(&pci::id(folder, "vendor").as_str()))
}
