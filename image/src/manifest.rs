//! The manifest: which chunk of the disk lies in which frame of which pack.

mod bounds;
mod error;
mod identity;
mod sealed;
#[cfg(test)]
mod tests;
mod validate;
mod wire;

use std::collections::HashSet;
use std::ops::Range;

pub use error::ManifestError;

use crate::seal::{DataKey, KeyId, Seal};
use crate::{CHUNK_BYTES, Digest, PartitionSummary};

/// The version of manifests whose frames are as they are.
pub const FORMAT_VERSION: u32 = 1;

/// The version of manifests that are encrypted, and their frames with them.
pub const SEALED_FORMAT_VERSION: u32 = 2;

/// Longest signed manifest that is accepted: about 1.8 TiB of data that is not zero.
pub const MAX_MANIFEST_BYTES: u64 = 128 << 20;

/// Most runs of chunks that a manifest may have.
pub(crate) const MAX_RUNS: u64 = 4 << 20;

/// Largest disk that a manifest can describe.
pub const MAX_DISK_BYTES: u64 = 64 << 40;

/// What a disk consists of and where to find it.
///
/// The fields are open to be read. A value that was assembled, decoded, or opened from a [`crate::SignedManifest`] is
/// valid: chunks and holes tile the disk exactly and in order, and
/// `image_digest` is the digest of what they describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the format: [`SEALED_FORMAT_VERSION`] with a `seal`, else [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The image's identity: a digest over its plain content, independent of frames and packs.
    pub image_digest: Digest,
    /// Size of the disk, a multiple of the sector size.
    pub disk_size_bytes: u64,
    /// Logical sector that the partition table was made for: 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Plain bytes of a chunk, [`CHUNK_BYTES`].
    pub chunk_bytes: u32,
    /// The packs that hold the frames, in the order of first use.
    pub packs: Vec<PackRef>,
    /// The chunks that hold data, by ascending index.
    pub chunks: Vec<Chunk>,
    /// The runs of chunks that hold none, by ascending index.
    pub holes: Vec<Hole>,
    /// What the partition table says, for people and for decisions before the disk is written.
    pub partitions: PartitionSummary,
    /// What the frames are sealed with, and the manifest itself where it is stored. Who has the manifest of an encrypted
    /// image has its key.
    pub seal: Option<Seal>,
}

/// One pack that a manifest draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackRef {
    /// BLAKE3 of the whole pack, its name in the store.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// One chunk that holds data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its place on the disk, in chunks.
    pub index: u64,
    /// BLAKE3 of its plain bytes.
    pub plain: Digest,
    /// BLAKE3 of its frame, as it is stored.
    pub frame: Digest,
    /// Which of [`Manifest::packs`] holds the frame.
    pub pack: u32,
    /// Where the frame begins in the pack.
    pub offset: u64,
    /// Length of the frame.
    pub frame_bytes: u32,
}

/// A run of chunks without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The first of them.
    pub first_chunk: u64,
    /// How many.
    pub chunk_count: u64,
    /// What the disk must hold there.
    pub kind: HoleKind,
}

/// What must be on the disk where an image has a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoleKind {
    /// Zeros, for certain.
    MustBeZero,
    /// Nothing reads it. Zeroed all the same, unless the operator says otherwise.
    DontCare,
}

impl Manifest {
    /// Puts a manifest together, computes its identity and proves it valid.
    pub fn assemble(
        disk_size_bytes: u64,
        logical_sector_bytes: u32,
        packs: Vec<PackRef>,
        chunks: Vec<Chunk>,
        holes: Vec<Hole>,
        partitions: PartitionSummary,
    ) -> Result<Self, ManifestError> {
        Self {
            format_version: FORMAT_VERSION,
            image_digest: Digest::from_bytes([0; 32]),
            disk_size_bytes,
            logical_sector_bytes,
            chunk_bytes: CHUNK_BYTES,
            packs,
            chunks,
            holes,
            partitions,
            seal: None,
        }
        .identified()
    }

