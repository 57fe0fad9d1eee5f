//! Benchmarks of what the data path is made of: `cargo bench -p imprint-image`, or `… -- frame` for a part of them.
//!
//! They use one thread. How fast an import is, and which chunks and levels are best, tell the examples `import` and
//! `chunk_sizes`.

mod chunk;
mod manifest;
mod qcow2;
mod sample;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// Short, because all the machine's cores are usually busy with something: medians of a few dozen runs are steady.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = image;
    config = quick();
    targets = chunk::hashing, chunk::zeros, chunk::frames, chunk::sealed_frames, manifest::manifests, qcow2::reading
}
criterion_main!(image);
