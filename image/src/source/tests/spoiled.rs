//! Fields of headers that cannot be, and files changed at random.

use super::made::*;
use super::spots::vhdx_item;
use super::*;

/// Number of a form, where, what, and a part of the message.
type Case = (usize, usize, &'static [u8], &'static str);

#[test]
fn fields_of_headers_are_judged() {
    let cases: &[Case] = &[
        (0, 4, &[9], "the version is 9"),
        (0, 20, &[3], "the grain size"),
        (0, 20, &[0, 0, 0, 0, 1], "the grain size"),
        (0, 44, &[0, 0], "the entries of a grain table is 0"),
        (0, 44, &[1, 2], "the entries of a grain table is 513"),
        (0, 28, &[0], "an extent without a descriptor"),
        (0, 72, &[1], "marked as in use"),
        (0, 73, b"\r\n\r\n", "the newline test"),
        (0, 77, &[1], "the compression is 1"),
        (0, 56, &[0xFF; 7], "cut off"),
        (0, 56, &[0], "cut off"),
        (2, 77, &[2], "the compression is 2"),
        (2, 56, &[0xFF; 8], "the footer"),
        (3, 512, b"X", "the header of the dynamic disk does not begin"),
        (3, 512 + 36, &[0; 4], "wrong checksum"),
        (3, 64, &[1], "wrong checksum"),
        (3, 48, &[1], "wrong checksum"),
        (6, 64 << 10, b"X", ""),
        (8, 0x40, b"XXXX", "declared as vdi"),
        (8, 0x44, &[2], "the version"),
        (8, 0x4C, &[9], "the kind of image is 9"),
        (8, 0x154, &[1], "offset_bmap"),
        (8, 0x158, &[1], "offset_data"),
        (8, 0x168, &[1], "the sector size"),
        (8, 0x178, &[1], "the block size"),
        (8, 0x17C, &[1], "the extra data"),
        (8, 0x180, &[0], "blocks_in_image"),
        (10, 4, &[1], "the cluster size"),
        (10, 8, &[17], "the clusters of a table"),
        (10, 12, &[0], "the clusters of the header"),
        (10, 16, &[2], "marked to be checked"),
        (10, 16, &[8], "unknown features: bits 0x8"),
        (10, 16, &[1], "only what differs"),
        (10, 40, &[1], "not the beginning of a cluster"),
        (12, 32, &[8], "cluster_bits"),
        (12, 33, &[14], "l2_bits"),
        (12, 8, &[1], "only what differs"),
        (12, 40, &[1], "cut off"),
    ];
    let disk = marked_disk();
    let files: Vec<_> = FORMS.iter().map(|form| make(*form, &disk)).collect();
    for (number, at, bytes, expected) in cases {
        let form = FORMS[*number];
        let mut file = files[*number].clone();
        file[*at..at + bytes.len()].copy_from_slice(bytes);
        if expected.is_empty() {
            // The other copy counts.
            assert!(read_all(open_bytes(&file, Some(form.format)).unwrap()).unwrap() == disk);
            continue;
        }
        let text = message(&refusal_of(&file, Some(form.format)));
        assert!(text.contains(expected), "{form:?} at {at}: {text}");
        assert!(text.contains("; "), "a remedy: {text}");
    }
}

#[test]
fn sealed_fields_of_headers_are_judged() {
    let vhd: &[Case] = &[
        (3, 12, &[9], "the version"),
        (3, 63, &[9], "the kind of disk is 9"),
        (3, 55, &[1], "a multiple of 512"),
        (3, 54, &[0xFE], "in the copy of the footer"),
        (3, 512 + 24, &[9], "the dynamic disk's version"),
        (3, 512 + 32, &[0xFF], "the block size"),
        (3, 512 + 28, &[0; 4], "the number of table entries"),
        (3, 512 + 16, &[0xFF; 8], "cut off"),
        (3, 512 + 16, &[0; 8], "lies already"),
    ];
    let vhdx: &[Case] = &[
        (6, (64 << 10) + 66, &[9], "the version is 9"),
        (6, (64 << 10) + 64, &[9], "the version of the log is 9"),
        (6, (192 << 10) + 8, &[0xFF; 4], "the number of regions"),
        (6, (192 << 10) + 8, &[1], "a block table and metadata among them"),
        (6, (192 << 10) + 16, &[0xEF; 32], "the required region"),
        (6, (192 << 10) + 32, &[1], "no region can have"),
    ];
    let disk = marked_disk();
    for (number, at, bytes, expected) in vhd.iter().chain(vhdx) {
        let form = FORMS[*number];
        let mut file = make(form, &disk);
        let end = file.len() - 512;
        let mut patch = |at: usize| file[at..at + bytes.len()].copy_from_slice(bytes);
        patch(*at);
        if form.format == Format::Vhd && *at < 512 && !expected.contains("copy") {
            patch(end + at);
        }
        if form.format == Format::Vhdx {
            // The header or table that counts, and its copy.
            patch(at + (64 << 10));
        }
        seal(form.format, &mut file);
        let text = message(&refusal_of(&file, Some(form.format)));
        assert!(text.contains(expected), "{form:?} at {at}: {text}");
    }
    let items: &[(&[u8], usize, &[u8], &str)] = &[
        (&[0x37, 0x67, 0xA1, 0xCA], 0, &[1], "the block size"),
        (
            &[0x24, 0x42, 0xA5, 0x2F],
            0,
            &[1],
            "a multiple of the sector size",
        ),
        (&[0x1D, 0xBF, 0x41, 0x81], 0, &[1], "the sector size"),
    ];
    for (id, at, bytes, expected) in items {
        let mut file = make(FORMS[6], &disk);
        let at = vhdx_item(&file, id) + at;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let text = message(&refusal(&file));
        assert!(text.contains(expected), "{text}");
    }
}

