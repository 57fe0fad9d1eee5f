//! The identity of an image: what is on the disk, whatever way it is stored.

use super::{HoleKind, Manifest};
use crate::Digest;

const DOMAIN: &[u8] = b"imprint.image.identity.v1\0";
const ZERO: u8 = 0;
const DATA: u8 = 1;
const DONT_CARE: u8 = 2;

/// Hashes the canonical serialisation of a valid manifest's content.
///
/// It has one record for each chunk of the disk, so that two manifests that cut the same holes into different runs
/// have the same identity.
pub(super) fn of(manifest: &Manifest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&manifest.disk_size_bytes.to_le_bytes());
    hasher.update(&manifest.logical_sector_bytes.to_le_bytes());
    hasher.update(&manifest.chunk_bytes.to_le_bytes());
    let mut holes = manifest.holes.iter().peekable();
    for chunk in &manifest.chunks {
        while let Some(hole) = holes.next_if(|hole| hole.first_chunk < chunk.index) {
            update_hole(&mut hasher, hole.kind, hole.chunk_count);
        }
        let mut record = [DATA; 33];
        record[1..].copy_from_slice(chunk.plain.as_bytes());
        hasher.update(&record);
    }
    for hole in holes {
        update_hole(&mut hasher, hole.kind, hole.chunk_count);
    }
    hasher.finalize().into()
}

fn update_hole(hasher: &mut blake3::Hasher, kind: HoleKind, mut count: u64) {
    let record = match kind {
        HoleKind::MustBeZero => ZERO,
        HoleKind::DontCare => DONT_CARE,
    };
    let block = [record; 1024];
    while count > 0 {
        let now = count.min(block.len() as u64);
        hasher.update(&block[..usize::try_from(now).expect("at most the block's length")]);
        count -= now;
    }
}
