use std::os::unix::fs::FileExt;

use super::*;
use crate::facts::fault::Work;
use crate::facts::tests::fixture::{MIB, ext, folder, run};
use crate::facts::tree::Tree;

const KINDS: [&[&str]; 6] = [
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext2", "-b", "4096"],
    &["-t", "ext3"],
    &["-t", "ext4"],
    &["-t", "ext4", "-b", "1024", "-O", "^64bit"],
    &["-t", "ext4", "-I", "128", "-O", "^metadata_csum"],
];

/// Lets `look` see a file system.
fn with<T>(image: &Vec<u8>, look: impl FnOnce(Result<Ext<'_>, Fault>) -> T) -> T {
    let work = Work::new(1 << 30);
    look(Ext::open(Extent {
        disk: image,
        first_byte: 0,
        size: image.len() as u64,
        work: &work,
    }))
}

#[test]
fn files_links_and_folders_of_every_generation() {
    let big: Vec<u8> = (0..900_000_u32).flat_map(u32::to_le_bytes).collect();
    let long = "x/".repeat(60) + "end";
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("a/b/c/file".to_owned(), b"content".to_vec()),
        ("big".to_owned(), big.clone()),
        ("empty".to_owned(), Vec::new()),
        ("short@".to_owned(), b"a/b/../b/c/file".to_vec()),
        ("absolute@".to_owned(), b"/short".to_vec()),
        ("long@".to_owned(), long.clone().into_bytes()),
        (long.clone(), b"far away".to_vec()),
        ("loop@".to_owned(), b"loop".to_vec()),
        ("outside@".to_owned(), b"../../../etc/passwd".to_vec()),
    ];
    for number in 0..600 {
        files.push((format!("many/file-with-a-rather-long-name-{number}"), Vec::new()));
    }
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, content)| (&**path, &**content))
        .collect();
    let source = folder(&files);
    let sparse = std::fs::File::create(source.path().join("sparse")).unwrap();
    sparse.write_all_at(b"here", 3_000_000).unwrap();
    for arguments in KINDS {
        let image = ext(arguments, source.path(), 24 * MIB);
        with(&image, |ext| {
            let ext = ext.unwrap();
            let tree = Tree::new(&ext);
            assert_eq!(
                tree.read("/a/b/c/file", 100).unwrap(),
                b"content",
                "{arguments:?}"
            );
            assert_eq!(tree.read("/big", 1 << 30).unwrap(), big, "{arguments:?}");
            assert_eq!(tree.read("empty", 1).unwrap(), b"");
            assert_eq!(tree.read("/absolute", 100).unwrap(), b"content");
            assert_eq!(tree.read("/long", 100).unwrap(), b"far away");
            assert_eq!(tree.link("/long").unwrap().unwrap(), long);
            let sparse = tree.read("/sparse", 1 << 30).unwrap();
            assert_eq!(sparse.len(), 3_000_004);
            assert!(sparse[..3_000_000].iter().all(|byte| *byte == 0));
            assert_eq!(sparse[3_000_000..], *b"here");
            assert_eq!(tree.list("/many").unwrap().len(), 600);
            assert!(
                tree.exists("/many/file-with-a-rather-long-name-599").unwrap(),
                "{arguments:?}"
            );
            assert!(tree.find("/outside").unwrap_err().is_not_found());
            assert!(tree.find("/a/b/nothing").unwrap_err().is_not_found());
            assert!(tree.find("/big/below").unwrap_err().is_not_found());
            assert!(tree.find("/loop").unwrap_err().to_string().contains("circles"));
            assert!(matches!(tree.read("/big", 10), Err(Fault::Limit(_))));
            assert!(tree.list("/nothing").unwrap().is_empty());
        });
    }
}

#[test]
fn used_bytes_are_those_of_the_superblock() {
    let source = folder(&[("file", &[1; 5 * MIB])]);
    let image = ext(&["-t", "ext4"], source.path(), 16 * MIB);
    let used = with(&image, |ext| ext.unwrap().used_bytes().unwrap());
    assert!(used > 5 << 20 && used < 9 << 20, "{used}");
}

/// Changes the superblock and says why it is refused.
fn refusal(change: impl FnOnce(&mut [u8])) -> String {
    let source = folder(&[("file", b"content")]);
    // Without checksums, so that a change counts for what it is.
    let mut image = ext(&["-t", "ext4", "-O", "^metadata_csum"], source.path(), 4 * MIB);
    change(&mut image[1024..2048]);
    with(&image, |ext| ext.unwrap_err().reason())
}

#[test]
fn superblocks_that_cannot_be_trusted_are_refused_with_the_reason() {
    assert!(refusal(|sb| (sb[0x60], sb[0xE0]) = (sb[0x60] | 0x4, 0)).contains("not unmounted cleanly"));
    assert!(refusal(|sb| sb[0x60] |= 0x10).contains("meta_bg"));
    assert!(refusal(|sb| sb[0x62] |= 0x80).contains("unknown features (0x800000)"));
    assert!(refusal(|sb| sb[7] = 0xFF).contains("larger than its partition"));
    assert!(refusal(|sb| sb[0x18] = 31).contains("contradicts itself"));
    assert!(refusal(|sb| sb[0x28..0x2C].fill(0)).contains("contradicts itself"));
    assert!(refusal(|sb| sb[0x58..0x5A].fill(0xFF)).contains("contradicts itself"));
    assert!(refusal(|sb| sb[0x58..0x5A].fill(0)).contains("contradicts itself"));
}

#[test]
fn an_endless_amount_of_work_ends() {
    let source = folder(&[("file", &[7; MIB])]);
    let image = ext(&["-t", "ext4"], source.path(), 8 * MIB);
    let work = Work::new(4 << 20);
    let part = Extent {
        disk: &image,
        first_byte: 0,
        size: image.len() as u64,
        work: &work,
    };
    let ext = Ext::open(part).unwrap();
    let tree = Tree::new(&ext);
    let met = (0..1_000_000).find_map(|_| tree.exists("/file").err()).unwrap();
    assert!(matches!(met, Fault::Limit(_)), "{met}");
}

#[test]
fn tables_that_point_at_themselves_are_damage() {
    // A file of many pieces, so that its extent tree has a block of its own: then that block names itself.
    let image = tempfile::NamedTempFile::new().unwrap();
    let source = folder(&[("x", b"")]);
    let holes = std::fs::File::create(source.path().join("pieces")).unwrap();
    for piece in 0..50 {
        holes
            .write_all_at(&[piece; 4096], u64::from(piece) * 16384)
            .unwrap();
    }
    let bytes = ext(&["-t", "ext4", "-O", "^metadata_csum"], source.path(), 8 * MIB);
    std::fs::write(image.path(), &bytes).unwrap();
    let path = image.path().to_str().unwrap();
    run("debugfs", &["-R", "stat /pieces", path], "");
    let mut bytes = bytes;
    // Index nodes are found by their magic number at the start of a block.
    let at = (0..bytes.len())
        .step_by(1024)
        .find(|at| bytes[*at..*at + 2] == [0x0A, 0xF3] && bytes[at + 6] == 0)
        .expect("the tree has a block of its own");
    bytes[at + 6] = 1;
    with(&bytes, |ext| {
        let ext = ext.unwrap();
        let met = Tree::new(&ext).read("/pieces", 1 << 30).unwrap_err();
        assert!(met.to_string().contains("an extent tree"), "{met}");
    });
}
