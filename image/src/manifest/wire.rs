//! The protobuf form of the manifest. Field numbers are a contract: `docs/image-format.md`.
//!
//! Chunks are stored by column, not as one message each: a disk of a terabyte has a million of them, and two
//! strings of digests decode without a million small allocations.

use prost::Message;

use super::{
    Chunk, FORMAT_VERSION, Hole, HoleKind, MAX_MANIFEST_BYTES, Manifest, ManifestError, PackRef,
    SEALED_FORMAT_VERSION, bounds,
};
use crate::partition::wire::PartitionTableMessage;
use crate::seal::Seal;
use crate::{Digest, PartitionSummary};

const DIGEST_BYTES: usize = 32;

#[derive(Clone, PartialEq, Message)]
struct ManifestMessage {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(bytes = "vec", tag = "2")]
    image_digest: Vec<u8>,
    #[prost(uint64, tag = "3")]
    disk_size_bytes: u64,
    #[prost(uint32, tag = "4")]
    logical_sector_bytes: u32,
    #[prost(uint32, tag = "5")]
    chunk_bytes: u32,
    #[prost(bytes = "vec", tag = "6")]
    pack_digests: Vec<u8>,
    #[prost(uint64, repeated, tag = "7")]
    pack_sizes: Vec<u64>,
    #[prost(message, repeated, tag = "8")]
    runs: Vec<RunMessage>,
    #[prost(bytes = "vec", tag = "9")]
    plain_digests: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    frame_digests: Vec<u8>,
    #[prost(uint32, repeated, tag = "11")]
    frame_packs: Vec<u32>,
    #[prost(uint64, repeated, tag = "12")]
    frame_offsets: Vec<u64>,
    #[prost(uint32, repeated, tag = "13")]
    frame_lengths: Vec<u32>,
    #[prost(message, optional, tag = "14")]
    partitions: Option<PartitionTableMessage>,
}

/// A run of neighbouring chunks of one kind.
#[derive(Clone, Copy, PartialEq, Message)]
struct RunMessage {
    #[prost(enumeration = "RunKind", tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    chunk_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum RunKind {
    Unspecified = 0,
    Data = 1,
    MustBeZero = 2,
    DontCare = 3,
}

/// Only the version, to tell a newer manifest from a damaged one before the rest is decoded.
#[derive(Clone, Copy, PartialEq, Message)]
struct VersionMessage {
    #[prost(uint32, tag = "1")]
    format_version: u32,
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let digests = |digest: fn(&Chunk) -> &Digest| -> Vec<u8> {
        manifest
            .chunks
            .iter()
            .flat_map(|chunk| *digest(chunk).as_bytes())
            .collect()
    };
    ManifestMessage {
        format_version: manifest.format_version,
        image_digest: manifest.image_digest.as_bytes().to_vec(),
        disk_size_bytes: manifest.disk_size_bytes,
        logical_sector_bytes: manifest.logical_sector_bytes,
        chunk_bytes: manifest.chunk_bytes,
        pack_digests: manifest
            .packs
            .iter()
            .flat_map(|pack| *pack.digest.as_bytes())
            .collect(),
        pack_sizes: manifest.packs.iter().map(|pack| pack.size_bytes).collect(),
        runs: runs(manifest),
        plain_digests: digests(|chunk| &chunk.plain),
        frame_digests: digests(|chunk| &chunk.frame),
        frame_packs: manifest.chunks.iter().map(|chunk| chunk.pack).collect(),
        frame_offsets: manifest.chunks.iter().map(|chunk| chunk.offset).collect(),
        frame_lengths: manifest.chunks.iter().map(|chunk| chunk.frame_bytes).collect(),
        partitions: Some(PartitionTableMessage::from(&manifest.partitions)),
    }
    .encode_to_vec()
}

fn runs(manifest: &Manifest) -> Vec<RunMessage> {
    let mut runs: Vec<RunMessage> = Vec::with_capacity(manifest.holes.len() * 2 + 1);
    let mut push = |kind: RunKind, count: u64| match runs.last_mut() {
        Some(last) if last.kind == kind as i32 => last.chunk_count += count,
        _ => runs.push(RunMessage {
            kind: kind as i32,
            chunk_count: count,
        }),
    };
    let mut holes = manifest.holes.iter().peekable();
    let push_hole = |hole: &Hole, push: &mut dyn FnMut(RunKind, u64)| match hole.kind {
        HoleKind::MustBeZero => push(RunKind::MustBeZero, hole.chunk_count),
        HoleKind::DontCare => push(RunKind::DontCare, hole.chunk_count),
    };
    for chunk in &manifest.chunks {
        while let Some(hole) = holes.next_if(|hole| hole.first_chunk < chunk.index) {
            push_hole(hole, &mut push);
        }
        push(RunKind::Data, 1);
    }
    for hole in holes {
        push_hole(hole, &mut push);
    }
    runs
}

