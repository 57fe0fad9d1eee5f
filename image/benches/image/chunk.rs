//! One chunk: its digests, whether it is zero, its frame made, proven and decoded.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use imprint_image::frame::{Decoder, Encoder, verify_and_decode, verify_frame_and_decode};
use imprint_image::seal::{Algorithm, DataKey, Seal};
use imprint_image::zero::is_zero;
use imprint_image::{Chunk, Digest};

use crate::sample::{CHUNK, chunk};

fn encoded(level: i32, plain: &[u8]) -> (Vec<u8>, Chunk) {
    let mut frame = Vec::new();
    Encoder::new(level)
        .and_then(|mut encoder| encoder.encode(plain, &mut frame))
        .expect("a chunk can be compressed");
    let chunk = Chunk {
        index: 0,
        plain: Digest::of(plain),
        frame: Digest::of(&frame),
        pack: 0,
        offset: 0,
        frame_bytes: u32::try_from(frame.len()).expect("a frame is short"),
    };
    (frame, chunk)
}

/// BLAKE3 of a chunk and of its frame.
pub(crate) fn hashing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let plain = chunk(1);
    let (frame, _) = encoded(3, &plain);
    for (name, bytes) in [("plain", &plain), ("frame", &frame)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Digest::of(black_box(bytes))));
    }
    group.finish();
}

/// The search for the first byte that is not zero, through a chunk that has none.
pub(crate) fn zeros(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("zero");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let bytes = vec![0; CHUNK];
    group.bench_function("all of a chunk", |bencher| {
        bencher.iter(|| is_zero(black_box(&bytes)));
    });
    group.finish();
}

/// Compression and decompression of a chunk. Rates are of plain bytes.
pub(crate) fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let plain = chunk(1);
    let mut out = vec![0; CHUNK];
    for level in [1, 3, 9] {
        let (mut frame, chunk) = encoded(level, &plain);
        let mut decoder = Decoder::new().expect("memory for a decoder");
        group.bench_function(format!("verify both and decode, level {level}"), |bencher| {
            bencher.iter(|| verify_and_decode(black_box(&mut frame), &chunk, CHUNK, &mut out, &mut decoder));
        });
        group.bench_function(format!("verify frame and decode, level {level}"), |bencher| {
            bencher.iter(|| {
                verify_frame_and_decode(black_box(&mut frame), &chunk, CHUNK, &mut out, &mut decoder)
            });
        });
        let mut bulk = zstd::bulk::Decompressor::new().expect("memory for a decoder");
        group.bench_function(format!("zstd alone, level {level}"), |bencher| {
            bencher.iter(|| bulk.decompress_to_buffer(black_box(&frame), &mut out[..]));
        });
    }
    let mut encoder = Encoder::new(3).expect("memory for an encoder");
    let mut frame = Vec::new();
    group.bench_function("encode, level 3", |bencher| {
        bencher.iter(|| encoder.encode(black_box(&plain), &mut frame));
    });
    group.finish();
}

/// The same with an encrypted image: what encryption adds to the way of a chunk in either direction. Each run opens a
/// fresh copy of the frame, which is not counted.
pub(crate) fn sealed_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encrypted frame");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let plain = chunk(1);
    let mut out = vec![0; CHUNK];
    let (frame, unsealed) = encoded(3, &plain);
    let mut decoder = Decoder::new().expect("memory for a decoder");
    group.bench_function("verify frame and decode, not encrypted", |bencher| {
        bencher.iter_batched_ref(
            || frame.clone(),
            |frame| verify_frame_and_decode(frame, &unsealed, CHUNK, &mut out, &mut decoder),
            BatchSize::SmallInput,
        );
    });
    for algorithm in Algorithm::ALL {
        let seal = Seal::new(&DataKey::generate(), algorithm);
        let mut sealed = frame.clone();
        seal.seal_frame(&mut sealed, &unsealed.plain, imprint_image::CHUNK_BYTES);
        let chunk = Chunk {
            frame: Digest::of(&sealed),
            frame_bytes: u32::try_from(sealed.len()).expect("a frame is short"),
            ..unsealed.clone()
        };
        let mut decoder = Decoder::with(Some(seal.clone())).expect("memory for a decoder");
        group.bench_function(format!("verify frame and decode, {algorithm}"), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |sealed| verify_frame_and_decode(sealed, &chunk, CHUNK, &mut out, &mut decoder),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("seal, {algorithm}"), |bencher| {
            bencher.iter_batched_ref(
                || frame.clone(),
                |frame| seal.seal_frame(frame, &unsealed.plain, imprint_image::CHUNK_BYTES),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
