//! How firmware would start the image: the loaders of the EFI system partition, the boot code of a BIOS.

use super::disk::ReadAt;
use super::executable::read_pe;
use super::fault::Fault;
use super::model::{Bios, EfiPartition, Fact, Loader, LoaderKind};
use super::tree::Tree;
use super::volume::Kind;
use crate::{PartitionSummary, PartitionTable};

pub(super) const ESP_TYPE: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS_BOOT_TYPE: &str = "21686148-6449-6e6f-744e-656564454649";
const MAX_LOADERS: usize = 256;
const MAX_DEPTH: usize = 4;
/// Most folders that a system partition may have.
const MAX_FOLDERS: usize = 1000;

/// The names on the removable path, and the machine that each is for.
pub(crate) const REMOVABLE: [(&str, &str); 6] = [
    ("bootx64.efi", "x86_64"),
    ("bootaa64.efi", "aarch64"),
    ("bootia32.efi", "i386"),
    ("bootarm.efi", "arm"),
    ("bootriscv64.efi", "riscv64"),
    ("bootloongarch64.efi", "loongarch64"),
];

/// The UEFI programs on a system partition.
pub(super) fn efi_partition(tree: &Tree<'_>, partition: Option<u32>) -> Result<EfiPartition, Fault> {
    let mut loaders = Vec::new();
    let mut folders = vec![(String::new(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        seen += 1;
        if seen + folders.len() > MAX_FOLDERS {
            return Err(Fault::limit(format!(
                "a system partition of more than {MAX_FOLDERS} folders"
            )));
        }
        for entry in tree.list(&folder)? {
            let path = format!("{folder}{}", entry.name);
            let program = std::path::Path::new(&entry.name)
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("efi"));
            match entry.kind {
                Kind::Directory if depth < MAX_DEPTH => folders.push((format!("{path}/"), depth + 1)),
                Kind::File if program && loaders.len() < MAX_LOADERS => loaders.push(loader(tree, path)),
                _ => {}
            }
        }
    }
    loaders.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(EfiPartition { partition, loaders })
}

fn loader(tree: &Tree<'_>, path: String) -> Loader {
    let lower = path.to_ascii_lowercase();
    let removable_path = lower
        .strip_prefix("efi/boot/")
        .is_some_and(|name| REMOVABLE.iter().any(|(removable, _)| *removable == name));
    let name = lower.rsplit('/').next().unwrap_or_default();
    match tree.open(&path).and_then(|mut file| read_pe(&mut file)) {
        Ok(pe) => Loader {
            kind: kind(name, &pe.sections),
            architecture: Fact::Known(pe.architecture.to_owned()),
            signed: Fact::Known(pe.signed),
            removable_path,
            path,
        },
        Err(fault) => Loader {
            kind: kind(name, &[]),
            architecture: Fact::Unknown(fault.reason()),
            signed: Fact::Unknown(fault.reason()),
            removable_path,
            path,
        },
    }
}

/// By the sections that only one program has, and by the usual names where there are none.
fn kind(name: &str, sections: &[String]) -> LoaderKind {
    let has = |wanted: &str| sections.iter().any(|section| section == wanted);
    match name {
        _ if has(".linux") => LoaderKind::UnifiedKernel,
        _ if has(".sdmagic") || name.starts_with("systemd-boot") => LoaderKind::SystemdBoot,
        _ if name.starts_with("mm") => LoaderKind::MokManager,
        _ if name.starts_with("fb") => LoaderKind::Fallback,
        _ if has(".vendor_cert") || name.starts_with("shim") => LoaderKind::Shim,
        _ if has("mods") || name.starts_with("grub") => LoaderKind::Grub,
        _ => LoaderKind::Other,
    }
}

/// What a BIOS would run.
pub(super) fn bios(disk: &dyn ReadAt, partitions: &PartitionSummary) -> Result<Bios, Fault> {
    let read = |offset, out: &mut [u8]| {
        disk.read_at(offset, out).map_err(|source| Fault::Disk {
            offset,
            bytes: out.len(),
            source,
        })
    };
    let mut sector = [0; 512];
    if disk.size_bytes() >= 512 {
        read(0, &mut sector)?;
    }
    let code = &sector[..440];
    let boot_partition = partitions
        .partitions
        .iter()
        .find(|partition| partitions.table == PartitionTable::Gpt && partition.type_id == BIOS_BOOT_TYPE);
    let mut first = [0; 512];
    if let Some(partition) = boot_partition
        && partition.size_bytes >= 512
        && partition.first_byte + 512 <= disk.size_bytes()
    {
        read(partition.first_byte, &mut first)?;
    }
    Ok(Bios {
        boot_code: sector[510..] == [0x55, 0xAA] && code.iter().any(|byte| *byte != 0),
        grub: code.windows(4).any(|window| window == b"GRUB"),
        boot_partition: boot_partition.map(|partition| partition.number),
        boot_partition_filled: first.iter().any(|byte| *byte != 0),
    })
}

/// Whether a partition is marked as an EFI system partition.
pub(super) fn is_esp(partitions: &PartitionSummary, type_id: &str) -> bool {
    match partitions.table {
        PartitionTable::Gpt => type_id == ESP_TYPE,
        PartitionTable::Mbr => type_id == "0xef",
        PartitionTable::None => false,
    }
}
