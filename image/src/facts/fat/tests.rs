use super::*;
use crate::facts::fault::Work;
use crate::facts::tests::fixture::{MIB, fat};
use crate::facts::tree::Tree;

fn with<T>(image: &Vec<u8>, look: impl FnOnce(Result<Fat<'_>, Fault>) -> T) -> T {
    let work = Work::new(1 << 30);
    look(Fat::open(Extent {
        disk: image,
        first_byte: 0,
        size: image.len() as u64,
        work: &work,
    }))
}

#[test]
fn files_with_short_and_long_names_at_every_width() {
    let big: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let many: Vec<String> = (0..200)
        .map(|number| format!("many/a long name, number {number}.text"))
        .collect();
    let mut files: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    files.push(("EFI/BOOT/BOOTX64.EFI", b"loader"));
    files.push((
        "EFI/Ein Name über vierzig Zeichen, der kein Ende nehmen will.efi",
        b"long",
    ));
    files.push(("big.bin", &big));
    files.push(("empty", b""));
    for (arguments, bytes, name) in [
        (&["-F", "12", "-n", "ESP"][..], 6 * MIB, "fat12"),
        (&["-F", "16", "-n", "ESP"], 20 * MIB, "fat16"),
        (&["-F", "32", "-n", "ESP", "-i", "1234abcd"], 40 * MIB, "fat32"),
        (
            &["-F", "32", "-n", "ESP", "-S", "4096", "-s", "1"],
            300 * MIB,
            "fat32",
        ),
    ] {
        let image = fat(arguments, &files, bytes);
        with(&image, |fat| {
            let fat = fat.unwrap();
            assert_eq!((fat.name(), fat.label.as_str()), (name, "ESP"), "{arguments:?}");
            if arguments.contains(&"-i") {
                assert_eq!(fat.serial, "1234-ABCD");
            }
            let tree = Tree::new(&fat);
            assert_eq!(tree.read("efi/boot/bootx64.efi", 100).unwrap(), b"loader");
            assert_eq!(tree.read("big.bin", 1 << 30).unwrap(), big, "{arguments:?}");
            assert_eq!(tree.read("EMPTY", 1).unwrap(), b"");
            assert_eq!(tree.list("many").unwrap().len(), 200);
            assert_eq!(tree.read("many/A Long Name, Number 77.TEXT", 9).unwrap(), b"x");
            let names: Vec<_> = tree
                .list("EFI")
                .unwrap()
                .into_iter()
                .map(|entry| entry.name)
                .collect();
            assert!(names.contains(&"BOOT".to_owned()), "{names:?}");
            assert!(tree.find("EFI/nothing").unwrap_err().is_not_found());
            let used = fat.used_bytes().unwrap();
            assert!(used > 1_200_000 && used < 3_000_000, "{used} {arguments:?}");
        });
    }
}

#[test]
fn chains_that_go_in_circles_or_nowhere_are_damage() {
    let sound = fat(&["-F", "16"], &[("file", &[1; 100_000])], 20 * MIB);
    let (table, cluster) = with(&sound, |fat| {
        let fat = fat.unwrap();
        let node = fat.lookup(&fat.root().unwrap(), "file").unwrap().unwrap();
        let Place::Cluster(first) = node.place else {
            panic!()
        };
        (fat.table as usize, first as usize)
    });
    for next in [cluster as u16, 1, 0, 0xFFF0] {
        let mut image = sound.clone();
        let at = table + 2 * cluster;
        image[at..at + 2].copy_from_slice(&next.to_le_bytes());
        with(&image, |fat| {
            let fat = fat.unwrap();
            let read = Tree::new(&fat).read("file", 1 << 20);
            // A circle gives the same cluster again until the file's length is reached; that is bounded too.
            assert_eq!(read.is_ok(), usize::from(next) == cluster, "{next}");
        });
    }
}

#[test]
fn files_that_begin_outside_of_the_clusters_are_damage() {
    let image = fat(&["-F", "16"], &[("file", &[1; 10_000])], 20 * MIB);
    for first in [0, 1, 0xFFF0, u32::MAX] {
        with(&image, |fat| {
            let node = Node {
                kind: Kind::File,
                size: 10_000,
                place: Place::Cluster(first),
            };
            let read = fat.unwrap().read(&node, 0, &mut [0; 512]);
            assert!(read.unwrap_err().to_string().contains("no cluster"), "{first}");
        });
    }
}

#[test]
fn boot_sectors_that_contradict_themselves_are_refused() {
    let sound = fat(&["-F", "16"], &[("file", b"x")], 20 * MIB);
    type Change = fn(&mut [u8]);
    let changes: [Change; 6] = [
        |boot| boot[11..13].fill(0),
        |boot| boot[13] = 3,
        |boot| boot[19..21].fill(0xFF),
        |boot| boot[14..16].fill(0xFF),
        |boot| boot[22..24].copy_from_slice(&1_u16.to_le_bytes()),
        |boot| boot[32..36].fill(0xFF),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut image = sound.clone();
        change(&mut image);
        let refused = with(&image, |fat| fat.is_err());
        // The last one changes a field that counts only when another is zero.
        let counts = number != 5 || le16(&sound, 19) == 0;
        let counts = counts && (number != 2 || le16(&sound, 19) != 0 || 65535 * 512 > sound.len());
        assert_eq!(refused, counts, "change {number}");
    }
}

#[test]
fn a_system_partition_whose_folders_hold_themselves_is_given_up() {
    let folders: Vec<String> = (0..40).map(|number| format!("EFI/{number}/x.efi")).collect();
    let files: Vec<(&str, &[u8])> = folders.iter().map(|path| (path.as_str(), &b"MZ"[..])).collect();
    let mut image = fat(&["-F", "16"], &files, 20 * MIB);
    // Every folder in EFI becomes EFI itself.
    let (at, cluster) = with(&image, |fat| {
        let fat = fat.unwrap();
        let node = fat.lookup(&fat.root().unwrap(), "EFI").unwrap().unwrap();
        let Place::Cluster(first) = node.place else {
            panic!()
        };
        (fat.offset(first) as usize, first as u16)
    });
    for entry in image[at + 64..at + 42 * 32].chunks_exact_mut(32) {
        entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    }
    with(&image, |fat| {
        let fat = fat.unwrap();
        let met = crate::facts::firmware::efi_partition(&Tree::new(&fat), None).unwrap_err();
        assert!(matches!(met, Fault::Limit(_)), "{met}");
    });
}
