//! Where a sparse file has data.

use std::fs::File;
use std::ops::Range;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// The ranges of `file` before `end` that are no holes, ascending.
pub fn of(file: &File, end: u64) -> Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < end {
        let start = match seek(file, position, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error).context("the file system does not tell holes"),
        };
        if start >= end {
            break;
        }
        let stop = seek(file, start, Whence::SeekHole).context("the file system does not tell holes")?;
        found.push(start..stop.min(end));
        position = stop;
    }
    Ok(found)
}

fn seek(file: &File, from: u64, whence: Whence) -> Result<u64, Errno> {
    let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
    let found = lseek(file, from, whence)?;
    u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
}

/// Bytes of `range` that lie in `extents`.
pub fn overlap(extents: &[Range<u64>], range: &Range<u64>) -> u64 {
    let first = extents.partition_point(|extent| extent.end <= range.start);
    extents[first..]
        .iter()
        .take_while(|extent| extent.start < range.end)
        .map(|extent| extent.end.min(range.end) - extent.start.max(range.start))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn overlap_counts_bytes_of_all_extents() {
        let extents = [10..20, 30..40, 50..60];
        for (range, bytes) in [
            (0..10, 0),
            (0..11, 1),
            (15..35, 10),
            (20..30, 0),
            (0..100, 30),
            (60..70, 0),
        ] {
            assert_eq!(overlap(&extents, &range), bytes, "{range:?}");
        }
    }
}