    /// As [`Manifest::assemble`], for frames that were sealed with `seal`.
    pub fn assemble_sealed(
        seal: Seal,
        disk_size_bytes: u64,
        logical_sector_bytes: u32,
        packs: Vec<PackRef>,
        chunks: Vec<Chunk>,
        holes: Vec<Hole>,
        partitions: PartitionSummary,
    ) -> Result<Self, ManifestError> {
        Self {
            format_version: SEALED_FORMAT_VERSION,
            image_digest: Digest::from_bytes([0; 32]),
            disk_size_bytes,
            logical_sector_bytes,
            chunk_bytes: CHUNK_BYTES,
            packs,
            chunks,
            holes,
            partitions,
            seal: Some(seal),
        }
        .identified()
    }

    fn identified(mut self) -> Result<Self, ManifestError> {
        validate::validate(&self)?;
        self.image_digest = identity::of(&self);
        Ok(self)
    }

    /// The form that is stored; of an encrypted image it is sealed, anew each time. Not signed: see
    /// [`crate::SignedManifest`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.seal {
            Some(seal) => sealed::encode(self, seal),
            None => wire::encode(self),
        }
    }

    /// Reads the form that is stored and proves it valid. For bytes whose signature was checked, or for tools that show
    /// a manifest without trusting it. One that is encrypted is refused with the id of its key.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::decode_with(bytes, None)
    }

    /// As [`Manifest::decode`], with the key of an encrypted image. A manifest that is not encrypted is refused when
    /// there is a key: whoever has one expects secrecy.
    pub fn decode_with(bytes: &[u8], key: Option<&DataKey>) -> Result<Self, ManifestError> {
        let manifest = match (wire::version(bytes)?, key) {
            (FORMAT_VERSION, None) => wire::decode(bytes, None)?,
            (FORMAT_VERSION, Some(_)) => return Err(ManifestError::NotEncrypted),
            (SEALED_FORMAT_VERSION, Some(key)) => sealed::open(bytes, key)?,
            (SEALED_FORMAT_VERSION, None) => {
                let key_id = sealed::key_id(bytes)?;
                return Err(ManifestError::Encrypted { key_id });
            }
            (got, _) => return Err(unsupported(got)),
        };
        validate::validate(&manifest)?;
        let computed = identity::of(&manifest);
        if computed != manifest.image_digest {
            return Err(ManifestError::Identity {
                expected: manifest.image_digest,
                got: computed,
            });
        }
        Ok(manifest)
    }

    /// The id of the key that opens the stored form of a manifest; none when it is not encrypted.
    pub fn key_id(bytes: &[u8]) -> Result<Option<KeyId>, ManifestError> {
        match wire::version(bytes)? {
            FORMAT_VERSION => Ok(None),
            SEALED_FORMAT_VERSION => sealed::key_id(bytes).map(Some),
            got => Err(unsupported(got)),
        }
    }

    /// How many chunks the disk has, with data or without.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.disk_size_bytes.div_ceil(u64::from(self.chunk_bytes))
    }

    /// The bytes of the disk that chunk `index` covers; the last chunk may be short. Empty past the end.
    #[must_use]
    pub fn chunk_range(&self, index: u64) -> Range<u64> {
        let chunk = u64::from(self.chunk_bytes);
        let start = index.saturating_mul(chunk).min(self.disk_size_bytes);
        start..start.saturating_add(chunk).min(self.disk_size_bytes)
    }

    /// The bytes of the disk that a hole covers.
    #[must_use]
    pub fn hole_range(&self, hole: &Hole) -> Range<u64> {
        let last = hole
            .first_chunk
            .saturating_add(hole.chunk_count.saturating_sub(1));
        self.chunk_range(hole.first_chunk).start..self.chunk_range(last).end
    }

    /// Plain bytes in chunks that hold data.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| {
                let range = self.chunk_range(chunk.index);
                range.end - range.start
            })
            .sum()
    }

    /// Frame bytes of all chunks: what a full pull moves when every chunk is fetched on its own.
    #[must_use]
    pub fn fetch_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.frame_bytes)).sum()
    }

    /// Frame bytes with equal chunks counted once: what the image takes up in a store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let mut seen = HashSet::with_capacity(self.chunks.len());
        self.chunks
            .iter()
            .filter(|chunk| seen.insert((chunk.pack, chunk.offset)))
            .map(|chunk| u64::from(chunk.frame_bytes))
            .sum()
    }
}

fn unsupported(got: u32) -> ManifestError {
    ManifestError::UnsupportedVersion {
        got,
        supported: SEALED_FORMAT_VERSION,
    }
}
