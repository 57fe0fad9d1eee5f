//! The header of a qcow2 file and what it may say.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Qcow2Error;
use crate::numbers::{be32, be64};

const V2_BYTES: usize = 72;
const V3_BYTES: usize = 104;
/// With the field that names the compression.
const FULL_BYTES: usize = 112;
/// QEMU's own limit for the L1 table.
const MAX_L1_BYTES: u64 = 32 << 20;
/// QEMU's own limit for the refcount table.
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_NAME_BYTES: u32 = 1023;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// A header that was checked.
#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub cluster_bits: u32,
    /// Size of the disk.
    pub size: u64,
    pub l1_offset: u64,
    pub refcount_table_offset: u64,
    pub refcount_table_clusters: u32,
    pub compression: Compression,
}

impl Header {
    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// How many L2 tables the disk needs.
    pub fn l1_entries(&self) -> u64 {
        let cluster = self.cluster_bytes();
        self.size.div_ceil(cluster).div_ceil(cluster / 8)
    }

    pub fn read(file: &File, file_bytes: u64) -> Result<Self, Qcow2Error> {
        let mut bytes = [0; FULL_BYTES];
        let available = usize::try_from(file_bytes).unwrap_or(usize::MAX).min(FULL_BYTES);
        let io = |source| Qcow2Error::Io { offset: 0, source };
        file.read_exact_at(&mut bytes[..available], 0).map_err(io)?;
        if &bytes[..4] != b"QFI\xFB" {
            return Err(Qcow2Error::Magic);
        }
        let version = be32(&bytes, 4);
        let needed = match version {
            2 => V2_BYTES,
            3 => V3_BYTES,
            got => return Err(Qcow2Error::Version { got }),
        };
        if available < needed {
            let (expected, got) = (needed as u64, file_bytes);
            return Err(Qcow2Error::Truncated {
                what: "the header",
                expected,
                got,
            });
        }
        refuse_dependence(&bytes, file, file_bytes)?;
        let cluster_bits = be32(&bytes, 20);
        if !(9..=21).contains(&cluster_bits) {
            return field("cluster_bits", cluster_bits.into(), "9 to 21");
        }
        let compression = if version == 2 {
            Compression::Zlib
        } else {
            features(&bytes, cluster_bits)?
        };
        let header = Self {
            version,
            cluster_bits,
            size: be64(&bytes, 24),
            l1_offset: be64(&bytes, 40),
            refcount_table_offset: be64(&bytes, 48),
            refcount_table_clusters: be32(&bytes, 56),
            compression,
        };
        header.check_tables(be32(&bytes, 36).into())?;
        Ok(header)
    }

    fn check_tables(&self, l1_size: u64) -> Result<(), Qcow2Error> {
        let wanted = self.l1_entries();
        if l1_size < wanted {
            return field(
                "l1_size",
                l1_size,
                &format!("at least {wanted} for a disk of {} bytes", self.size),
            );
        }
        if wanted > MAX_L1_BYTES / 8 {
            return field("size", self.size, "a disk whose L1 table has at most 32 MiB");
        }
        let refcount_bytes = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        if refcount_bytes > MAX_REFCOUNT_TABLE_BYTES {
            return field(
                "refcount_table_clusters",
                self.refcount_table_clusters.into(),
                "at most 8 MiB of them",
            );
        }
        Ok(())
    }
}

/// Refuses what would make the disk depend on another file or on a key.
fn refuse_dependence(bytes: &[u8; FULL_BYTES], file: &File, file_bytes: u64) -> Result<(), Qcow2Error> {
    let (name_offset, name_bytes) = (be64(bytes, 8), be32(bytes, 16));
    if name_offset != 0 {
        let mut name = vec![0; name_bytes.min(MAX_NAME_BYTES) as usize];
        let in_file = name_offset
            .checked_add(name.len() as u64)
            .is_some_and(|end| end <= file_bytes);
        if !in_file || file.read_exact_at(&mut name, name_offset).is_err() {
            name.clear();
        }
        return Err(Qcow2Error::BackingFile {
            name: String::from_utf8_lossy(&name).into_owned(),
        });
    }
    match be32(bytes, 32) {
        0 => Ok(()),
        1 => Err(Qcow2Error::Encrypted {
            method: 1,
            name: "AES",
        }),
        2 => Err(Qcow2Error::Encrypted {
            method: 2,
            name: "LUKS",
        }),
        method => Err(Qcow2Error::Encrypted {
            method,
            name: "unknown",
        }),
    }
}

/// Checks the feature bits of version 3.
fn features(bytes: &[u8; FULL_BYTES], cluster_bits: u32) -> Result<Compression, Qcow2Error> {
    let bits = be64(bytes, 72);
    for (bit, error) in [
        (EXTERNAL_DATA, Qcow2Error::ExternalDataFile),
        (CORRUPT, Qcow2Error::Corrupt),
        (DIRTY, Qcow2Error::Dirty),
        (EXTENDED_L2, Qcow2Error::ExtendedL2),
    ] {
        if bits & bit != 0 {
            return Err(error);
        }
    }
    if bits & !COMPRESSION != 0 {
        return Err(Qcow2Error::UnknownFeatures {
            bits: bits & !COMPRESSION,
        });
    }
    let header_length = be32(bytes, 100);
    if (header_length as usize) < V3_BYTES
        || !header_length.is_multiple_of(8)
        || header_length > 1 << cluster_bits
    {
        return field(
            "header_length",
            header_length.into(),
            "a multiple of 8 from 104 to a cluster",
        );
    }
    let kind = if header_length as usize > V3_BYTES {
        bytes[104]
    } else {
        0
    };
    match (kind, bits & COMPRESSION != 0) {
        (0, false) => Ok(Compression::Zlib),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, flag) => field("the compression bit", u64::from(flag), "1 with zstd, 0 with zlib"),
        (got, _) => Err(Qcow2Error::CompressionType { got }),
    }
}

fn field<T>(field: &'static str, got: u64, expected: &str) -> Result<T, Qcow2Error> {
    Err(Qcow2Error::Header {
        field,
        got,
        expected: expected.to_owned(),
    })
}
