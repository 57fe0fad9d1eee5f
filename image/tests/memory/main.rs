//! Memory is bounded, whatever comes in. One test, because what it counts is the whole program's.

mod sys;

use std::io::{self, Read};

use imprint_image::write::{ArtifactWriter, PackSink, WriteOptions};
use imprint_image::{Digest, Manifest};

#[global_allocator]
static ALLOCATOR: sys::Counting = sys::Counting::new();

const MIB: usize = 1 << 20;

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A field whose content is bytes.
fn field(number: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Manifests of a few MiB that would be hundreds in memory.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let begin = vec![8, 1];
    let many = |element: &[u8]| element.repeat(4 * MIB / element.len());
    let mut all = Vec::new();
    for (what, element) in [("partitions", [0x22, 0]), ("notes", [0x2A, 0])] {
        let mut bytes = begin.clone();
        field(14, &many(&element), &mut bytes);
        all.push((what, bytes));
    }
    let mut tables = begin.clone();
    for _ in 0..MIB / 256 {
        field(14, &[0x22, 0].repeat(500), &mut tables);
    }
    all.push(("partition tables", tables));
    all.push(("runs", [begin.clone(), [0x42, 0].repeat(5 * MIB)].concat()));
    for number in [7, 11, 12, 13] {
        let mut bytes = begin.clone();
        field(number, &many(&[1]), &mut bytes);
        all.push(("a packed column", bytes));
        let key = u8::try_from(number << 3).expect("a small number");
        all.push(("a column", [begin.clone(), many(&[key, 1])].concat()));
    }
    all
}

struct Nowhere;

impl PackSink for Nowhere {
    fn put_pack(&mut self, _: Digest, _: Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

/// A stream of noise, as a pipe gives it: in pieces of 64 KiB.
struct Noise {
    noise: blake3::OutputReader,
    left: usize,
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let now = out.len().min(self.left).min(64 << 10);
        self.noise.fill(&mut out[..now]);
        self.left -= now;
        Ok(now)
    }
}

fn import(bytes: usize) -> usize {
    let mut source = Noise {
        noise: blake3::Hasher::new().finalize_xof(),
        left: bytes,
    };
    let options = WriteOptions {
        threads: 2,
        level: 1,
        ..WriteOptions::default()
    };
    let (peak, manifest) =
        ALLOCATOR.peak_of(|| ArtifactWriter::new(Nowhere, options).import_stream(&mut source));
    assert_eq!(manifest.expect("an import").data_bytes(), bytes as u64);
    peak
}

#[test]
fn memory_is_bounded() {
    for (what, bytes) in hostile() {
        let (peak, result) = ALLOCATOR.peak_of(|| Manifest::decode(&bytes).map(drop));
        assert!(result.is_err(), "{what}");
        assert!(
            peak < MIB,
            "{what}: {peak} bytes for a manifest of {}",
            bytes.len()
        );
    }
    // Three packs of 32 MiB: one is filled, one waits, one is being stored. Eight chunks and as many frames. How many
    // packs there are at once depends on timing, so a short import may need less than a long one.
    let long = import(480 * MIB);
    assert!(long < 128 * MIB, "{long}");
}
