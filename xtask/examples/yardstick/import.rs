//! An import as the controller makes it, and what of it nobody can do without.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use imprint_image::source::{self, Limits};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{CHUNK_BYTES, Digest, MAX_FRAME_BYTES};
use serde_json::{Value, json};

use crate::extents;

/// Turns an image file of any format into the packs of an artifact.
pub fn import(file: &Path, folder: &Path, level: i32) -> Result<Value> {
    let sink =
        DirSink::new(folder).with_context(|| format!("cannot make a store in {}", folder.display()))?;
    let file = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut opened = source::open(file, None, &Limits::default()).context("cannot read the image")?;
    let options = WriteOptions {
        level,
        ..WriteOptions::default()
    };
    let manifest = ArtifactWriter::new(sink, options)
        .import(opened.source.as_mut())
        .context("cannot make the artifact")?;
    Ok(json!({ "data_bytes": manifest.data_bytes(), "stored_bytes": manifest.stored_bytes() }))
}

/// Hashes and compresses the data of a raw file on all cores, chunk by chunk, to nowhere.
pub fn pass(raw: &Path, level: i32) -> Result<Value> {
    let file = File::open(raw).with_context(|| format!("cannot open {}", raw.display()))?;
    let size = file.metadata().context("cannot tell its size")?.len();
    let chunk_bytes = u64::from(CHUNK_BYTES);
    let mut chunks: Vec<u64> = extents::of(&file, size)?
        .into_iter()
        .flat_map(|extent| extent.start / chunk_bytes..extent.end.div_ceil(chunk_bytes))
        .collect();
    chunks.dedup();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism()?.get();
    let sums: Vec<(u64, u64)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&file, size, &chunks, &next, level)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread has panicked"))?)
            .collect::<Result<_>>()
    })?;
    let (plain, packed) = sums
        .into_iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Ok(json!({ "threads": threads, "data_bytes": plain, "compressed_bytes": packed }))
}

fn work(file: &File, size: u64, chunks: &[u64], next: &AtomicUsize, level: i32) -> Result<(u64, u64)> {
    let mut compressor = zstd::bulk::Compressor::new(level).context("cannot make a compressor")?;
    let mut plain = vec![0; CHUNK_BYTES as usize];
    let mut packed = vec![0; MAX_FRAME_BYTES as usize];
    let mut sum = (0, 0);
    while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let start = chunk * u64::from(CHUNK_BYTES);
        let len = usize::try_from((size - start).min(CHUNK_BYTES.into())).expect("at most a chunk");
        file.read_exact_at(&mut plain[..len], start)
            .context("cannot read the raw file")?;
        // So that nothing of it is left out by the compiler.
        std::hint::black_box(Digest::of(&plain[..len]));
        let bytes = compressor
            .compress_to_buffer(&plain[..len], &mut packed)
            .context("cannot compress")?;
        sum.0 += len as u64;
        sum.1 += bytes as u64;
    }
    Ok(sum)
}
