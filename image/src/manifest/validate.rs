//! What makes a manifest valid. Every number in it is checked here before anybody computes with it.

use std::collections::HashSet;

use super::{FORMAT_VERSION, MAX_DISK_BYTES, MAX_RUNS, Manifest, ManifestError, SEALED_FORMAT_VERSION};
use crate::pack::FOOTER_BYTES;
use crate::seal::OVERHEAD_BYTES;
use crate::{CHUNK_BYTES, MAX_FRAME_BYTES, MAX_PACK_BYTES};

pub(super) fn validate(manifest: &Manifest) -> Result<(), ManifestError> {
    geometry(manifest)?;
    holes(manifest)?;
    packs(manifest)?;
    let sealing = manifest.seal.as_ref().map_or(0, |_| OVERHEAD_BYTES);
    for chunk in &manifest.chunks {
        let fault = |what| {
            Err(ManifestError::Chunk {
                index: chunk.index,
                what,
            })
        };
        let Some(pack) = manifest.packs.get(chunk.pack as usize) else {
            return fault("a pack that is not listed");
        };
        if !(1..=MAX_FRAME_BYTES).contains(&chunk.frame_bytes.saturating_sub(sealing)) {
            return fault("a frame that is empty or longer than a frame can be");
        }
        match chunk.offset.checked_add(u64::from(chunk.frame_bytes)) {
            Some(end) if end <= pack.size_bytes - FOOTER_BYTES => {}
            _ => return fault("a frame that ends behind its pack's frames"),
        }
    }
    tiling(manifest)?;
    manifest.partitions.check(manifest.disk_size_bytes)
}

fn geometry(manifest: &Manifest) -> Result<(), ManifestError> {
    let field = |field, got, expected: &str| {
        Err(ManifestError::Field {
            field,
            got,
            expected: expected.to_owned(),
        })
    };
    let (version, expected) = match &manifest.seal {
        Some(_) => (SEALED_FORMAT_VERSION, "2, since it is encrypted"),
        None => (FORMAT_VERSION, "1, since it is not encrypted"),
    };
    if manifest.format_version != version {
        return field("the format version", manifest.format_version.into(), expected);
    }
    if manifest.chunk_bytes != CHUNK_BYTES {
        return field("the chunk size", manifest.chunk_bytes.into(), "1048576");
    }
    if !matches!(manifest.logical_sector_bytes, 512 | 4096) {
        return field(
            "the sector size",
            manifest.logical_sector_bytes.into(),
            "512 or 4096",
        );
    }
    let size = manifest.disk_size_bytes;
    if size == 0 || size > MAX_DISK_BYTES || !size.is_multiple_of(manifest.logical_sector_bytes.into()) {
        return field(
            "the disk size",
            size,
            "a multiple of the sector size, from one sector to 64 TiB",
        );
    }
    Ok(())
}

/// As many as a manifest can name in its runs, each with data behind it.
fn holes(manifest: &Manifest) -> Result<(), ManifestError> {
    let limit = (MAX_RUNS - 1) / 2;
    if manifest.holes.len() as u64 > limit {
        return Err(ManifestError::Field {
            field: "the number of holes",
            got: manifest.holes.len() as u64,
            expected: format!("at most {limit}"),
        });
    }
    Ok(())
}

fn packs(manifest: &Manifest) -> Result<(), ManifestError> {
    if manifest.packs.len() > manifest.chunks.len() {
        return Err(ManifestError::Field {
            field: "the number of packs",
            got: manifest.packs.len() as u64,
            expected: format!("at most the number of data chunks, {}", manifest.chunks.len()),
        });
    }
    let mut seen = HashSet::with_capacity(manifest.packs.len());
    for pack in &manifest.packs {
        if pack.size_bytes <= FOOTER_BYTES || pack.size_bytes > MAX_PACK_BYTES {
            return Err(ManifestError::Pack {
                digest: pack.digest,
                what: "a size that no pack has",
            });
        }
        if !seen.insert(pack.digest) {
            return Err(ManifestError::Pack {
                digest: pack.digest,
                what: "two entries",
            });
        }
    }
    Ok(())
}

/// Merges chunks and holes by index: each must begin where the one before it ended.
fn tiling(manifest: &Manifest) -> Result<(), ManifestError> {
    let total = manifest.chunk_count();
    let (mut chunks, mut holes) = (
        manifest.chunks.iter().peekable(),
        manifest.holes.iter().peekable(),
    );
    let mut next = 0u64;
    loop {
        let fault = Err(ManifestError::Tiling { expected: next });
        if chunks.next_if(|chunk| chunk.index == next).is_some() {
            next += 1;
        } else if let Some(hole) = holes.next_if(|hole| hole.first_chunk == next) {
            if hole.chunk_count == 0 || hole.chunk_count > total - next {
                return fault;
            }
            next += hole.chunk_count;
        } else if chunks.peek().is_none() && holes.peek().is_none() && next == total {
            return Ok(());
        } else {
            return fault;
        }
        if next > total {
            return fault;
        }
    }
}
