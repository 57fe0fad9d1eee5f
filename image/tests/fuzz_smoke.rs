//! A short run of every fuzz target: its seeds, the seeds mutated, and noise. `fuzz/` runs them for long.

#[path = "../../fuzz/src/smoke.rs"]
mod smoke;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use imprint_image::source::{self, Limits};
use targets::sparse;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    smoke::seeds(&folder(), target)
}

fn smoke(name: &str, cases: u32) {
    let (_, run) = targets::TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target of that name");
    smoke::smoke(&folder(), name, run, cases);
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
