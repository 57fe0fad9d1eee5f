//! A manifest of a disk with 10 GiB of data: opened before the first byte is fetched.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use imprint_image::{Chunk, Digest, Manifest, PackRef, PartitionSummary, SignedManifest, SigningKey};

const CHUNKS: u64 = 10 << 10;
const FRAME_BYTES: u32 = 300_000;
const FRAMES_IN_PACK: u64 = 100;

fn manifest() -> Manifest {
    let digest = |kind: u64, number: u64| Digest::of(&[kind.to_le_bytes(), number.to_le_bytes()].concat());
    let packs = (0..CHUNKS.div_ceil(FRAMES_IN_PACK))
        .map(|number| PackRef {
            digest: digest(1, number),
            size_bytes: 32 << 20,
        })
        .collect();
    let chunks = (0..CHUNKS)
        .map(|index| Chunk {
            index,
            plain: digest(2, index),
            frame: digest(3, index),
            pack: u32::try_from(index / FRAMES_IN_PACK).expect("a small number"),
            offset: index % FRAMES_IN_PACK * u64::from(FRAME_BYTES),
            frame_bytes: FRAME_BYTES,
        })
        .collect();
    Manifest::assemble(
        CHUNKS << 20,
        512,
        packs,
        chunks,
        Vec::new(),
        PartitionSummary::default(),
    )
    .expect("a valid manifest")
}

/// Parsing, signing and opening.
pub(crate) fn manifests(criterion: &mut Criterion) {
    let key = SigningKey::generate().expect("a key");
    let keys = [key.public_key()];
    let manifest = manifest();
    let (plain, signed) = (manifest.encode(), SignedManifest::sign(&manifest, &key).encode());
    let mut group = criterion.benchmark_group("manifest of 10 GiB");
    group.throughput(Throughput::Bytes(signed.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Manifest::decode(black_box(&plain)).map(|manifest| manifest.chunks.len()));
    });
    group.bench_function("verify and decode", |bencher| {
        bencher
            .iter(|| SignedManifest::open(black_box(&signed), &keys).map(|manifest| manifest.chunks.len()));
    });
    group.bench_function("encode and sign", |bencher| {
        bencher.iter(|| SignedManifest::sign(black_box(&manifest), &key));
    });
    group.finish();
}