/// Both copies of a structure spoiled: nothing is left that could count.
#[test]
fn a_vhdx_without_a_whole_header_is_refused() {
    for (at, what) in [(64 << 10, "the header"), (192 << 10, "the table of regions")] {
        let mut file = make(FORMS[6], &marked_disk());
        file[at + 100] ^= 1;
        file[at + (64 << 10) + 100] ^= 1;
        let text = message(&refusal(&file));
        assert!(text.contains(what) && text.contains("wrong checksum"), "{text}");
    }
}

/// Changes bytes of headers and tables: whatever is neither zero nor the disk's content, and what is near it.
fn mutate(form: Form) {
    const ROUNDS: u32 = 300;
    let sound = make(form, &marked_disk());
    let spots: Vec<usize> = (0..sound.len())
        .filter(|at| !matches!(sound[*at], 0 | MARK))
        .collect();
    let file = file_with(&sound);
    let limits = Limits {
        max_disk_bytes: 64 << 20,
        ..Limits::default()
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut bad = sound.clone();
        let random = crate::Digest::of(&round.to_le_bytes());
        for change in random.as_bytes().chunks_exact(8).take(1 + round as usize % 4) {
            let spot = u32::from_le_bytes(change[..4].try_into().unwrap()) as usize % spots.len();
            // Most bytes of a table are the zeros beside those that are not.
            let at = (spots[spot] + usize::from(change[4] % 8)).min(sound.len() - 1);
            bad[at] = match change[5] % 4 {
                0 => bad[at] ^ (1 << (change[6] % 8)),
                1 => 0xFF,
                2 => 0,
                _ => change[6],
            };
        }
        if round % 2 == 0 {
            seal(form.format, &mut bad);
        }
        rewrite(&file, &sound, &bad);
        match open(file.try_clone().unwrap(), Some(form.format), &limits) {
            Ok(opened) => {
                let size = opened.source.disk_size_bytes().unwrap();
                assert!((1..=limits.max_disk_bytes).contains(&size));
                match read_sparse(opened) {
                    Ok(disk) => {
                        assert_eq!(disk.len() as u64, size);
                        read += 1;
                    }
                    Err(error) => {
                        typed(&error);
                        refused += 1;
                    }
                }
            }
            Err(error) => {
                assert!(!matches!(error, SourceError::Io(_)), "{error:?}");
                refused += 1;
            }
        }
        rewrite(&file, &bad, &sound);
    }
    // Neither everything nor nothing: the changes reach what matters, and not only the first check.
    assert!(refused > 0, "{form:?}: {read} read, {refused} refused");
    assert!(
        read > 0 || form.format == Format::Vhd,
        "{form:?}: {read} read, {refused} refused"
    );
}

#[test]
fn mutated_vmdk_files_are_refused_or_read() {
    FORMS[..3].iter().copied().for_each(mutate);
}

#[test]
fn mutated_vhd_files_are_refused_or_read() {
    FORMS[3..5].iter().copied().for_each(mutate);
}

#[test]
fn mutated_vhdx_files_are_refused_or_read() {
    FORMS[6..8].iter().copied().for_each(mutate);
}

#[test]
fn mutated_vdi_files_are_refused_or_read() {
    FORMS[8..10].iter().copied().for_each(mutate);
}

#[test]
fn mutated_qed_files_are_refused_or_read() {
    FORMS[10..12].iter().copied().for_each(mutate);
}

#[test]
fn mutated_qcow_files_are_refused_or_read() {
    FORMS[12..14].iter().copied().for_each(mutate);
}
