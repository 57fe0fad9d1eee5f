//! Partition tables of the written disk: read, moved to the real end, last partition grown.
//!
//! Works on anything that reads, writes and seeks, so that it is tried on files. The image is somebody else's: every
//! number is checked before it is used.

use std::io::{self, Read, Seek, SeekFrom, Write};

use gptman::{GPT, GPTHeader};

mod identity;
pub mod room;
pub mod veil;

pub use identity::{Identity, identity, set_identity};

/// Partitions end on this boundary after growing.
const ALIGNMENT: u64 = 1 << 20;
const MAX_ENTRIES: u32 = 1024;
const ENTRY_BYTES: u32 = 128;
const MBR_ENTRIES: usize = 446;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// EFI system partition, GPT type, in the byte order of the disk.
pub const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// EFI system partition, MBR type.
const ESP_MBR_TYPE: u8 = 0xef;
const PROTECTIVE: u8 = 0xee;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// A partition table can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The device failed.
    #[error("cannot read or write the partition table")]
    Io(#[from] io::Error),
    /// The GPT is damaged.
    #[error("the GPT of the image is damaged")]
    Gpt(#[from] gptman::Error),
    /// The GPT is of a shape that no tool makes.
    #[error(
        "the GPT of the image has {entries} entries of {entry_bytes} bytes at block {at}, which is not supported"
    )]
    Shape {
        /// How many entries.
        entries: u32,
        /// Bytes of each.
        entry_bytes: u32,
        /// Their first block.
        at: u64,
    },
    /// A partition ends behind the end of the disk.
    #[error("partition {number} ends behind the end of the disk")]
    OutOfDisk {
        /// Which.
        number: u32,
    },
    /// There is no such partition to grow.
    #[error("partition {number} is not the last one")]
    NotLast {
        /// Which.
        number: u32,
    },
}

/// What kind of table the disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table.
    Gpt,
    /// Master boot record, with its disk signature.
    Mbr([u8; 4]),
    /// None: a file system on the whole disk, or nothing.
    None,
}

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// First block.
    pub first_lba: u64,
    /// Blocks.
    pub blocks: u64,
    /// GPT: the partition's own GUID as on the disk.
    pub unique: [u8; 16],
    /// True for an EFI system partition.
    pub esp: bool,
}

/// A table; of an MBR the primary partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its kind.
    pub scheme: Scheme,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The partition that ends last.
    #[must_use]
    pub fn last(&self) -> Option<&Partition> {
        self.partitions
            .iter()
            .max_by_key(|partition| partition.first_lba + partition.blocks)
    }
}

/// Reads the table of a device with blocks of `sector` bytes, also under its [`veil`].
///
/// # Errors
/// When the device can't be read, or the table is damaged.
pub fn read<D: Read + Seek>(device: &mut D, sector: u64) -> Result<Table, TableError> {
    let mut mbr = first_sector(device)?;
    veil::lift(&mut mbr);
    if mbr[510..] != SIGNATURE {
        return Ok(Table {
            scheme: Scheme::None,
            partitions: Vec::new(),
        });
    }
    if mbr_entries(&mbr).any(|entry| entry.kind == PROTECTIVE) {
        let gpt = read_gpt(device, sector)?;
        let partitions = gpt
            .iter()
            .filter(|(_, entry)| entry.is_used() && entry.ending_lba >= entry.starting_lba)
            .map(|(number, entry)| Partition {
                number,
                first_lba: entry.starting_lba,
                blocks: entry.ending_lba - entry.starting_lba + 1,
                unique: entry.unique_partition_guid,
                esp: entry.partition_type_guid == ESP_TYPE,
            })
            .collect();
        return Ok(Table {
            scheme: Scheme::Gpt,
            partitions,
        });
    }
    let partitions: Vec<_> = mbr_entries(&mbr)
        .map(|entry| Partition {
            number: entry.number,
            first_lba: entry.first,
            blocks: entry.blocks,
            unique: [0; 16],
            esp: entry.kind == ESP_MBR_TYPE,
        })
        .collect();
    // A boot sector of a file system ends like an MBR too; it just has no sound entries.
    let scheme = if partitions.is_empty() {
        Scheme::None
    } else {
        Scheme::Mbr([mbr[440], mbr[441], mbr[442], mbr[443]])
    };
    Ok(Table { scheme, partitions })
}

