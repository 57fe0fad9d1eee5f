//! The image artifact of Imprint: what the store holds and what agents stream.
//!
//! A disk image of any supported format is converted once, at import, into an *artifact*: a signed [`Manifest`]
//! and a set of *packs*. The disk is cut into chunks of [`CHUNK_BYTES`] at fixed offsets. A chunk that is all zero
//! is a hole and never stored; every other chunk is one independent zstd frame inside a pack, with a digest of the
//! frame (checked before the decoder sees it) and a digest of its plain bytes (its identity).
//!
//! * [`source`] tells formats apart and reads raw, compressed raw and qcow2 files in disk order.
//! * [`write`] turns such a source into packs and a manifest, on all cores and in bounded memory.
//! * [`SignedManifest`] signs and opens manifests; nothing inside is parsed before a trusted signature holds.
//! * [`frame`] proves and decodes one chunk; [`read`] puts a whole disk together again.
//! * [`export`] writes a disk as a file of a format that others read.
//! * [`facts`] tells what is on an image, without mounting it or running anything of it.
//! * [`seal`] encrypts all of that at rest, with a key for each image.
//! * [`pack`] is the layout of a pack; [`partition`] summarises the partition table.
//!
//! This crate knows no network and no database. Invariants: a [`Manifest`] that was decoded or assembled tiles its
//! disk exactly; every length that comes from a file is bounded before memory is taken for it; there is no
//! `unsafe` here. `docs/image-format.md` specifies every byte.

mod digest;
pub mod export;
pub mod facts;
pub mod frame;
mod key;
mod manifest;
mod numbers;
pub mod pack;
pub mod partition;
pub mod read;
pub mod seal;
mod signed;
pub mod source;
pub mod write;
pub mod zero;

pub use digest::{Digest, ParseDigestError};
pub use key::{KeyError, PublicKey, SigningKey};
pub use manifest::{
    Chunk, FORMAT_VERSION, Hole, HoleKind, MAX_DISK_BYTES, MAX_MANIFEST_BYTES, Manifest, ManifestError,
    PackRef, SEALED_FORMAT_VERSION,
};
pub use partition::{PartitionEntry, PartitionSummary, PartitionTable};
pub use read::read_artifact;
pub use signed::SignedManifest;

/// Plain bytes of one chunk. The last chunk of a disk may be shorter.
pub const CHUNK_BYTES: u32 = 1 << 20;

/// Longest frame that a chunk can have: zstd's own bound for incompressible input of [`CHUNK_BYTES`].
pub const MAX_FRAME_BYTES: u32 = CHUNK_BYTES + (CHUNK_BYTES >> 8);

/// Longest frame that a chunk of an encrypted image can have.
pub const MAX_SEALED_FRAME_BYTES: u32 = MAX_FRAME_BYTES + seal::OVERHEAD_BYTES;

/// Longest pack, index and footer included.
pub const MAX_PACK_BYTES: u64 = 32 << 20;
