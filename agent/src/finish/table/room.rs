//! Room for one more partition at the end of a disk: the one that cloud-init finds its seed on.

use std::io::{Read, Seek, SeekFrom, Write};

use super::{MBR_ENTRIES, Scheme, TableError, aligned_end, mbr_entries, read, read_gpt, read_mbr};

/// How large it is.
pub const SEED_BYTES: u64 = 4 << 20;
/// Its name in a GPT.
const NAME: &str = "imprint-seed";
/// Basic data, GPT type, in the byte order of the disk: what partitions with FAT have.
const BASIC_DATA: [u8; 16] = [
    0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7,
];
/// FAT16 by blocks, MBR type.
const FAT_MBR_TYPE: u8 = 0x0e;
/// Cylinder, head and sector of what is reached by blocks only.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// A disk has no room for the partition.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The table can't be read or written.
    #[error("the partition table cannot be used")]
    Table(#[from] TableError),
    /// There is nothing to add it to.
    #[error("the disk has no partition table")]
    NoTable,
    /// Every entry is taken.
    #[error("all {entries} entries of its partition table are taken")]
    Full {
        /// How many there are.
        entries: u32,
    },
    /// The image ends where the disk does.
    #[error(
        "behind its last partition {free_bytes} bytes are free, and {} are needed",
        SEED_BYTES
    )]
    NoSpace {
        /// Bytes from the last partition to the end.
        free_bytes: u64,
    },
}

/// The number of the partition that [`add`] has made.
///
/// # Errors
/// When the table is damaged or can't be read.
pub fn find<D: Read + Seek>(device: &mut D, sector: u64) -> Result<Option<u32>, TableError> {
    let blocks = SEED_BYTES / sector;
    match read(device, sector)?.scheme {
        Scheme::Gpt => {
            let gpt = read_gpt(device, sector)?;
            let ours = gpt.iter().find(|(_, entry)| {
                entry.is_used()
                    && entry.partition_type_guid == BASIC_DATA
                    && entry.partition_name.as_str() == NAME
                    && entry.ending_lba.checked_sub(entry.starting_lba) == Some(blocks - 1)
            });
            Ok(ours.map(|(number, _)| number))
        }
        // An MBR has no names: it is the one that lies where it would be put.
        Scheme::Mbr(_) => {
            let end = aligned_end(device.seek(SeekFrom::End(0))? / sector, sector);
            let mbr = read_mbr(device)?;
            let ours = mbr.as_ref().and_then(|mbr| {
                mbr_entries(mbr).find(|entry| {
                    entry.kind == FAT_MBR_TYPE && entry.blocks == blocks && entry.first + blocks == end
                })
            });
            Ok(ours.map(|entry| entry.number))
        }
        Scheme::None => Ok(None),
    }
}

/// Adds the partition at the end of the disk, behind all others, and answers its number. A backup GPT has to be at the end
/// already. `unique` becomes its GUID.
///
/// # Errors
/// When there is no room for it, or the table can't be written.
pub fn add<D: Read + Write + Seek>(device: &mut D, sector: u64, unique: [u8; 16]) -> Result<u32, RoomError> {
    match read(device, sector)?.scheme {
        Scheme::Gpt => add_gpt(device, sector, unique),
        Scheme::Mbr(_) => add_mbr(device, sector),
        Scheme::None => Err(RoomError::NoTable),
    }
}

fn add_gpt<D: Read + Write + Seek>(device: &mut D, sector: u64, unique: [u8; 16]) -> Result<u32, RoomError> {
    let mut gpt = read_gpt(device, sector)?;
    let entries = gpt.header.number_of_partition_entries;
    let number = (1..=entries)
        .find(|number| gpt[*number].is_unused())
        .ok_or(RoomError::Full { entries })?;
    let taken = gpt
        .iter()
        .filter(|(_, entry)| entry.is_used())
        .map(|(_, entry)| entry.ending_lba.saturating_add(1))
        .fold(gpt.header.first_usable_lba, u64::max);
    let end = gpt.header.last_usable_lba.saturating_add(1);
    let (first, end) = place(taken, end, sector)?;
    gpt[number] = gptman::GPTPartitionEntry {
        partition_type_guid: BASIC_DATA,
        unique_partition_guid: unique,
        starting_lba: first,
        ending_lba: end - 1,
        attribute_bits: 0,
        partition_name: NAME.into(),
    };
    gpt.write_into(device).map_err(TableError::from)?;
    device.flush().map_err(TableError::from)?;
    Ok(number)
}

fn add_mbr<D: Read + Write + Seek>(device: &mut D, sector: u64) -> Result<u32, RoomError> {
    let Some(mut mbr) = read_mbr(device)? else {
        return Err(RoomError::NoTable);
    };
    let slot = (0..4).find(|slot| mbr[MBR_ENTRIES + slot * 16 + 4] == 0);
    let slot = slot.ok_or(RoomError::Full { entries: 4 })?;
    // What is inside of an extended partition ends with it.
    let taken = mbr_entries(&mbr)
        .map(|entry| entry.first + entry.blocks)
        .fold(1, u64::max);
    let blocks = device.seek(SeekFrom::End(0)).map_err(TableError::from)? / sector;
    let (first, end) = place(taken, blocks, sector)?;
    let (Ok(first), Ok(blocks)) = (u32::try_from(first), u32::try_from(end - first)) else {
        // Blocks of an MBR have 32 bits.
        return Err(RoomError::NoSpace { free_bytes: 0 });
    };
    let entry = &mut mbr[MBR_ENTRIES + slot * 16..][..16];
    entry[0] = 0;
    entry[1..4].copy_from_slice(&NO_CHS);
    entry[4] = FAT_MBR_TYPE;
    entry[5..8].copy_from_slice(&NO_CHS);
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&blocks.to_le_bytes());
    device.seek(SeekFrom::Start(0)).map_err(TableError::from)?;
    device.write_all(&mbr).map_err(TableError::from)?;
    device.flush().map_err(TableError::from)?;
    Ok(u32::try_from(slot).unwrap_or(0) + 1)
}

