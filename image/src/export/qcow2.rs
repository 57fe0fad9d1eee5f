//! QEMU's qcow2, version 3. Its tables name places of the file, and all of them stand in front of the data.

mod plain;
mod tables;
mod zstd;

pub(super) use plain::Plain;
pub(super) use zstd::Zstd;

/// The cluster has one user.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
