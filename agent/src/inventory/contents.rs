//! What is written on a disk, by the signatures that systems leave: read from its sectors, a few hundred KiB a partition,
//! without mounting anything and without running a tool.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use imprint_proto::agent::v1::{Disk, DiskContent};

use crate::finish::table::{self, Partition, Scheme};

mod file_systems;
mod foreign;
mod members;
mod partitions;
mod signatures;
#[cfg(test)]
mod tests;

/// Partitions that are looked into.
const MAX_PARTITIONS: usize = 128;
/// GPT types, as on the disk: BIOS boot partition, network shared disk of GPFS.
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
const GPFS: [u8; 16] = [
    0x90, 0xfc, 0xaf, 0x37, 0x7d, 0xef, 0x96, 0x4e, 0x91, 0xc3, 0x2d, 0x7a, 0xe0, 0x55, 0xb1, 0x74,
];
const MBR_ACTIVE: u8 = 0x80;

/// Looks at a disk whose device is below `root`. One that cannot be opened is left as not looked at.
pub(super) fn look(root: &Path, disk: &mut Disk) {
    let Ok(file) = File::open(root.join("dev").join(&disk.kernel_name)) else {
        return;
    };
    if let Some(contents) = read(&file, disk.size_bytes, disk.logical_sector_bytes.into()) {
        disk.contents = contents;
        disk.contents_read = true;
    }
}

/// The file system of a partition by itself, with label and UUID.
pub(crate) fn volume(device: &File, size: u64) -> Option<DiskContent> {
    let whole = Extent {
        file: device,
        start: 0,
        size,
    };
    signatures::all_of(&whole).into_iter().next()
}

/// What a system would recognise on a disk: every signature. None when not even its first sector can be read.
pub(crate) fn of_device(device: &File, size: u64, sector: u64) -> Option<Vec<DiskContent>> {
    read(device, size, sector)
}

/// Start and size in bytes of every partition that the disk has, or had before its table was damaged.
pub(crate) fn partitions_of(device: &File, size: u64, sector: u64) -> Vec<(u64, u64)> {
    let whole = Extent {
        file: device,
        start: 0,
        size,
    };
    let mut reader = device;
    let mut found: Vec<(Partition, u64)> = match table::read(&mut reader, sector) {
        Ok(table) if table.scheme != Scheme::None => {
            let head = whole.at(0, 512).unwrap_or_default();
            let logical = match table.scheme {
                Scheme::Mbr(_) => partitions::logical(&whole, &head, sector),
                _ => Vec::new(),
            };
            let all = table.partitions.into_iter().chain(logical);
            all.map(|partition| (partition, sector)).collect()
        }
        _ => partitions::remains(&whole, sector),
    };
    found.truncate(MAX_PARTITIONS);
    let bytes = |(partition, sector): (Partition, u64)| {
        let start = partition.first_lba.checked_mul(sector)?;
        let room = size.checked_sub(start)?;
        Some((start, partition.blocks.saturating_mul(sector).min(room)))
    };
    found.into_iter().filter_map(bytes).collect()
}

/// A disk, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    file: &'a File,
    start: u64,
    size: u64,
}

impl Extent<'_> {
    /// Bytes from an offset on; none when they lie behind the end or cannot be read.
    fn at(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size {
            return None;
        }
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, self.start.checked_add(offset)?)
            .ok()?;
        Some(bytes)
    }
}

