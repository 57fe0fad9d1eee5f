//! From a manifest to what has to be zeroed. Pure.

use std::ops::Range;

use imprint_image::Manifest;

/// Holes are zeroed in steps of this size, so that progress shows and the journal stays short.
const ZERO_STEP: u64 = 256 << 20;

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
pub(super) mod tests {
    use imprint_image::{CHUNK_BYTES, Chunk, Digest, Hole, HoleKind, PackRef, PartitionSummary};

    use super::*;

    /// A manifest of one pack: a digit is the MiB that a frame takes, `a` 4 KiB, `_` a hole, `|` begins the next pack.
    pub(in crate::stream) fn manifest(layout: &str) -> Manifest {
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
                    let frame_bytes = digit.to_digit(10).map_or(4 << 10, |mib| mib << 20);
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
            seal: None,
        }
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
