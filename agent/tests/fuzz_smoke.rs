//! A short run of every fuzz target of the inventory: its seeds, the seeds mutated, and noise. `fuzz/` runs them for long.

#[path = "../../fuzz/src/inventory.rs"]
mod inventory;
#[path = "../../fuzz/src/smoke.rs"]
mod smoke;

use std::{
    fs,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn smoke(name: &str, cases: u32) {
    let (_, run) = inventory::TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target of that name");
    smoke::smoke(&folder(), name, run, cases);
}

#[test]
fn smbios() {
    smoke("smbios", 240);
}

#[test]
fn lldp() {
    smoke("lldp", 4000);
}

#[test]
fn bmc() {
    smoke("bmc", 4000);
}

#[test]
fn health() {
    smoke("health", 4000);
}

#[test]
fn contents() {
    smoke("contents", 48);
}

#[test]
fn tree() {
    smoke("tree", 64);
}

#[test]
fn load_option() {
    smoke("load_option", 4000);
}

#[test]
fn every_target_has_a_program_and_a_test() {
    let programs = folder().join("inventory_targets");
    let here = include_str!("fuzz_smoke.rs");
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for (name, _) in inventory::TARGETS {
        assert!(programs.join(format!("{name}.rs")).is_file(), "{name}");
        assert!(here.contains(&format!("smoke(\"{name}\"")), "{name}");
        assert!(
            manifest.contains(&format!("inventory_targets/{name}.rs")),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(programs).unwrap().count(), inventory::TARGETS.len());
}

/// Mutations of what nobody would read prove nothing.
#[test]
fn seeds_of_disks_are_read() {
    let seeds = fs::read_dir(folder().join("seeds/contents")).unwrap();
    for seed in seeds {
        let path = seed.unwrap().path();
        let disk = inventory::sparse::unfold(&fs::read(&path).unwrap()[1..]);
        assert!(disk.len() >= 1 << 20, "{}", path.display());
    }
}