/// First block and the one behind the last, as far back as whole MiB allow. Gaps between partitions are left alone: some
/// images keep loaders in them.
fn place(taken: u64, end: u64, sector: u64) -> Result<(u64, u64), RoomError> {
    let aligned = aligned_end(end, sector);
    let first = aligned.checked_sub(SEED_BYTES / sector);
    first
        .filter(|first| *first >= taken)
        .map(|first| (first, aligned))
        .ok_or(RoomError::NoSpace {
            free_bytes: end.saturating_sub(taken).saturating_mul(sector),
        })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use gptman::GPT;

    use super::*;
    use crate::finish::table::{move_backup, read_header, tests::mbr};

    const MIB: u64 = 1 << 20;

    fn gpt(sector: u64, image_mib: u64, disk_mib: usize, parts: &[(u32, u64, u64)]) -> Cursor<Vec<u8>> {
        let mut image = Cursor::new(vec![0; usize::try_from(image_mib * MIB).unwrap()]);
        GPT::write_protective_mbr_into(&mut image, sector).unwrap();
        let mut gpt = GPT::new_from(&mut image, sector, [7; 16]).unwrap();
        for (number, first, mib) in parts {
            gpt[*number] = gptman::GPTPartitionEntry {
                partition_type_guid: [9; 16],
                unique_partition_guid: [u8::try_from(*number).unwrap(); 16],
                starting_lba: first * MIB / sector,
                ending_lba: (first + mib) * MIB / sector - 1,
                attribute_bits: 0,
                partition_name: "".into(),
            };
        }
        gpt.write_into(&mut image).unwrap();
        let mut bytes = image.into_inner();
        bytes.resize(disk_mib << 20, 0);
        Cursor::new(bytes)
    }

    #[test]
    fn a_gpt_gets_it_once_at_the_end_in_both_copies() {
        for sector in [512, 4096] {
            let mut disk = gpt(sector, 16, 64, &[(1, 1, 4), (3, 5, 10)]);
            move_backup(&mut disk, sector).unwrap();
            assert_eq!(find(&mut disk, sector).unwrap(), None);
            assert_eq!(add(&mut disk, sector, [5; 16]).unwrap(), 2);
            assert_eq!(find(&mut disk, sector).unwrap(), Some(2));
            let table = read(&mut disk, sector).unwrap();
            let ours = table.partitions.iter().find(|part| part.number == 2).unwrap();
            assert_eq!(
                ours.first_lba * sector,
                59 * MIB,
                "before the backup, on a whole MiB"
            );
            assert_eq!((ours.blocks * sector, ours.unique), (SEED_BYTES, [5; 16]));
            assert_eq!(table.partitions.len(), 3);
            let backup = read_header(&mut disk, sector, 64 * MIB / sector - 1).unwrap();
            let backup = backup.read_partitions(&mut disk, sector).unwrap();
            assert_eq!(backup[1].starting_lba, ours.first_lba);
        }
    }

    #[test]
    fn a_gpt_without_room_is_left_as_it_is() {
        let mut disk = gpt(512, 16, 16, &[(1, 1, 11)]);
        let before = disk.get_ref().clone();
        let error = add(&mut disk, 512, [5; 16]).unwrap_err();
        assert!(
            matches!(error, RoomError::NoSpace { free_bytes } if free_bytes > 3 * MIB),
            "{error}"
        );
        assert!(error.to_string().ends_with("and 4194304 are needed"), "{error}");
        assert_eq!(*disk.get_ref(), before);
        // A gap before the last partition is none of ours.
        let mut disk = gpt(512, 32, 32, &[(1, 1, 1), (2, 20, 11)]);
        assert!(matches!(
            add(&mut disk, 512, [5; 16]),
            Err(RoomError::NoSpace { .. })
        ));
    }

    #[test]
    fn an_mbr_gets_it_where_an_entry_is_free() {
        let mut disk = mbr(64, &[(0x83, 2048, 2048), (0x05, 4096, 8192)]);
        assert_eq!(find(&mut disk, 512).unwrap(), None);
        assert_eq!(add(&mut disk, 512, [5; 16]).unwrap(), 3);
        assert_eq!(find(&mut disk, 512).unwrap(), Some(3));
        let table = read(&mut disk, 512).unwrap();
        assert_eq!(table.partitions[2].first_lba, 60 << 11);
        assert_eq!(table.partitions[1].blocks, 8192, "the others stay");
        let four = [
            (0x83, 2048, 8),
            (0x83, 4096, 8),
            (0x83, 8192, 8),
            (0x83, 16384, 8),
        ];
        let error = add(&mut mbr(64, &four), 512, [5; 16]).unwrap_err();
        assert!(matches!(error, RoomError::Full { entries: 4 }), "{error}");
        let error = add(&mut mbr(64, &[]), 512, [5; 16]).unwrap_err();
        assert!(matches!(error, RoomError::NoTable), "{error}");
        let full = [(0x83, 2048, 62 << 11)];
        assert!(matches!(
            add(&mut mbr(64, &full), 512, [5; 16]),
            Err(RoomError::NoSpace { .. })
        ));
    }
}
