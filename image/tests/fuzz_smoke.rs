//! A short run of every fuzz target: its seeds, the seeds mutated, and noise. `fuzz/` runs them for long.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::io::Read;
use std::path::Path;

use imprint_image::source::{self, Limits};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use targets::sparse;

/// Numbers that are likely to be at the edge of some check.
const EDGES: [u64; 12] = [
    0,
    1,
    511,
    512,
    513,
    0xFFFF,
    0x10_0000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 32,
    1 << 62,
    u64::MAX,
];

#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    /// A number of one to eight bytes, in either byte order.
    Number(Index, usize, usize, bool),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Copy(Index, Index, usize),
}

impl Mutation {
    fn apply(&self, data: &mut Vec<u8>) {
        if data.is_empty() {
            return;
        }
        let len = data.len();
        match self {
            Self::Flip(at, bit) => data[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) => data[at.index(len)] = *byte,
            Self::Number(at, edge, bytes, big) => {
                let number = EDGES[*edge];
                let number = if *big {
                    number.to_be_bytes()[8 - bytes..].to_vec()
                } else {
                    number.to_le_bytes()[..*bytes].to_vec()
                };
                let at = at.index(len);
                let now = number.len().min(len - at);
                data[at..at + now].copy_from_slice(&number[..now]);
            }
            Self::Cut(at) => data.truncate(at.index(len)),
            Self::Remove(at, bytes) => {
                let at = at.index(len);
                data.drain(at..len.min(at + bytes));
            }
            Self::Insert(at, bytes) => {
                let at = at.index(len);
                data.splice(at..at, bytes.iter().copied());
            }
            Self::Copy(from, to, bytes) => {
                let (from, to) = (from.index(len), to.index(len));
                let now = (*bytes).min(len - from).min(len - to);
                data.copy_within(from..from + now, to);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (at(), 0..EDGES.len(), 1usize..=8, any::<bool>())
            .prop_map(|(at, edge, bytes, big)| Mutation::Number(at, edge, bytes, big)),
        1 => at().prop_map(Mutation::Cut),
        1 => (at(), 1usize..64).prop_map(|(at, bytes)| Mutation::Remove(at, bytes)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (at(), at(), 1usize..128).prop_map(|(from, to, bytes)| Mutation::Copy(from, to, bytes)),
    ]
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", dir.display());
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable seed"))
        .collect()
}

fn smoke(name: &str, cases: u32) {
    let (_, run) = targets::TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target of that name");
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| run(seed));
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mutated = (any::<Index>(), prop::collection::vec(mutation(), 1..8));
    TestRunner::new(config.clone())
        .run(&mutated, |(seed, mutations)| {
            let mut data = seeds[seed.index(seeds.len())].clone();
            mutations.iter().for_each(|mutation| mutation.apply(&mut data));
            run(&data);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{name}: {failure}"));
    TestRunner::new(Config {
        cases: cases / 8,
        ..config
    })
    .run(&prop::collection::vec(any::<u8>(), 0..600), |data| {
        run(&data);
        Ok(())
    })
    .unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

#[test]
fn manifest() {
    smoke("manifest", 8000);
}

#[test]
fn signed() {
    smoke("signed", 1500);
}

#[test]
fn pack_index() {
    smoke("pack_index", 6000);
}

#[test]
fn frame() {
    smoke("frame", 2000);
}

#[test]
fn sealed() {
    smoke("sealed", 3000);
}

#[test]
fn qcow2() {
    smoke("qcow2", 4000);
}

#[test]
fn vmdk() {
    smoke("vmdk", 600);
}

#[test]
fn vhd() {
    smoke("vhd", 400);
}

#[test]
fn vhdx() {
    smoke("vhdx", 200);
}

#[test]
fn vdi() {
    smoke("vdi", 600);
}

#[test]
fn qed() {
    smoke("qed", 600);
}

#[test]
fn qcow() {
    smoke("qcow", 600);
}

#[test]
fn detect() {
    smoke("detect", 3000);
}

#[test]
fn compressed() {
    smoke("compressed", 2000);
}

#[test]
fn partitions() {
    smoke("partitions", 800);
}

#[test]
fn facts() {
    smoke("facts", 1500);
}

/// Mutations of disks that tell nothing prove nothing.
#[test]
fn seeds_of_disks_are_read() {
    for (name, label) in [("dos", "root"), ("gpt", "root"), ("unclean", "live")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/seeds/facts")
            .join(name);
        let disk = sparse::unfold(&fs::read(path).expect("a readable seed"));
        let facts = imprint_image::facts::read(&disk, None).expect("memory can be read");
        let root = facts
            .volumes
            .iter()
            .find(|volume| volume.mounted_at.as_deref() == Some("/"));
        let root = root.expect("a root file system");
        assert_eq!(
            (root.label.as_str(), root.unclean),
            (label, name == "unclean"),
            "{name}"
        );
        let kernels = facts.kernels.known().expect("kernels");
        assert!(kernels[0].initramfs.known().is_some(), "{kernels:?}");
        assert_eq!(facts.architecture.known().map(String::as_str), Some("x86_64"));
    }
}

/// Mutations of a file that nobody would read prove nothing.
#[test]
fn seeds_of_containers_are_good_files() {
    for name in ["vmdk", "vhd", "vhdx", "vdi", "qed", "qcow"] {
        for seed in seeds(name) {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            fs::write(file.path(), sparse::unfold(&seed)).expect("room for it");
            let format = name.parse().expect("a format");
            let opened = source::open(
                file.reopen().expect("it is there"),
                Some(format),
                &Limits::default(),
            );
            let mut disk = Vec::new();
            opened
                .expect("a good file")
                .source
                .read_to_end(&mut disk)
                .expect("a whole file");
            assert_eq!(
                (disk.len(), disk[0], disk[70_019]),
                ((2 << 20) + 1024, 0xD7, 0xD7),
                "{name}"
            );
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_test() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let here = include_str!("fuzz_smoke.rs");
    for (name, _) in targets::TARGETS {
        assert!(programs.join(format!("{name}.rs")).is_file(), "{name}");
        assert!(here.contains(&format!("smoke(\"{name}\"")), "{name}");
    }
    assert_eq!(
        fs::read_dir(programs).expect("the programs").count(),
        targets::TARGETS.len()
    );
    // The checksum that the targets repair is the usual one.
    assert_eq!(targets::crc32(b"123456789"), 0xCBF4_3926);
    let file = [&[0; 900][..], &[1; 70_000], &[0; 7], &[2, 0, 3], &[0; 90]].concat();
    assert_eq!(sparse::unfold(&sparse::fold(&file)), file);
}
