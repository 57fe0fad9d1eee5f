//! Writing to the disk as fast as it goes, with nothing else in the way.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use imprint_image::SignedManifest;
use nix::fcntl::{FallocateFlags, fallocate};
use serde_json::{Value, json};

use crate::aligned::{Aligned, open_direct};
use crate::extents;

/// What the last owner left: no byte of it may be seen after a write.
pub const STALE: u8 = 0xA5;
const FILL_BYTES: u64 = 4 << 20;
const ZERO_BYTES: usize = 16 << 20;
const MIB: u64 = 1 << 20;

/// Fills the first `bytes` of a disk.
pub fn fill(device: &Path, bytes: u64) -> Result<Value> {
    let blocks: Vec<(u64, usize)> = (0..bytes.div_ceil(FILL_BYTES))
        .map(|block| {
            let start = block * FILL_BYTES;
            (start, (bytes - start).min(FILL_BYTES))
        })
        .map(|(start, len)| (start, usize::try_from(len).expect("at most 4 MiB")))
        .collect();
    let seconds = write_blocks(device, &blocks, &[], 2, |_| STALE)?;
    Ok(json!({ "seconds": seconds, "bytes": bytes }))
}

/// Writes to every place where the artifact has a chunk: the least that anybody has to write. With `zero_holes` also
/// makes the rest of the image zero: the least that leaves nothing of the last owner.
pub fn write_same(manifest: &Path, device: &Path, depth: usize, zero_holes: bool) -> Result<Value> {
    let bytes = std::fs::read(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest = SignedManifest::open_unverified(&bytes).context("cannot open the manifest")?;
    let blocks: Vec<(u64, usize)> = manifest
        .chunks
        .iter()
        .map(|chunk| manifest.chunk_range(chunk.index))
        .map(|range| {
            (
                range.start,
                usize::try_from(range.end - range.start).expect("at most a chunk"),
            )
        })
        .collect();
    let holes: Vec<Range<u64>> = manifest
        .holes
        .iter()
        .filter(|_| zero_holes)
        .map(|hole| manifest.hole_range(hole))
        .collect();
    let seconds = write_blocks(device, &blocks, &holes, depth, |at| {
        u8::try_from(at % 251).expect("below 251")
    })?;
    Ok(json!({ "seconds": seconds, "bytes": manifest.data_bytes() }))
}

/// Writes all blocks with `depth` threads, zeroes all holes with one, and flushes.
fn write_blocks(
    device: &Path,
    blocks: &[(u64, usize)],
    holes: &[Range<u64>],
    depth: usize,
    content: impl Fn(usize) -> u8,
) -> Result<f64> {
    let file = open_direct(device, true)?;
    let largest = blocks.iter().map(|(_, len)| *len).max().unwrap_or_default();
    let buffers: Vec<Aligned> = (0..depth)
        .map(|_| {
            let mut buffer = Aligned::new(largest, 0);
            for (at, byte) in buffer.bytes_mut().iter_mut().enumerate() {
                *byte = content(at);
            }
            buffer
        })
        .collect();
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = buffers
            .iter()
            .map(|buffer| scope.spawn(|| write_next(&file, blocks, &next, buffer)))
            .collect();
        zero(&file, holes)?;
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a writer has panicked"))??;
        }
        Ok(())
    })?;
    file.sync_data().context("cannot flush the disk")?;
    Ok(began.elapsed().as_secs_f64())
}

fn write_next(file: &File, blocks: &[(u64, usize)], next: &AtomicUsize, buffer: &Aligned) -> Result<()> {
    while let Some((start, len)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
        file.write_all_at(&buffer.bytes()[..*len], *start)
            .with_context(|| format!("cannot write {len} bytes at {start}"))?;
    }
    Ok(())
}

/// Zeroes by command, in pieces that leave room for writes between them.
fn zero(file: &File, holes: &[Range<u64>]) -> Result<()> {
    let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for hole in holes {
        for start in hole.clone().step_by(ZERO_BYTES) {
            let len = (hole.end - start).min(ZERO_BYTES as u64);
            fallocate(file, how, start.cast_signed(), len.cast_signed())
                .with_context(|| format!("cannot zero {len} bytes at {start}"))?;
        }
    }
    Ok(())
}

/// A sparse image of `size` bytes with up to `data` bytes of another image's data, spread evenly.
pub fn spread(raw: &Path, out: &Path, size: u64, data: u64) -> Result<Value> {
    let from = File::open(raw).with_context(|| format!("cannot open {}", raw.display()))?;
    let length = from.metadata().context("cannot tell its size")?.len();
    let to = File::create(out).with_context(|| format!("cannot create {}", out.display()))?;
    to.set_len(size).context("cannot size the image")?;
    let places: Vec<u64> = extents::of(&from, length)?
        .into_iter()
        .flat_map(|extent| (extent.start.div_ceil(MIB)..extent.end / MIB).map(|block| block * MIB))
        .take(usize::try_from(data / MIB)?)
        .collect();
    let stride = size / MIB / (places.len() as u64).max(1);
    let mut block = vec![0; 1 << 20];
    for (number, place) in (0_u64..).zip(&places) {
        from.read_exact_at(&mut block, *place)
            .context("cannot read the image")?;
        to.write_all_at(&block, number * stride * MIB)
            .context("cannot write the image")?;
    }
    to.sync_all().context("cannot flush the image")?;
    Ok(json!({ "data_bytes": places.len() as u64 * MIB }))
}
