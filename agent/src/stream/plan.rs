//! From a manifest to what has to be fetched and what has to be zeroed. Pure.

use std::ops::Range;

use imprint_image::Manifest;

/// Neighbouring frames are asked for together, up to this much: few requests, and little to lose with one.
const RANGE_BYTES: u64 = 4 << 20;
/// Holes are zeroed in steps of this size, so that progress shows and a cancel is heard.
const ZERO_STEP: u64 = 256 << 20;

/// One request: a part of a pack that is nothing but the frames of chunks that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FetchRange {
    /// Which pack of the manifest.
    pub(super) pack: u32,
    /// Which of the manifest's `chunks`, by position.
    pub(super) chunks: Range<usize>,
    /// Which store to ask first.
    pub(super) origin: usize,
}

/// The requests for all chunks that aren't done, in the order of the disk.
pub(super) fn fetches(manifest: &Manifest, done: impl Fn(u64) -> bool) -> Vec<FetchRange> {
    let mut ranges: Vec<FetchRange> = Vec::new();
    let mut open: Option<(u32, u64, u64)> = None;
    for (position, chunk) in manifest.chunks.iter().enumerate() {
        if done(chunk.index) {
            open = None;
            continue;
        }
        let end = chunk.offset + u64::from(chunk.frame_bytes);
        let joins = open.is_some_and(|(pack, start, reached)| {
            pack == chunk.pack && reached == chunk.offset && end - start <= RANGE_BYTES
        });
        match (joins, ranges.last_mut(), &mut open) {
            (true, Some(range), Some((_, _, reached))) => {
                range.chunks.end = position + 1;
                *reached = end;
            }
            _ => {
                ranges.push(FetchRange {
                    pack: chunk.pack,
                    chunks: position..position + 1,
                    origin: 0,
                });
                open = Some((chunk.pack, chunk.offset, end));
            }
        }
    }
    ranges
}

/// One run of chunks to be zeroed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ZeroRun {
    /// Which chunks.
    pub(super) chunks: Range<u64>,
    /// Which bytes of the disk.
    pub(super) bytes: Range<u64>,
}

/// What has to be zeroed: all holes that aren't done, neighbours joined, in steps. Don't-care holes as well: what an
/// earlier owner left there is nobody's business.
pub(super) fn zero_runs(manifest: &Manifest, done: impl Fn(u64) -> bool) -> Vec<ZeroRun> {
    let step = (ZERO_STEP / u64::from(manifest.chunk_bytes)).max(1);
    let mut runs: Vec<Range<u64>> = Vec::new();
    for hole in &manifest.holes {
        let (first, end) = (hole.first_chunk, hole.first_chunk + hole.chunk_count);
        match runs.last_mut() {
            Some(last) if last.end == first => last.end = end,
            _ => runs.push(first..end),
        }
    }
    let mut steps = Vec::new();
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            let end = run.end.min(at + step);
            // Steps are noted in the journal as a whole.
            if !done(at) {
                let bytes = manifest.chunk_range(at).start..manifest.chunk_range(end - 1).end;
                steps.push(ZeroRun {
                    chunks: at..end,
                    bytes,
                });
            }
            at = end;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use imprint_image::{CHUNK_BYTES, Chunk, Digest, Hole, HoleKind, PackRef, PartitionSummary};

    use super::*;

    /// A manifest of one pack: a digit is the MiB that a frame takes, `_` a hole, `|` begins the next pack.
    fn manifest(layout: &str) -> Manifest {
        let (mut chunks, mut holes) = (Vec::new(), Vec::new());
        let (mut pack, mut offset, mut index) = (0, 0, 0);
        for sign in layout.chars() {
            match sign {
                '|' => (pack, offset) = (pack + 1, 0),
                '_' => {
                    holes.push(Hole {
                        first_chunk: index,
                        chunk_count: 1,
                        kind: HoleKind::MustBeZero,
                    });
                    index += 1;
                }
                digit => {
                    let frame_bytes = digit.to_digit(10).unwrap() << 20;
                    let digest = Digest::of(&index.to_be_bytes());
                    chunks.push(Chunk {
                        index,
                        plain: digest,
                        frame: digest,
                        pack,
                        offset,
                        frame_bytes,
                    });
                    offset += u64::from(frame_bytes);
                    index += 1;
                }
            }
        }
        let packs = (0..=pack)
            .map(|_| PackRef {
                digest: Digest::of(b""),
                size_bytes: 1 << 30,
            })
            .collect();
        Manifest {
            format_version: 1,
            image_digest: Digest::of(b"image"),
            disk_size_bytes: index * u64::from(CHUNK_BYTES) - 512,
            logical_sector_bytes: 512,
            chunk_bytes: CHUNK_BYTES,
            packs,
            chunks,
            holes,
            partitions: PartitionSummary::default(),
        }
    }

    /// Which chunks each request has, as text.
    fn ranges(layout: &str, done: &[u64]) -> String {
        let ranges = fetches(&manifest(layout), |chunk| done.contains(&chunk));
        let ranges = ranges
            .into_iter()
            .map(|range| format!("{}-{}", range.chunks.start, range.chunks.end - 1));
        ranges.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn neighbours_are_fetched_together() {
        let table: [(&str, &[u64], &str); 8] = [
            ("111", &[], "0-2"),
            // Holes of the disk don't part frames that lie side by side in the pack.
            ("1_1__1", &[], "0-2"),
            // 4 MiB at most.
            ("11111", &[], "0-3 4-4"),
            ("9", &[], "0-0"),
            // Nor over the border of a pack.
            ("11|11", &[], "0-1 2-3"),
            // What is done isn't fetched, and parts the range.
            ("111", &[1], "0-0 2-2"),
            ("111", &[0, 1, 2], ""),
            ("___", &[], ""),
        ];
        for (layout, done, expected) in table {
            assert_eq!(ranges(layout, done), expected, "{layout} {done:?}");
        }
    }

    #[test]
    fn equal_chunks_that_share_a_frame_are_asked_for_each() {
        let mut shared = manifest("11");
        shared.chunks[1].offset = 0;
        assert_eq!(fetches(&shared, |_| false).len(), 2);
    }

    #[test]
    fn holes_are_joined_cut_into_steps_and_end_with_the_disk() {
        let long = format!("1{}1__", "_".repeat(300));
        let runs = zero_runs(&manifest(&long), |_| false);
        let chunks: Vec<_> = runs.iter().map(|run| run.chunks.clone()).collect();
        assert_eq!(chunks, [1..257, 257..301, 302..304]);
        assert_eq!(runs[2].bytes, 302 << 20..(304 << 20) - 512);
        let runs = zero_runs(&manifest(&long), |chunk| chunk < 257);
        assert_eq!(runs.len(), 2);
    }
}
