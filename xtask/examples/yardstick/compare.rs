//! Is the image on the target, and nothing else? Byte for byte, against the raw image itself.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::aligned::{Aligned, open_direct};
use crate::disk::STALE;
use crate::extents;

const BLOCK: u64 = 4 << 20;
const SECTOR: usize = 512;
/// Reading is what takes the time.
const THREADS: usize = 4;

/// What differs.
#[derive(Debug, Default, Clone, Copy)]
struct Difference {
    /// Bytes that differ where the image has data.
    data: u64,
    /// Bytes that differ in the image's holes.
    holes: u64,
    /// Of all of these, bytes of what was on the disk before.
    stale: u64,
    /// The first byte that differs.
    first: Option<u64>,
}

/// Compares all of the image's range. What is a hole in both files reads as zeros in both and is not read; `target` is
/// the file behind a loop device, so that its holes can be told.
pub fn compare(raw: &Path, target: &Path) -> Result<Value> {
    let image = File::open(raw).with_context(|| format!("cannot open {}", raw.display()))?;
    let size = image.metadata().context("cannot tell the image's size")?.len();
    let disk = open_direct(target, false)?;
    let data = extents::of(&image, size)?;
    let written = extents::of(&disk, size)?;
    let blocks: Vec<Range<u64>> = (0..size.div_ceil(BLOCK))
        .map(|block| block * BLOCK..((block + 1) * BLOCK).min(size))
        .filter(|range| extents::overlap(&data, range) + extents::overlap(&written, range) > 0)
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Difference> {
        let mut found = Difference::default();
        let mut expected = Aligned::new(usize::try_from(BLOCK)?, 0);
        let mut got = Aligned::new(usize::try_from(BLOCK)?, 0);
        while let Some(range) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let len = usize::try_from(range.end - range.start)?;
            let expected = &mut expected.bytes_mut()[..len];
            if extents::overlap(&data, range) == 0 {
                expected.fill(0);
            } else {
                image
                    .read_exact_at(expected, range.start)
                    .context("cannot read the image")?;
            }
            // Direct I/O reads whole sectors; the target is longer than the image.
            let whole = len.next_multiple_of(4096);
            disk.read_exact_at(&mut got.bytes_mut()[..whole], range.start)
                .with_context(|| format!("cannot read the target at {}", range.start))?;
            let got = &got.bytes()[..len];
            if expected != got {
                found = found.merge(differences(expected, got, range.start, &data));
            }
        }
        Ok(found)
    };
    let found = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_fold(Difference::default(), |found, thread| -> Result<Difference> {
                let more = thread.join().map_err(|_| anyhow!("a reader has panicked"))??;
                Ok(found.merge(more))
            })
    })?;
    Ok(json!({
        "bytes": size,
        "wrong_in_data": found.data,
        "wrong_in_holes": found.holes,
        "stale": found.stale,
        "first": found.first,
    }))
}

impl Difference {
    fn merge(self, other: Self) -> Self {
        Self {
            data: self.data + other.data,
            holes: self.holes + other.holes,
            stale: self.stale + other.stale,
            first: [self.first, other.first].into_iter().flatten().min(),
        }
    }
}

fn differences(expected: &[u8], got: &[u8], start: u64, data: &[Range<u64>]) -> Difference {
    let mut found = Difference::default();
    let sectors = expected.chunks(SECTOR).zip(got.chunks(SECTOR));
    for ((expected, got), at) in sectors.zip((start..).step_by(SECTOR)) {
        if expected == got {
            continue;
        }
        let wrong = expected.iter().zip(got).filter(|(a, b)| a != b).count() as u64;
        if extents::overlap(data, &(at..at + expected.len() as u64)) > 0 {
            found.data += wrong;
        } else {
            found.holes += wrong;
        }
        if got.iter().all(|byte| *byte == STALE) {
            found.stale += wrong;
        }
        found.first.get_or_insert(at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_place_and_origin() {
        let expected = vec![0u8; 4096];
        let mut got = expected.clone();
        got[0..512].fill(STALE);
        got[1024] = 7;
        got[2048..2050].fill(STALE);
        let found = differences(&expected, &got, 8192, &[8192..9728]);
        assert_eq!((found.data, found.holes, found.stale), (513, 2, 512));
        assert_eq!(found.first, Some(8192));
    }
}