/// All signatures, the whole disk first. None when not even its first sector can be read.
fn read(file: &File, size: u64, sector: u64) -> Option<Vec<DiskContent>> {
    let whole = Extent { file, start: 0, size };
    let head = whole.at(0, 512)?;
    let mut found = Vec::new();
    let mut device = file;
    let table = table::read(&mut device, sector);
    let (scheme, partitions) = match table {
        Ok(table) if table.scheme != Scheme::None => {
            let kind = if table.scheme == Scheme::Gpt { "gpt" } else { "mbr" };
            found.push(content(None, kind, "", "", ""));
            found.extend(signatures::members_of(&whole));
            let mut partitions = table.partitions;
            if kind == "mbr" {
                partitions.extend(partitions::logical(&whole, &head, sector));
            }
            (table.scheme, partitions)
        }
        table => {
            // Damaged, of another size of sectors, or without the MBR in front: whatever it was, its partitions were.
            let remains = partitions::remains(&whole, sector);
            if table.is_err() || !remains.is_empty() {
                found.push(content(None, "gpt", "data", "damaged", ""));
            }
            found.extend(signatures::all_of(&whole));
            if found.is_empty() && holds_something(&whole) {
                found.push(content(None, "unknown", "data", "", ""));
            }
            for (partition, sector) in remains.iter().take(MAX_PARTITIONS) {
                found.extend(in_partition(&whole, &head, Scheme::None, partition, *sector));
            }
            return Some(found);
        }
    };
    for partition in partitions.iter().take(MAX_PARTITIONS) {
        found.extend(in_partition(&whole, &head, scheme, partition, sector));
    }
    Some(found)
}

/// Whether there are bytes in the first MiB that neither a new disk nor a wiped one has.
fn holds_something(whole: &Extent<'_>) -> bool {
    const BLANK: [u8; 2] = [0, 0xff];
    let length = usize::try_from(whole.size.min(1 << 20)).unwrap_or(0);
    let head = whole.at(0, length).unwrap_or_default();
    !BLANK.iter().any(|blank| head.iter().all(|byte| byte == blank))
}

fn in_partition(
    whole: &Extent<'_>,
    head: &[u8],
    scheme: Scheme,
    partition: &Partition,
    sector: u64,
) -> Vec<DiskContent> {
    let number = Some(partition.number);
    let (Some(start), Some(size)) = (
        partition.first_lba.checked_mul(sector),
        partition.blocks.checked_mul(sector),
    ) else {
        return Vec::new();
    };
    let extent = Extent {
        start,
        size,
        ..*whole
    };
    let mut found = signatures::all_of(&extent);
    let kind = match scheme {
        Scheme::Gpt => gpt_type(whole, partition.number, sector),
        _ => None,
    };
    if kind == Some(GPFS) && !found.iter().any(|content| content.kind == "gpfs") {
        found.push(content(number, "gpfs", "member", "", ""));
    }
    let active = |number: u32| {
        let entry = 446 + 16 * (usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1)).min(3);
        head.get(entry) == Some(&MBR_ACTIVE)
    };
    let starts = partition.esp
        || kind == Some(BIOS_BOOT)
        || (matches!(scheme, Scheme::Mbr(_)) && partition.number <= 4 && active(partition.number));
    if starts {
        match found.iter_mut().find(|content| content.role != "member") {
            Some(content) => content.role = "system".to_owned(),
            None => found.push(content(number, "boot", "system", "", "")),
        }
    }
    for content in &mut found {
        content.partition = number;
    }
    found
}

/// The type of a partition; the table itself has been checked before.
fn gpt_type(whole: &Extent<'_>, number: u32, sector: u64) -> Option<[u8; 16]> {
    let header = whole.at(sector, 96)?;
    let entries = u64::from_le_bytes(header.get(72..80)?.try_into().ok()?);
    let length = u64::from(u32::from_le_bytes(header.get(84..88)?.try_into().ok()?));
    let offset = entries
        .checked_mul(sector)?
        .checked_add(u64::from(number.checked_sub(1)?).checked_mul(length)?)?;
    whole.at(offset, 16)?.try_into().ok()
}

fn content(partition: Option<u32>, kind: &str, role: &str, label: &str, group: &str) -> DiskContent {
    DiskContent {
        partition,
        kind: kind.to_owned(),
        role: role.to_owned(),
        label: label.to_owned(),
        group: group.to_owned(),
        uuid: String::new(),
    }
}