/// The version of what is stored, which has a bounded length.
pub(super) fn version(bytes: &[u8]) -> Result<u32, ManifestError> {
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge {
            got: bytes.len() as u64,
            limit: MAX_MANIFEST_BYTES,
        });
    }
    Ok(VersionMessage::decode(bytes)?.format_version)
}

/// Bounds every length against the others; whether the numbers make sense is for `validate` to say.
pub(super) fn decode(bytes: &[u8], seal: Option<Seal>) -> Result<Manifest, ManifestError> {
    let expected = match &seal {
        Some(_) => SEALED_FORMAT_VERSION,
        None => FORMAT_VERSION,
    };
    let got = version(bytes)?;
    if got != expected {
        return Err(ManifestError::Field {
            field: "the format version",
            got: got.into(),
            expected: expected.to_string(),
        });
    }
    bounds::check(bytes)?;
    let message = ManifestMessage::decode(bytes)?;
    let image_digest = *digests("the image digest", &message.image_digest, 1)?
        .first()
        .expect("the length was checked to be one digest");
    let (chunks, holes) = tiles(&message)?;
    Ok(Manifest {
        format_version: message.format_version,
        image_digest,
        disk_size_bytes: message.disk_size_bytes,
        logical_sector_bytes: message.logical_sector_bytes,
        chunk_bytes: message.chunk_bytes,
        packs: digests(
            "the pack digests",
            &message.pack_digests,
            message.pack_sizes.len(),
        )?
        .into_iter()
        .zip(&message.pack_sizes)
        .map(|(digest, &size_bytes)| PackRef { digest, size_bytes })
        .collect(),
        chunks,
        holes,
        partitions: PartitionSummary::try_from(message.partitions.unwrap_or_default())?,
        seal,
    })
}

/// Rebuilds chunks and holes from the runs and the columns.
fn tiles(message: &ManifestMessage) -> Result<(Vec<Chunk>, Vec<Hole>), ManifestError> {
    let count = message.frame_lengths.len();
    column("the frame packs", message.frame_packs.len(), count)?;
    column("the frame offsets", message.frame_offsets.len(), count)?;
    let plain = digests("the plain digests", &message.plain_digests, count)?;
    let frame = digests("the frame digests", &message.frame_digests, count)?;
    let mut chunks = Vec::with_capacity(count);
    let mut holes = Vec::new();
    let mut index = 0u64;
    for run in &message.runs {
        let end = index
            .checked_add(run.chunk_count)
            .ok_or(ManifestError::Tiling { expected: index })?;
        let kind = match run.kind() {
            RunKind::Data => {
                // Bounded by the columns, whatever the run claims.
                if run.chunk_count > (count - chunks.len()) as u64 {
                    return Err(ManifestError::Tiling { expected: index });
                }
                for index in index..end {
                    let at = chunks.len();
                    chunks.push(Chunk {
                        index,
                        plain: plain[at],
                        frame: frame[at],
                        pack: message.frame_packs[at],
                        offset: message.frame_offsets[at],
                        frame_bytes: message.frame_lengths[at],
                    });
                }
                index = end;
                continue;
            }
            RunKind::MustBeZero => HoleKind::MustBeZero,
            RunKind::DontCare => HoleKind::DontCare,
            RunKind::Unspecified => {
                let got = u64::from(run.kind.unsigned_abs());
                return Err(ManifestError::Field {
                    field: "the kind of a run",
                    got,
                    expected: "1, 2 or 3".to_owned(),
                });
            }
        };
        holes.push(Hole {
            first_chunk: index,
            chunk_count: run.chunk_count,
            kind,
        });
        index = end;
    }
    column("the chunks in runs", chunks.len(), count)?;
    Ok((chunks, holes))
}

fn digests(field: &'static str, bytes: &[u8], count: usize) -> Result<Vec<Digest>, ManifestError> {
    let wanted = count.saturating_mul(DIGEST_BYTES);
    if bytes.len() != wanted {
        return Err(ManifestError::Field {
            field,
            got: bytes.len() as u64,
            expected: format!("{wanted} bytes for {count}"),
        });
    }
    let (digests, _) = bytes.as_chunks::<DIGEST_BYTES>();
    Ok(digests.iter().map(|bytes| Digest::from_bytes(*bytes)).collect())
}

fn column(field: &'static str, got: usize, count: usize) -> Result<(), ManifestError> {
    if got == count {
        return Ok(());
    }
    Err(ManifestError::Field {
        field,
        got: got as u64,
        expected: format!("{count}, one for each frame"),
    })
}
