//! A short run of every fuzz target of network data: its seeds, the seeds mutated, and noise. `fuzz/` runs them for long.

#[path = "../../fuzz/src/network.rs"]
mod network;
#[path = "../../fuzz/src/smoke.rs"]
mod smoke;

use std::path::Path;

fn smoke(name: &str, cases: u32) {
    let (_, run) = network::TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target of that name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    smoke::smoke(&folder, name, run, cases);
}

#[test]
fn network_data() {
    smoke("network_data", 2000);
}

#[test]
fn network_kept() {
    smoke("network_kept", 2000);
}