/// Puts the backup GPT at the real end of the disk. True when it was not there; a disk without GPT has none to move.
///
/// # Errors
/// When the table is damaged or can't be written.
pub fn move_backup<D: Read + Write + Seek>(device: &mut D, sector: u64) -> Result<bool, TableError> {
    if read(device, sector)?.scheme != Scheme::Gpt {
        return Ok(false);
    }
    let mut gpt = read_gpt(device, sector)?;
    let (backup, last_usable) = end_of(device, sector, gpt.header.number_of_partition_entries)?;
    if let Some((number, _)) = gpt
        .iter()
        .find(|(_, entry)| entry.is_used() && entry.ending_lba > last_usable)
    {
        return Err(TableError::OutOfDisk { number });
    }
    if gpt.header.backup_lba == backup
        && gpt.header.last_usable_lba == last_usable
        && backup_is_good(device, sector, &gpt)
    {
        return Ok(false);
    }
    gpt.header.backup_lba = backup;
    gpt.header.last_usable_lba = last_usable;
    gpt.write_into(device)?;
    device.flush()?;
    Ok(true)
}

/// Grows the last partition to the end of the disk; the answer is its new number of blocks when it did grow.
///
/// # Errors
/// When the partition is not the last one, or the table can't be written.
pub fn grow_last<D: Read + Write + Seek>(
    device: &mut D,
    sector: u64,
    number: u32,
) -> Result<Option<u64>, TableError> {
    let table = read(device, sector)?;
    if table.last().is_none_or(|last| last.number != number) {
        return Err(TableError::NotLast { number });
    }
    match table.scheme {
        Scheme::Gpt => grow_gpt(device, sector, number),
        Scheme::Mbr(_) => grow_mbr(device, sector, number),
        Scheme::None => Ok(None),
    }
}

fn grow_gpt<D: Read + Write + Seek>(
    device: &mut D,
    sector: u64,
    number: u32,
) -> Result<Option<u64>, TableError> {
    let mut gpt = read_gpt(device, sector)?;
    let end = aligned_end(gpt.header.last_usable_lba + 1, sector);
    let entry = gpt
        .iter_mut()
        .find(|(found, _)| *found == number)
        .map(|(_, entry)| entry);
    let Some(entry) = entry.filter(|entry| entry.ending_lba + 1 < end) else {
        return Ok(None);
    };
    entry.ending_lba = end - 1;
    let blocks = end - entry.starting_lba;
    gpt.write_into(device)?;
    device.flush()?;
    Ok(Some(blocks))
}

fn grow_mbr<D: Read + Write + Seek>(
    device: &mut D,
    sector: u64,
    number: u32,
) -> Result<Option<u64>, TableError> {
    let Some(mut mbr) = read_mbr(device)? else {
        return Ok(None);
    };
    // A partition inside of an extended one would end behind the last primary one.
    if mbr_entries(&mbr).any(|entry| EXTENDED.contains(&entry.kind)) {
        return Ok(None);
    }
    let size = device.seek(SeekFrom::End(0))? / sector;
    let end = aligned_end(size, sector);
    let Some(entry) = mbr_entries(&mbr).find(|entry| entry.number == number) else {
        return Ok(None);
    };
    let blocks = end.saturating_sub(entry.first).min(u64::from(u32::MAX));
    if blocks <= entry.blocks {
        return Ok(None);
    }
    let at = MBR_ENTRIES + (number as usize - 1) * 16 + 12;
    mbr[at..at + 4].copy_from_slice(&u32::try_from(blocks).unwrap_or(u32::MAX).to_le_bytes());
    device.seek(SeekFrom::Start(0))?;
    device.write_all(&mbr)?;
    device.flush()?;
    Ok(Some(blocks))
}

fn aligned_end(end: u64, sector: u64) -> u64 {
    let step = ALIGNMENT / sector;
    end / step * step
}

/// Block of the backup header, and the last block that partitions may have.
fn end_of<D: Seek>(device: &mut D, sector: u64, entries: u32) -> Result<(u64, u64), TableError> {
    let blocks = device.seek(SeekFrom::End(0))? / sector;
    let array = (u64::from(entries) * u64::from(ENTRY_BYTES)).div_ceil(sector);
    let backup = blocks.saturating_sub(1);
    backup
        .checked_sub(array + 1)
        .map(|last| (backup, last))
        .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull).into())
}

