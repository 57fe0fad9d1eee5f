//! Journals written by debugfs; what e2fsck makes of them is what has to be read.

use std::fs;

use super::*;
use crate::facts::fault::Work;
use crate::facts::tests::fixture::{MIB, ext, folder, run};
use crate::facts::tree::Tree;
use crate::facts::volume::{Extent, Volume};

/// A file system that had its files written by the usual tools, ...
const KINDS: [&[&str]; 4] = [
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "4096"],
    &["-t", "ext4", "-b", "1024", "-O", "^64bit"],
    &["-t", "ext3", "-b", "1024"],
];
/// ... and how debugfs is to write the journal.
const CHECKSUMS: [&str; 4] = ["", "-c -v 1", "-c -v 2", "-c -v 3"];

fn with<T>(image: &Vec<u8>, look: impl FnOnce(Result<Ext<'_>, Fault>) -> T) -> T {
    let work = Work::new(1 << 30);
    look(Ext::open(Extent {
        disk: image,
        first_byte: 0,
        size: image.len() as u64,
        work: &work,
    }))
}

fn reason(image: &Vec<u8>) -> String {
    with(image, |ext| ext.unwrap_err().reason())
}

/// What a tool makes of an image.
fn through(program: &str, arguments: &[&str], commands: &str, image: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    let arguments = [arguments, &[file.path().to_str().unwrap()]].concat();
    run(program, &arguments, commands);
    fs::read(file.path()).unwrap()
}

fn debugfs(commands: &str, image: &[u8]) -> Vec<u8> {
    through("debugfs", &["-w"], commands, image)
}

/// What e2fsck replays.
fn replayed(image: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    // It ends with 1 when it has changed something.
    std::process::Command::new("e2fsck")
        .args(["-y", "-E", "journal_only"])
        .arg(file.path())
        .output()
        .unwrap();
    fs::read(file.path()).unwrap()
}

fn block_bytes(image: &[u8]) -> usize {
    1024 << image[1024 + 0x18]
}

/// A command that writes what differs between two states into the journal, in one transaction. `files` keeps its data.
fn transaction(before: &[u8], after: &[u8], files: &tempfile::TempDir, options: &str) -> String {
    let bytes = block_bytes(before);
    let blocks = before.chunks(bytes).zip(after.chunks(bytes)).enumerate();
    let count = fs::read_dir(files.path()).unwrap().count();
    let (numbers, content): (Vec<String>, Vec<&[u8]>) = blocks
        .filter(|(_, (before, after))| before != after)
        .map(|(number, (_, after))| (number.to_string(), after))
        .unzip();
    assert!(!numbers.is_empty());
    let name = files.path().join(count.to_string());
    fs::write(&name, content.concat()).unwrap();
    format!("jw {options} -b {} {}\n", numbers.join(","), name.display())
}

/// A system in three states: as it was made, after a first change, after a second one.
fn states(arguments: &[&str]) -> [Vec<u8>; 3] {
    let source = folder(&[
        ("etc/os-release", b"ID=old\n"),
        ("etc/gone", b"to be removed"),
        ("many/x", b""),
    ]);
    let first = ext(arguments, source.path(), 16 * MIB);
    let new = folder(&[("os-release", b"ID=new\n"), ("big", &[9; 300_000])]);
    let (release, big) = (new.path().join("os-release"), new.path().join("big"));
    let second = debugfs(
        &format!(
            "rm /etc/os-release\nwrite {} /etc/os-release\nmkdir /new\nset_super_value volume_name replayed\n",
            release.display()
        ),
        &first,
    );
    let third = debugfs(
        &format!(
            "rm /etc/gone\nwrite {} /new/big\nset_super_value volume_name twice\n",
            big.display()
        ),
        &second,
    );
    [first, second, third]
}

fn content(image: &Vec<u8>) -> (String, bool, String, Vec<u8>, bool) {
    with(image, |ext| {
        let ext = ext.unwrap();
        let tree = Tree::new(&ext);
        (
            tree.text("/etc/os-release", 100).unwrap(),
            tree.exists("/etc/gone").unwrap(),
            ext.label.clone(),
            tree.read("/new/big", 1 << 20).unwrap_or_default(),
            ext.unclean,
        )
    })
}

#[test]
fn a_journal_is_read_as_e2fsck_replays_it() {
    for arguments in KINDS {
        let [first, second, third] = states(arguments);
        for checksums in CHECKSUMS {
            let files = tempfile::TempDir::new().unwrap();
            let commands = format!(
                "jo {checksums}\n{}{}jc\n",
                transaction(&first, &second, &files, ""),
                transaction(&second, &third, &files, "")
            );
            let unclean = debugfs(&commands, &first);
            let what = format!("{arguments:?} {checksums}");
            assert_eq!(
                content(&unclean),
                (
                    "ID=new\n".to_owned(),
                    false,
                    "twice".to_owned(),
                    vec![9; 300_000],
                    true
                ),
                "{what}"
            );
            let reference = replayed(&unclean);
            let bytes = block_bytes(&first);
            with(&unclean, |ext| {
                let ext = ext.unwrap();
                let mut differ = Vec::new();
                for (number, expected) in reference.chunks(bytes).enumerate().skip(1) {
                    if ext.read_block(number as u64).unwrap() != expected {
                        differ.push(number);
                    }
                }
                // The superblock, which e2fsck marks as clean again, and the one of the journal.
                assert!(differ.len() <= 2, "{what}: {differ:?}");
                let used = ext.used_bytes().unwrap();
                with(&third, |third| {
                    assert_eq!(third.unwrap().used_bytes().unwrap(), used, "{what}");
                });
            });
        }
    }
}

#[test]
fn what_was_not_committed_does_not_count() {
    for checksums in CHECKSUMS {
        let [first, second, third] = states(KINDS[0]);
        let files = tempfile::TempDir::new().unwrap();
        let commands = format!(
            "jo {checksums}\n{}{}jc\n",
            transaction(&first, &second, &files, ""),
            transaction(&second, &third, &files, "-c")
        );
        let unclean = debugfs(&commands, &first);
        let (release, gone, label, ..) = content(&unclean);
        assert_eq!(
            (release.as_str(), gone, label.as_str()),
            ("ID=new\n", true, "replayed")
        );
    }
}

#[test]
fn revoked_blocks_stay_as_they_are_until_they_are_written_again() {
    for checksums in ["", "-c -v 3"] {
        let [first, second, third] = states(KINDS[0]);
        let files = tempfile::TempDir::new().unwrap();
        // Everything of the first change is revoked by a transaction after it.
        let change = transaction(&first, &second, &files, "");
        let blocks = change.split_whitespace().nth(2).unwrap();
        let revoke = format!("jw -r {blocks}\n");
        let unclean = debugfs(&format!("jo {checksums}\n{change}{revoke}jc\n"), &first);
        assert_eq!(content(&unclean).0, "ID=old\n");
        let again = transaction(&first, &third, &files, "");
        let unclean = debugfs(&format!("jo {checksums}\n{change}{revoke}{again}jc\n"), &first);
        assert_eq!(content(&unclean).0, "ID=new\n");
        assert_eq!(content(&unclean).2, "twice");
    }
}

#[test]
fn a_copy_that_looks_like_the_journal_has_its_beginning_back() {
    let [first, ..] = states(KINDS[0]);
    let files = tempfile::TempDir::new().unwrap();
    let mut escaped = ESCAPED.to_vec();
    escaped.resize(1024, 7);
    let block = 12_000;
    let mut after = first.clone();
    after[block * 1024..][..1024].copy_from_slice(&escaped);
    let change = transaction(&first, &after, &files, "");
    let unclean = debugfs(&format!("jo -c -v 3\n{change}jc\n"), &first);
    with(&unclean, |ext| {
        let ext = ext.unwrap();
        assert!(ext.overlay.get(block as u64).unwrap().escaped);
        assert_eq!(ext.read_block(block as u64).unwrap(), escaped);
        let mut part = [0; 6];
        ext.read_disk(block as u64 * 1024 - 2, &mut part).unwrap();
        assert_eq!(part[2..], ESCAPED);
        ext.read_disk(block as u64 * 1024 + 2, &mut part).unwrap();
        assert_eq!(part, [ESCAPED[2], ESCAPED[3], 7, 7, 7, 7]);
    });
}

#[test]
fn an_empty_journal_has_nothing_to_replay() {
    let [mut first, ..] = states(&["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"]);
    first[1024 + 0x60] |= 4;
    let (release, gone, _, _, unclean) = content(&first);
    assert_eq!((release.as_str(), gone, unclean), ("ID=old\n", true, true));
}

/// An unclean file system, and where its journal begins.
fn unclean(arguments: &[&str], checksums: &str) -> (Vec<u8>, usize) {
    let [first, second, _] = states(arguments);
    let files = tempfile::TempDir::new().unwrap();
    let change = transaction(&first, &second, &files, "");
    let unclean = debugfs(&format!("jo {checksums}\n{change}jc\n"), &first);
    let begin = with(&unclean, |ext| {
        let ext = ext.unwrap();
        let inode = ext.inode(8).unwrap();
        ext.locate(&inode, 0).unwrap().0.unwrap()
    });
    let begin = usize::try_from(begin).unwrap() * 1024;
    (unclean, begin)
}

#[test]
fn journals_that_cannot_be_trusted_are_refused_with_the_reason() {
    let made: HashMap<&str, (Vec<u8>, usize)> = ["", "-c -v 2", "-c -v 3"]
        .into_iter()
        .map(|checksums| (checksums, unclean(KINDS[0], checksums)))
        .collect();
    for (checksums, at, value, expected) in [
        // The superblock of the journal.
        ("", 0, 0, "no superblock"),
        ("", 7, 9, "no superblock"),
        ("", 0x0E, 9, "contradicts itself"),
        ("", 0x11, 9, "longer than its file"),
        ("", 0x17, 0, "contradicts itself"),
        ("", 0x1E, 9, "contradicts itself"),
        ("", 0x2A, 9, "unknown features"),
        ("-c -v 3", 0x28 + 3, 0x18, "contradicts itself"),
        ("-c -v 3", 0xFF, 1, "wrong checksum"),
        // The list of blocks, a copy, the commit.
        (
            "-c -v 3",
            1024 + 12 + 16 + 5,
            1,
            "a list of blocks has a wrong checksum",
        ),
        (
            "-c -v 2",
            2048 + 700,
            1,
            "the copy of a block has a wrong checksum",
        ),
        (
            "-c -v 3",
            2048 + 700,
            1,
            "the copy of a block has a wrong checksum",
        ),
        ("", 1024 + 12, 0x7F, "a block behind the end of the partition"),
        ("", 1024 + 12 + 6, 0x80, "flags that are not known"),
    ] {
        let (mut image, begin) = made[checksums].clone();
        assert_ne!(image[begin + at], value, "{expected}");
        image[begin + at] = value;
        let why = reason(&image);
        assert!(
            why.contains(expected) && why.contains("not unmounted cleanly"),
            "{at:#x}: expected {expected}, got {why}"
        );
    }
}

#[test]
fn one_checksum_for_a_transaction_is_kept_too() {
    // Without checksums of its own a file system gets the first kind in its journal.
    let (mut image, begin) = unclean(KINDS[3], "-c");
    assert_eq!(image[begin + 0x27] & 1, 1);
    assert_eq!(content(&image).0, "ID=new\n");
    image[begin + 2048 + 700] ^= 1;
    let why = reason(&image);
    assert!(why.contains("it has a wrong checksum"), "{why}");
}

#[test]
fn fast_commits_behind_the_last_transaction_are_refused() {
    let (mut image, begin) = unclean(&["-t", "ext4", "-b", "1024", "-J", "size=2"], "");
    // Of 2048 blocks the last 256 are for them, without the first of these.
    image[begin + 0x2B] |= 0x20;
    with(&image, |ext| assert!(ext.is_ok()));
    let at = begin + (2048 - 256 + 1) * 1024;
    image[at..at + 12].copy_from_slice(&[9, 0, 8, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    let why = reason(&image);
    assert!(why.contains("fast commits"), "{why}");
    // Those of an older transaction are left over.
    image[at + 8] = 1;
    with(&image, |ext| assert!(ext.is_ok()));
}

#[test]
fn damaged_journals_are_read_to_the_end() {
    let mut numbers = 0x9E37_79B9_u32;
    let mut next = |below: usize| {
        numbers = numbers.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (numbers >> 8) as usize % below
    };
    let mut refused = 0;
    for checksums in ["", "-c -v 3"] {
        let (sound, begin) = unclean(KINDS[0], checksums);
        for _ in 0..300 {
            let mut image = sound.clone();
            for _ in 0..1 + next(4) {
                // Most of it in the first two blocks, where the numbers are.
                let at = if next(4) > 0 { next(1300) } else { next(30 << 10) };
                image[begin + at] = [0, 1, 0x7F, 0xFF][next(4)];
            }
            refused += usize::from(with(&image, |ext| ext.is_err()));
        }
    }
    assert!(refused > 100, "{refused}");
}
