//! A short run of a target in a usual test run: its seeds, the seeds mutated, and noise.
//!
//! Included by the tests of the crates whose promises the targets check; the fuzzers themselves do not need it.

use std::{fs, path::Path};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

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

/// The seeds of a target; `fuzz` is this crate's folder.
pub fn seeds(fuzz: &Path, target: &str) -> Vec<Vec<u8>> {
    let dir = fuzz.join("seeds").join(target);
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

/// Runs a target with its seeds, with so many mutations of them, and with an eighth of that of noise.
pub fn smoke(fuzz: &Path, name: &str, run: fn(&[u8]), cases: u32) {
    let seeds = seeds(fuzz, name);
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