fn backup_is_good<D: Read + Seek>(device: &mut D, sector: u64, gpt: &GPT) -> bool {
    read_header(device, sector, gpt.header.backup_lba).is_ok_and(|header| {
        header.disk_guid == gpt.header.disk_guid
            && header.partition_entry_array_crc32 == gpt.header.partition_entry_array_crc32
            && header.read_partitions(device, sector).is_ok()
    })
}

fn read_gpt<D: Read + Seek>(device: &mut D, sector: u64) -> Result<GPT, TableError> {
    // Checked first: the library falls back to a backup of any shape when the primary table doesn't hold.
    read_header(device, sector, 1)?.read_partitions(device, sector)?;
    Ok(GPT::read_from(device, sector)?)
}

/// The library trusts the shape of a table that has the right checksum; a hostile one has.
fn read_header<D: Read + Seek>(device: &mut D, sector: u64, lba: u64) -> Result<GPTHeader, TableError> {
    let start = lba
        .checked_mul(sector)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    device.seek(SeekFrom::Start(start))?;
    let header = GPTHeader::read_from(device)?;
    let (entries, entry_bytes) = (header.number_of_partition_entries, header.size_of_partition_entry);
    let at = header.partition_entry_lba;
    let blocks = device.seek(SeekFrom::End(0))? / sector;
    let sane = entry_bytes == ENTRY_BYTES && (1..=MAX_ENTRIES).contains(&entries) && at >= 2 && at < blocks;
    let sane = sane
        && (lba != 1 || (at == 2 && header.primary_lba == 1))
        && header.last_usable_lba < u64::MAX / sector;
    if sane {
        Ok(header)
    } else {
        Err(TableError::Shape {
            entries,
            entry_bytes,
            at,
        })
    }
}

struct MbrEntry {
    number: u32,
    kind: u8,
    first: u64,
    blocks: u64,
}

fn read_mbr<D: Read + Seek>(device: &mut D) -> Result<Option<[u8; 512]>, TableError> {
    let mbr = first_sector(device)?;
    Ok((mbr[510..] == SIGNATURE).then_some(mbr))
}

fn first_sector<D: Read + Seek>(device: &mut D) -> io::Result<[u8; 512]> {
    let mut first = [0; 512];
    device.seek(SeekFrom::Start(0))?;
    device.read_exact(&mut first)?;
    Ok(first)
}

