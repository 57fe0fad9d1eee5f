//! What is found although the table does not list it.

use super::*;

fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (index, (kind, first, blocks)) in entries.iter().enumerate() {
        let entry = &mut sector[446 + index * 16..462 + index * 16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&blocks.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn kinds(image: &Image) -> Vec<(Option<u32>, String)> {
    let short = |content: DiskContent| (content.partition, content.kind);
    image.read().into_iter().map(short).collect()
}

/// The usual place of LVM in Debian's guided partitioning with an MBR.
#[test]
fn logical_partitions_are_looked_into() {
    let image = Image::new(64 * MIB);
    image.put(0, &mbr(&[(0x83, 2048, 2048), (5, 4096, 100_000)]));
    image.put(4096 * 512, &mbr(&[(0x82, 2048, 2048), (5, 8192, 30_000)]));
    image.put((4096 + 8192) * 512, &mbr(&[(0x8e, 2048, 20_000)]));
    image.put((4096 + 8192 + 2048) * 512 + 512, &lvm_label());
    assert_eq!(kinds(&image), [(None, "mbr".into()), (Some(6), "lvm-pv".into())]);
    // A chain that leads back to itself ends.
    image.put(
        (4096 + 8192) * 512,
        &mbr(&[(0x8e, 2048, 20_000), (5, 8192, 30_000)]),
    );
    assert!(kinds(&image).len() > 2);
}

fn gpt_with_lvm(sector: u64) -> Image {
    let image = Image::new(64 * MIB);
    let mut gpt = gptman::GPT::new_from(&mut (&image.file), sector, [9; 16]).unwrap();
    gpt[1] = gptman::GPTPartitionEntry {
        partition_type_guid: [5; 16],
        unique_partition_guid: [1; 16],
        starting_lba: 16 * MIB / sector,
        ending_lba: 32 * MIB / sector,
        attribute_bits: 0,
        partition_name: "".into(),
    };
    gptman::GPT::write_protective_mbr_into(&mut (&image.file), sector).unwrap();
    gpt.write_into(&mut (&image.file)).unwrap();
    image.put(16 * MIB + 512, &lvm_label());
    image
}

#[test]
fn a_damaged_gpt_hides_nothing() {
    let members = [(None, "gpt".to_owned()), (Some(1), "lvm-pv".to_owned())];
    // Its first MiB has been wiped, its head alone, the MBR in front of it; it is of a disk with larger sectors.
    for (sector, offset, length) in [(512, 0, 1 << 20), (512, 512, 512), (512, 0, 512), (4096, 0, 0)] {
        let image = gpt_with_lvm(sector);
        image.put(offset, &vec![0; length]);
        assert_eq!(kinds(&image), members, "{sector} {offset} {length}");
        assert_eq!(image.read()[0].label, "damaged");
    }
}

#[test]
fn bytes_that_nobody_knows_are_told() {
    let image = Image::new(4 * MIB);
    image.put(300_000, b"a database without a file system");
    assert_eq!(image.found(), [triple("unknown", "data", "")]);
    image.put(0, &vec![0; 1 << 20]);
    assert!(image.found().is_empty());
}
