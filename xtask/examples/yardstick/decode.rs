//! What the processors have to do at least: decompress all frames and hash them, with all input at hand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use imprint_image::{CHUNK_BYTES, Digest, MAX_FRAME_BYTES, Manifest};
use serde_json::{Value, json};

use crate::publish;

/// Time that a thread spent on each.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    decode: Duration,
    hash_frames: Duration,
    hash_plain: Duration,
}

/// Goes through all frames; reading them from the page cache is not counted.
pub fn decode(manifest: &Path, threads: usize) -> Result<Value> {
    let packs = manifest
        .parent()
        .and_then(Path::parent)
        .context("the manifest lies in no store")?
        .join("packs");
    let manifest = publish::open(manifest)?;
    let threads = match threads {
        0 => thread::available_parallelism()?.get(),
        given => given,
    };
    let next = AtomicUsize::new(0);
    let spent: Vec<Spent> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&manifest, &packs, &next)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a decoder has panicked"))?)
            .collect::<Result<_>>()
    })?;
    // Chunks are handed out one by one, so all threads end at about the same time: the mean is the wall time, without
    // the time that reading took.
    let mean = |part: fn(&Spent) -> Duration| {
        spent.iter().map(part).sum::<Duration>().as_secs_f64() / threads as f64
    };
    Ok(json!({
        "threads": threads,
        "decode_seconds": mean(|spent| spent.decode),
        "hash_frames_seconds": mean(|spent| spent.hash_frames),
        "hash_plain_seconds": mean(|spent| spent.hash_plain),
        "bytes": manifest.data_bytes(),
    }))
}

fn work(manifest: &Manifest, packs: &Path, next: &AtomicUsize) -> Result<Spent> {
    let mut spent = Spent::default();
    let mut decoder = zstd::bulk::Decompressor::new().context("cannot make a decoder")?;
    let mut frame = vec![0; MAX_FRAME_BYTES as usize];
    let mut plain = vec![0; CHUNK_BYTES as usize];
    let mut open: Option<(u32, File)> = None;
    while let Some(chunk) = manifest.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
        if open.as_ref().is_none_or(|(number, _)| *number != chunk.pack) {
            let digest = manifest.packs[chunk.pack as usize].digest;
            let path: PathBuf = packs.join(digest.to_string());
            let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            open = Some((chunk.pack, file));
        }
        let (_, file) = open.as_ref().expect("it was opened above");
        let frame = &mut frame[..chunk.frame_bytes as usize];
        file.read_exact_at(frame, chunk.offset)
            .context("cannot read a pack")?;
        let began = Instant::now();
        ensure!(
            Digest::of(frame) == chunk.frame,
            "frame of chunk {} is damaged",
            chunk.index
        );
        let hashed = Instant::now();
        let len = decoder
            .decompress_to_buffer(frame, &mut plain)
            .with_context(|| format!("chunk {} does not decompress", chunk.index))?;
        let decoded = Instant::now();
        ensure!(
            Digest::of(&plain[..len]) == chunk.plain,
            "chunk {} is damaged",
            chunk.index
        );
        spent.hash_frames += hashed - began;
        spent.decode += decoded - hashed;
        spent.hash_plain += decoded.elapsed();
    }
    Ok(spent)
}
