//! Disks with damaged file systems: every one is read to the end, in bounded time, without a panic.

use std::time::{Duration, Instant};

use super::fixture::{MIB, System};
use super::*;

/// A generator whose numbers are the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// Where the structures are: superblock, descriptors and inode tables, directories; boot sector, tables and folders
/// of the system partition; the partition table.
fn structures(disk: &[u8]) -> Vec<usize> {
    let root = 10 * MIB;
    let areas = [
        0..MIB / 16,
        2 * MIB..2 * MIB + MIB / 8,
        root + 1024..root + 2048,
        root..root + 3 * MIB,
    ];
    areas
        .into_iter()
        .flat_map(|area| area.filter(|at| disk[*at] != 0))
        .collect()
}

#[test]
fn mutated_disks_are_read_to_the_end() {
    let sound = System::sound().disk();
    let places = structures(&sound);
    assert!(places.len() > 1000);
    let mut numbers = Numbers(0x1234_5678_9ABC_DEF1);
    let mut disk = sound.clone();
    let mut different = 0;
    let begin = Instant::now();
    let reference = facts(&sound);
    for round in 0..300 {
        let count = 1 + numbers.next(8);
        let mut touched = Vec::new();
        for _ in 0..count {
            let at = places[numbers.next(places.len())];
            let width = [1, 2, 4][numbers.next(3)].min(disk.len() - at);
            touched.extend(at..at + width);
            for byte in &mut disk[at..at + width] {
                *byte = match round % 3 {
                    0 => numbers.next(256) as u8,
                    1 => 0xFF,
                    _ => *byte ^ (1 << numbers.next(8)),
                };
            }
        }
        let found = read(&disk, Some(512)).unwrap();
        different += usize::from(found != reference);
        let _findings = lint(&found);
        for at in touched {
            disk[at] = sound[at];
        }
    }
    assert!(different > 30, "only {different} mutations made a difference");
    // Not a measurement: a chain that does not end would take for ever.
    assert!(begin.elapsed() < Duration::from_secs(300));
}

#[test]
fn truncated_disks_are_read_to_the_end() {
    let sound = System::sound().disk();
    for keep in [
        0,
        1,
        511,
        512,
        1024,
        4096,
        MIB,
        2 * MIB + 700,
        10 * MIB + 1500,
        11 * MIB,
        20 * MIB,
    ] {
        let found = facts(&sound[..keep]);
        assert_eq!(found.disk_size_bytes, keep as u64);
    }
}
