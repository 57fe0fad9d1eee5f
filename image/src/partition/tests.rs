use std::io::Cursor;

use gptman::{GPT, GPTPartitionEntry};

use super::*;

const SIZE: u64 = 8 << 20;

/// A GPT with two partitions, as a partitioning tool writes it.
fn gpt_disk(sector: u64) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; SIZE as usize]);
    let mut gpt = GPT::new_from(&mut disk, sector, *b"0123456789abcdef").unwrap();
    // Microsoft's basic data type, whose text everybody knows.
    let basic = [
        0xA2, 0xA0, 0xD0, 0xEB, 0xE5, 0xB9, 0x33, 0x44, 0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26, 0x99, 0xC7,
    ];
    for (number, first, name) in [(1, 256, "EFI system"), (3, 512, "Wurzel ü")] {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: basic,
            unique_partition_guid: [number as u8; 16],
            starting_lba: first,
            ending_lba: first + 99,
            attribute_bits: 0,
            partition_name: name.into(),
        };
    }
    gpt.write_into(&mut disk).unwrap();
    GPT::write_protective_mbr_into(&mut disk, sector).unwrap();
    disk.into_inner()
}

/// The same disk, remembered while it streams by in chunks.
fn sketch(disk: &[u8]) -> (u32, PartitionSummary) {
    let mut sketch = DiskSketch::default();
    for (index, chunk) in disk.chunks(1 << 20).enumerate() {
        if !crate::zero::is_zero(chunk) {
            sketch.observe((index as u64) << 20, chunk);
        }
    }
    let sector = sketch.sector_bytes(disk.len() as u64).unwrap();
    (sector, sketch.summarise(disk.len() as u64, sector).unwrap())
}

fn summary(disk: &[u8], sector: u32) -> PartitionSummary {
    let direct = read_summary(&mut Cursor::new(disk), sector).unwrap();
    assert_eq!(
        sketch(disk),
        (sector, direct.clone()),
        "the sketch of a stream says the same"
    );
    direct.check(disk.len() as u64).unwrap();
    direct
}