fn mbr_entries(mbr: &[u8; 512]) -> impl Iterator<Item = MbrEntry> {
    let word = |entry: &[u8], at: usize| {
        u64::from(u32::from_le_bytes([
            entry[at],
            entry[at + 1],
            entry[at + 2],
            entry[at + 3],
        ]))
    };
    mbr[MBR_ENTRIES..510]
        .chunks_exact(16)
        .zip(1..)
        .filter_map(move |(entry, number)| {
            let (first, blocks) = (word(entry, 8), word(entry, 12));
            let sound = matches!(entry[0], 0 | 0x80) && entry[4] != 0 && first > 0 && blocks > 0;
            sound.then_some(MbrEntry {
                number,
                kind: entry[4],
                first,
                blocks,
            })
        })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// An image of 16 MiB with an ESP and a root, copied onto a disk of 64 MiB.
    fn disk(sector: u64) -> Cursor<Vec<u8>> {
        let mut image = Cursor::new(vec![0; 16 << 20]);
        GPT::write_protective_mbr_into(&mut image, sector).unwrap();
        let mut gpt = GPT::new_from(&mut image, sector, [7; 16]).unwrap();
        for (number, kind, first, mib) in [(15, ESP_TYPE, MIB, 4), (1, [9; 16], 5 * MIB, 10)] {
            gpt[number] = gptman::GPTPartitionEntry {
                partition_type_guid: kind,
                unique_partition_guid: [u8::try_from(number).unwrap(); 16],
                starting_lba: first / sector,
                ending_lba: (first + mib * MIB) / sector - 1,
                attribute_bits: 4,
                partition_name: "name".into(),
            };
        }
        gpt.write_into(&mut image).unwrap();
        let mut bytes = image.into_inner();
        bytes.resize(64 << 20, 0);
        Cursor::new(bytes)
    }

    #[test]
    fn moves_the_backup_and_grows_the_last_partition() {
        for sector in [512, 4096] {
            let mut disk = disk(sector);
            let before = read(&mut disk, sector).unwrap();
            assert_eq!(before.last().unwrap().number, 1);
            assert!(
                before
                    .partitions
                    .iter()
                    .any(|partition| partition.number == 15 && partition.esp)
            );
            assert!(move_backup(&mut disk, sector).unwrap());
            assert!(
                !move_backup(&mut disk, sector).unwrap(),
                "a second time changes nothing"
            );
            assert_eq!(read(&mut disk, sector).unwrap(), before);
            let blocks = grow_last(&mut disk, sector, 1).unwrap().unwrap();
            assert_eq!(
                blocks * sector,
                58 * MIB,
                "from 5 MiB to the last whole MiB before the backup"
            );
            assert_eq!(
                grow_last(&mut disk, sector, 1).unwrap(),
                None,
                "a second time changes nothing"
            );
            assert!(matches!(
                grow_last(&mut disk, sector, 15),
                Err(TableError::NotLast { number: 15 })
            ));
            // The backup alone says the same.
            let whole = read_gpt(&mut disk, sector).unwrap();
            let backup = read_header(&mut disk, sector, 64 * MIB / sector - 1).unwrap();
            assert_eq!(
                backup.read_partitions(&mut disk, sector).unwrap()[0].ending_lba,
                whole[1].ending_lba
            );
            assert_eq!(whole[1].attribute_bits, 4);
        }
    }

    #[test]
    fn a_partition_behind_the_end_is_refused() {
        let mut disk = disk(512);
        disk.get_mut().truncate(12 << 20);
        assert!(matches!(
            move_backup(&mut disk, 512),
            Err(TableError::OutOfDisk { number: 1 })
        ));
    }

    #[test]
    fn hostile_shapes_are_refused_without_panic() {
        for (at, value) in [(80, u32::MAX), (80, 0), (84, 64), (84, 0), (72, 1 << 30), (72, 0)] {
            let mut disk = disk(512);
            let header = &mut disk.get_mut()[512..604];
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
            header[16..20].fill(0);
            let checksum = crc32fast::hash(header);
            header[16..20].copy_from_slice(&checksum.to_le_bytes());
            assert!(
                matches!(read(&mut disk, 512), Err(TableError::Shape { .. })),
                "{at} = {value}"
            );
        }
        let mut disk = disk(512);
        disk.get_mut()[1024] ^= 1;
        assert!(matches!(read(&mut disk, 512), Err(TableError::Gpt(_))));
    }

    /// A disk with an MBR of such entries: type, first block, blocks.
    pub(super) fn mbr(disk_mib: usize, entries: &[(u8, u32, u32)]) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; disk_mib << 20];
        for (slot, (kind, first, blocks)) in entries.iter().enumerate() {
            let at = MBR_ENTRIES + slot * 16;
            bytes[at + 4] = *kind;
            bytes[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&blocks.to_le_bytes());
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        Cursor::new(bytes)
    }

    #[test]
    fn grows_an_mbr_but_not_beside_an_extended_partition() {
        let table = |entries: &[(u8, u32, u32)]| mbr(64, entries);
        let mut disk = table(&[(0x83, 2048, 2048), (0x83, 4096, 2048)]);
        assert!(!move_backup(&mut disk, 512).unwrap());
        assert_eq!(grow_last(&mut disk, 512, 2).unwrap(), Some((64 << 11) - 4096));
        assert_eq!(grow_last(&mut disk, 512, 2).unwrap(), None);
        assert_eq!(
            read(&mut disk, 512).unwrap().partitions[1].blocks,
            (64 << 11) - 4096
        );
        let mut disk = table(&[(0x05, 2048, 2048), (0x83, 4096, 2048)]);
        assert_eq!(grow_last(&mut disk, 512, 2).unwrap(), None);
        assert_eq!(read(&mut table(&[]), 512).unwrap().scheme, Scheme::None);
    }
}
