//! What keeps a written disk from booting until its system is finished.
//!
//! Firmware takes a disk for one that boots by its first sector: a BIOS runs the code in it, UEFI finds the partitions by it. Some
//! bytes of it are others until the last step is done. A GPT without its protective MBR is found all the same by a kernel
//! whose command line has `gpt` (Linux, `block/partitions/efi.c`), which is the ramdisk's.

use std::ops::Range;

use super::{MBR_ENTRIES, PROTECTIVE, SIGNATURE, mbr_entries};

/// The word for the kernel of the ramdisk.
pub const KERNEL_WORD: &str = "gpt";
const MARK: Range<usize> = 510..512;
/// In the place of the signature.
const VEILED: [u8; 2] = *b"Im";
/// In the place of the type of a protective partition; of a system of the eighties.
const HIDDEN: u8 = 0xe1;
const CODE: Range<usize> = 0..2;
/// `int 18h`: the BIOS goes on with its next device.
const NEXT_DEVICE: [u8; 2] = [0xcd, 0x18];
/// Of no use since it was there to mark disks that must not be copied.
const ASIDE: Range<usize> = 444..446;

/// Has a disk with this first sector not boot. False: it has no table, or one that cannot be hidden, and is left as it is.
///
/// With a GPT neither UEFI nor a BIOS boots it. With an MBR its boot code gives way to the next device; UEFI, which does not run
/// it, may boot such a disk.
pub fn draw(sector: &mut [u8]) -> bool {
    let Some(first) = sector.first_chunk_mut::<512>() else {
        return false;
    };
    if first[MARK] != SIGNATURE {
        return false;
    }
    if kinds(first).any(|kind| kind == PROTECTIVE) {
        if kinds(first).any(|kind| kind == HIDDEN) {
            return false;
        }
        swap_kinds(first, PROTECTIVE, HIDDEN);
        first[MARK].copy_from_slice(&VEILED);
        return true;
    }
    let has_code = first[CODE] != [0; 2] && first[CODE] != NEXT_DEVICE && first[ASIDE] == [0; 2];
    if mbr_entries(first).next().is_none() || !has_code {
        return false;
    }
    first.copy_within(CODE, ASIDE.start);
    first[CODE].copy_from_slice(&NEXT_DEVICE);
    true
}

/// Undoes that. False: there was nothing to undo.
pub fn lift(sector: &mut [u8]) -> bool {
    let Some(first) = sector.first_chunk_mut::<512>() else {
        return false;
    };
    if first[MARK] == VEILED {
        swap_kinds(first, HIDDEN, PROTECTIVE);
        first[MARK].copy_from_slice(&SIGNATURE);
        return true;
    }
    if first[MARK] == SIGNATURE && first[CODE] == NEXT_DEVICE && first[ASIDE] != [0; 2] {
        first.copy_within(ASIDE, CODE.start);
        first[ASIDE].fill(0);
        return true;
    }
    false
}

fn kind_at(entry: usize) -> usize {
    MBR_ENTRIES + entry * 16 + 4
}

fn kinds(first: &[u8; 512]) -> impl Iterator<Item = u8> {
    (0..4).map(|entry| first[kind_at(entry)])
}

fn swap_kinds(first: &mut [u8; 512], from: u8, to: u8) {
    for entry in 0..4 {
        let kind = &mut first[kind_at(entry)];
        if *kind == from {
            *kind = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sector(code: &[u8], kind: u8) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[..code.len()].copy_from_slice(code);
        sector[440..444].copy_from_slice(b"sign");
        sector[MBR_ENTRIES..MBR_ENTRIES + 16]
            .copy_from_slice(&[0, 0, 2, 0, kind, 0xff, 0xff, 0xff, 1, 0, 0, 0, 9, 0, 0, 0]);
        sector[MARK].copy_from_slice(&SIGNATURE);
        sector
    }

    #[test]
    fn a_gpt_is_none_for_firmware_until_the_veil_is_lifted() {
        let whole = sector(b"\xeb\x63", PROTECTIVE);
        let mut veiled = whole;
        assert!(draw(&mut veiled));
        assert!(veiled[MARK] != SIGNATURE && kinds(&veiled).all(|kind| kind != PROTECTIVE));
        assert!(!draw(&mut veiled), "once is enough");
        assert!(lift(&mut veiled));
        assert_eq!(veiled, whole);
        assert!(!lift(&mut veiled));
    }

    #[test]
    fn the_boot_code_of_an_mbr_gives_way_to_the_next_device() {
        let whole = sector(b"\xeb\x63", 0x83);
        let mut veiled = whole;
        assert!(draw(&mut veiled));
        assert_eq!(veiled[CODE], NEXT_DEVICE);
        // Its partitions and its signature are what they were.
        assert_eq!(veiled[440..444], whole[440..444]);
        assert_eq!(veiled[MBR_ENTRIES..], whole[MBR_ENTRIES..]);
        assert!(lift(&mut veiled));
        assert_eq!(veiled, whole);
    }

    #[test]
    fn what_has_no_table_or_no_code_is_left_as_it_is() {
        for kept in [
            sector(b"", 0x83),
            sector(b"\xcd\x18", 0x83),
            [0; 512],
            [0xe1; 512],
        ] {
            let mut sector = kept;
            assert!(!draw(&mut sector));
            assert_eq!(sector, kept);
        }
        assert!(!draw(&mut []) && !lift(&mut [0; 511]));
    }

    proptest! {
        /// Whatever image it is: what was drawn is lifted without a trace.
        #[test]
        fn lifting_is_the_opposite_of_drawing(
            code: [u8; 4],
            kinds in prop::array::uniform4(prop::sample::select(vec![0, 0x83, HIDDEN, PROTECTIVE])),
            aside: [u8; 2],
            signed: bool,
        ) {
            let mut whole = sector(&code, 0);
            whole[ASIDE].copy_from_slice(&aside);
            for (entry, kind) in kinds.into_iter().enumerate() {
                whole[kind_at(entry)] = kind;
            }
            if !signed {
                whole[MARK].fill(0);
            }
            let mut veiled = whole;
            if draw(&mut veiled) {
                prop_assert_ne!(veiled, whole);
                prop_assert!(lift(&mut veiled));
            }
            prop_assert_eq!(veiled, whole);
        }
    }
}