#[test]
fn gpt_with_either_sector_size() {
    for sector in [512u32, 4096] {
        let disk = gpt_disk(sector.into());
        let found = summary(&disk, sector);
        assert_eq!(found.table, PartitionTable::Gpt);
        assert_eq!(found.notes, Vec::<String>::new());
        assert!(!found.hybrid_mbr);
        assert_eq!(found.disk_id, "33323130-3534-3736-3839-616263646566");
        let [first, second] = &found.partitions[..] else {
            panic!("{found:?}")
        };
        assert_eq!((first.number, first.first_byte), (1, 256 * u64::from(sector)));
        assert_eq!((second.number, second.size_bytes), (3, 100 * u64::from(sector)));
        assert_eq!(first.type_id, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
        assert_eq!(second.unique_id, "03030303-0303-0303-0303-030303030303");
        assert_eq!(second.name, "Wurzel ü");
    }
}

#[test]
fn a_damaged_primary_gpt_is_read_from_the_backup() {
    let mut disk = gpt_disk(512);
    disk[512 + 60] ^= 1;
    let found = summary(&disk, 512);
    assert_eq!((found.table, found.partitions.len()), (PartitionTable::Gpt, 2));
    assert!(found.notes[0].contains("backup"), "{:?}", found.notes);
    let len = disk.len();
    disk[len - 512 + 60] ^= 1;
    let found = summary(&disk, 512);
    assert_eq!(found.table, PartitionTable::Mbr);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
}

#[test]
fn hostile_gpt_headers_are_notes_not_panics() {
    let crc = |header: &mut [u8]| {
        header[16..20].fill(0);
        let mut sum = flate2::Crc::new();
        sum.update(&header[..92]);
        header[16..20].copy_from_slice(&sum.sum().to_le_bytes());
    };
    for (at, value) in [
        (80, u32::MAX),
        (84, 1),
        (84, u32::MAX),
        (84, 256),
        (72, u32::MAX),
        (76, u32::MAX),
        (80, 0),
    ] {
        let mut disk = gpt_disk(512);
        let len = disk.len();
        for header in [512, len - 512] {
            disk[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
            crc(&mut disk[header..header + 92]);
        }
        let found = summary(&disk, 512);
        assert!(
            found.notes.iter().any(|note| note.contains("GPT is damaged")),
            "{at} {value}: {found:?}"
        );
    }
}

#[test]
fn hybrid_odd_and_missing_protective_mbr_are_noted() {
    let mut disk = gpt_disk(512);
    entry(&mut disk, 0, 1, 0x83, 512, 100);
    let found = summary(&disk, 512);
    assert!(found.hybrid_mbr);
    assert_eq!(found.table, PartitionTable::Gpt);
    assert!(found.notes[0].contains("hybrid"));

    let mut disk = gpt_disk(512);
    entry(&mut disk, 0, 0, 0xEE, 63, 100);
    assert!(summary(&disk, 512).notes[0].contains("does not begin at sector 1"));

    for (chs, is_odd) in [
        ([0, 2, 0], false),
        ([0, 1, 0], false),
        ([0xFF, 0, 1], true),
        ([0, 0, 0], true),
    ] {
        let mut disk = gpt_disk(512);
        disk[447..450].copy_from_slice(&chs);
        let notes = summary(&disk, 512).notes;
        assert_eq!(
            notes.iter().any(|note| note.contains("CHS")),
            is_odd,
            "{chs:?}: {notes:?}"
        );
    }

    let mut disk = gpt_disk(512);
    disk[..512].fill(0);
    assert!(summary(&disk, 512).notes[0].contains("no protective MBR"));
}

/// Writes entry `number` of the table in the sector at `sector`.
fn entry(disk: &mut [u8], sector: usize, number: usize, kind: u8, first: u32, sectors: u32) {
    let at = sector * 512 + 446 + number * 16;
    disk[at..at + 16].fill(0);
    disk[at + 4] = kind;
    disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
    disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
}

fn mbr_disk() -> Vec<u8> {
    let mut disk = vec![0; SIZE as usize];
    disk[440..444].copy_from_slice(&0x1234_ABCDu32.to_le_bytes());
    entry(&mut disk, 0, 0, 0x83, 2048, 1000);
    entry(&mut disk, 0, 2, 0x0F, 4096, 8192);
    // Three logical partitions, the links in two chunks.
    entry(&mut disk, 4096, 0, 0x83, 63, 100);
    entry(&mut disk, 4096, 1, 0x05, 1000, 500);
    entry(&mut disk, 5096, 0, 0x82, 63, 100);
    entry(&mut disk, 5096, 1, 0x05, 3000, 500);
    entry(&mut disk, 7096, 0, 0x07, 63, 100);
    disk
}

#[test]
fn mbr_with_logical_partitions() {
    let found = summary(&mbr_disk(), 512);
    assert_eq!(
        (found.table, found.disk_id.as_str()),
        (PartitionTable::Mbr, "1234abcd")
    );
    assert_eq!(found.notes, Vec::<String>::new());
    let listed: Vec<_> = found
        .partitions
        .iter()
        .map(|p| (p.number, p.first_byte / 512, p.type_id.as_str()))
        .collect();
    assert_eq!(
        listed,
        [
            (1, 2048, "0x83"),
            (3, 4096, "0x0f"),
            (5, 4159, "0x83"),
            (6, 5159, "0x82"),
            (7, 7159, "0x07")
        ]
    );
    assert_eq!(found.partitions[2].unique_id, "1234abcd-05");
}

#[test]
fn chains_of_logical_partitions_that_go_wrong_end() {
    let mut cyclic = mbr_disk();
    entry(&mut cyclic, 7096, 1, 0x05, 0, 500);
    let found = read_summary(&mut Cursor::new(&cyclic), 512).unwrap();
    assert!(found.notes[0].contains("backwards"), "{:?}", found.notes);
    assert_eq!(found.partitions.len(), 5);

    let mut broken = mbr_disk();
    broken[5096 * 512 + 511] = 0;
    let found = read_summary(&mut Cursor::new(&broken), 512).unwrap();
    assert!(found.notes[0].contains("breaks"), "{:?}", found.notes);

    let mut beyond = mbr_disk();
    entry(&mut beyond, 0, 2, 0x0F, u32::MAX, u32::MAX);
    let found = read_summary(&mut Cursor::new(&beyond), 512).unwrap();
    assert!(
        found.notes.iter().any(|note| note.contains("behind the end")),
        "{:?}",
        found.notes
    );
    found.check(SIZE).unwrap();
}

#[test]
fn what_has_no_table_has_none() {
    let mut fat = vec![0u8; 1 << 20];
    fat[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    fat[446..510].copy_from_slice(&[0x41; 64]);
    fat[510..512].copy_from_slice(&[0x55, 0xAA]);
    for disk in [vec![0; 100], vec![0; 512], vec![0; 1 << 20], fat] {
        assert_eq!(summary(&disk, 512), PartitionSummary::default());
    }
}

#[test]
fn noise_never_panics() {
    let base = [gpt_disk(512), gpt_disk(4096), mbr_disk()];
    for round in 0..600u32 {
        let mut disk = base[round as usize % 3].clone();
        let random = crate::Digest::of(&round.to_le_bytes());
        for pair in random.as_bytes().chunks(3) {
            let at = usize::from(pair[0]) * 24 % 6144;
            disk[at + usize::from(pair[1]) % 24] = pair[pair.len() - 1];
        }
        for sector in [512, 4096] {
            read_summary(&mut Cursor::new(&disk), sector)
                .unwrap()
                .check(SIZE)
                .unwrap();
        }
    }
}
