//! Reading a qcow2 file as an import does: the clusters as they are, and compressed.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use criterion::{Criterion, Throughput};
use imprint_image::source::{ImageSource, Limits, Qcow2Reader};

use crate::sample::{CHUNK, chunk};

const CHUNKS: u64 = 32;

/// All data of the disk; gives how many bytes that were.
fn read(path: &Path, buffer: &mut [u8]) -> usize {
    let file = File::open(path).expect("the file is there");
    let mut disk = Qcow2Reader::new(file, &Limits::default()).expect("a sound file");
    let mut total = 0;
    loop {
        disk.skip_zeros().expect("a sound file");
        let got = disk.read(buffer).expect("a sound file");
        if got == 0 {
            return total;
        }
        total += got;
    }
}

/// Rates are of the disk's data.
pub(crate) fn reading(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let raw = dir.path().join("raw");
    let disk: Vec<u8> = (0..CHUNKS).flat_map(chunk).collect();
    std::fs::write(&raw, disk).expect("room for a file");
    let mut group = criterion.benchmark_group("qcow2");
    group.throughput(Throughput::Bytes(CHUNKS * CHUNK as u64));
    let mut buffer = vec![0; CHUNK];
    for (name, options) in [
        ("plain clusters", &[][..]),
        ("zlib clusters", &["-c"]),
        ("zstd clusters", &["-c", "-o", "compression_type=zstd"]),
    ] {
        let path = dir.path().join(name);
        let made = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args(options)
            .args([&raw, &path])
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("qcow2/{name} left out: qemu-img is needed to make the file");
            continue;
        }
        group.bench_function(name, |bencher| bencher.iter(|| read(&path, &mut buffer)));
    }
    group.finish();
}
