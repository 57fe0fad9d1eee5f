//! Why a qcow2 file is refused.

use std::io;

/// A qcow2 file that is not read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// It cannot be read where something should be.
    #[error("cannot read the qcow2 file at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file ends before something that it names.
    #[error(
        "the qcow2 file is cut off or damaged: expected {expected} bytes because {what} lies there, got {got}; upload \
         it again"
    )]
    Truncated {
        /// What lies behind the end.
        what: &'static str,
        /// How long the file would have to be.
        expected: u64,
        /// How long it is.
        got: u64,
    },
    /// Not the magic of qcow2.
    #[error("the file does not begin as a qcow2 file does")]
    Magic,
    /// A version that is not known.
    #[error("qcow2 version {got} is not known, expected 2 or 3; {CONVERT}")]
    Version {
        /// The version found.
        got: u32,
    },
    /// The disk continues in another file.
    #[error(
        "the qcow2 file has the backing file {name:?}; it must stand alone: qemu-img convert -f qcow2 -O qcow2 IN OUT"
    )]
    BackingFile {
        /// Its name, as the file has it.
        name: String,
    },
    /// The disk's bytes are in another file.
    #[error("the qcow2 file keeps its data in an external data file; it must stand alone: {CONVERT}")]
    ExternalDataFile,
    /// Encrypted.
    #[error("the qcow2 file is encrypted (method {method}: {name}); decrypt it with qemu-img convert first")]
    Encrypted {
        /// The method's number.
        method: u32,
        /// The method's name.
        name: &'static str,
    },
    /// Subclusters.
    #[error("the qcow2 file has extended L2 entries (subclusters), which are not supported yet; {CONVERT}")]
    ExtendedL2,
    /// Still in use, or left by a crash.
    #[error(
        "the qcow2 file is marked dirty: it is in use or was not closed; close it or run qemu-img check -r all FILE"
    )]
    Dirty,
    /// Marked as corrupt by what wrote it.
    #[error("the qcow2 file is marked corrupt by the program that wrote it; run qemu-img check -r all FILE")]
    Corrupt,
    /// Features that one must know to read it.
    #[error("the qcow2 file has unknown incompatible features (bits {bits:#x}); {CONVERT}")]
    UnknownFeatures {
        /// The bits.
        bits: u64,
    },
    /// A compression that is not known.
    #[error(
        "the qcow2 file has the unknown compression type {got}, expected 0 (zlib) or 1 (zstd); {CONVERT}"
    )]
    CompressionType {
        /// Its number.
        got: u8,
    },
    /// A number in the header that must not be.
    #[error("the qcow2 header is damaged: {field} is {got}, expected {expected}")]
    Header {
        /// The field.
        field: &'static str,
        /// Its value.
        got: u64,
        /// What would be right.
        expected: String,
    },
    /// An offset that must be a multiple of the cluster size and is not.
    #[error("the qcow2 file is damaged: {what} at byte {offset} does not begin at a cluster")]
    Misaligned {
        /// What lies there.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// An entry with bits that must be zero.
    #[error(
        "the qcow2 file is damaged: {what} has the entry {entry:#018x}, whose reserved bits are not zero"
    )]
    Reserved {
        /// Which table.
        what: &'static str,
        /// The entry.
        entry: u64,
    },
    /// A cluster that is used for two things: tables that form a cycle, or data that is counted twice.
    #[error(
        "the qcow2 file is damaged: {what} lies at byte {offset}, where something else lies already (a cycle)"
    )]
    Overlap {
        /// What came second.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// More clusters than are kept track of.
    #[error("the qcow2 file has {got} clusters, more than {limit}; convert it with larger clusters")]
    TooManyClusters {
        /// How many.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// A compressed cluster that is damaged.
    #[error("the compressed cluster at byte {offset} of the qcow2 file is damaged; upload it again")]
    Decompress {
        /// Where it begins.
        offset: u64,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// A compressed cluster that is too short.
    #[error(
        "the compressed cluster at byte {offset} of the qcow2 file holds {got} bytes, expected {expected}"
    )]
    ShortCluster {
        /// Where it begins.
        offset: u64,
        /// Bytes of a cluster.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
}

const CONVERT: &str = "convert it first: qemu-img convert -f qcow2 -O raw IN OUT";
