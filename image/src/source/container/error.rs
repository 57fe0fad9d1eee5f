//! Why a file of one of the container formats is refused.

use std::io;

use super::super::Format;

/// A container file that is not read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It cannot be read where something should be.
    #[error("cannot read the {format} file at byte {offset}")]
    Io {
        /// The format.
        format: Format,
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file ends before something that it names.
    #[error(
        "the {format} file is cut off or damaged: expected {expected} bytes because {what} lies there, got {got}; \
         upload it again"
    )]
    Truncated {
        /// The format.
        format: Format,
        /// What lies behind the end.
        what: &'static str,
        /// How long the file would have to be.
        expected: u64,
        /// How long it is.
        got: u64,
    },
    /// A structure without its signature.
    #[error("the {format} file is damaged: {what} does not begin as it should; upload it again")]
    Magic {
        /// The format.
        format: Format,
        /// Which structure.
        what: &'static str,
    },
    /// A structure with a wrong checksum.
    #[error("the {format} file is damaged: {what} has a wrong checksum; upload it again")]
    Checksum {
        /// The format.
        format: Format,
        /// Which structure.
        what: &'static str,
    },
    /// A number in a header that must not be.
    #[error(
        "the {format} file cannot be read: {field} is {got}, expected {expected}; check the file and make it anew"
    )]
    Header {
        /// The format.
        format: Format,
        /// The field.
        field: &'static str,
        /// Its value.
        got: u64,
        /// What would be right.
        expected: String,
    },
    /// The disk continues in another file: a backing file, a parent, a base.
    #[error(
        "the {format} file holds only what differs from {parent:?}, and an image must stand alone; {}",
        standalone(*format)
    )]
    Parent {
        /// The format.
        format: Format,
        /// What the file calls the other one.
        parent: String,
    },
    /// Encrypted.
    #[error("the {format} file is encrypted (method {method}); decrypt it with qemu-img convert first")]
    Encrypted {
        /// The format.
        format: Format,
        /// The method's number.
        method: u32,
    },
    /// A descriptor that leads to another file.
    #[error(
        "the {format} file names another file, {name:?}, and an image must be one file; {}",
        standalone(*format)
    )]
    NamesFile {
        /// The format.
        format: Format,
        /// The other file.
        name: String,
    },
    /// A kind of this format that is not read.
    #[error("the {format} file is of the kind {kind:?}, expected {expected}; {}", format.remedy())]
    Kind {
        /// The format.
        format: Format,
        /// The kind.
        kind: String,
        /// What is read.
        expected: &'static str,
    },
    /// A disk in several parts.
    #[error("the {format} file describes a disk of {got} extents, expected 1; {}", format.remedy())]
    Extents {
        /// The format.
        format: Format,
        /// How many.
        got: usize,
    },
    /// In use, or left by a crash.
    #[error("the {format} file was not closed: {why}; close it, or run {repair}")]
    NotClosed {
        /// The format.
        format: Format,
        /// How one sees it.
        why: &'static str,
        /// What mends it.
        repair: &'static str,
    },
    /// Features that one must know to read it.
    #[error("the {format} file has unknown features: {what} {name}; {}", format.remedy())]
    Feature {
        /// The format.
        format: Format,
        /// Where it says so.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// An entry of a table that must not be.
    #[error("the {format} file is damaged: {what} has the entry {entry:#x}, {why}; upload it again")]
    Entry {
        /// The format.
        format: Format,
        /// Which table.
        what: &'static str,
        /// The entry.
        entry: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part of the file that is used for two things: tables that form a cycle, or data that is counted twice.
    #[error(
        "the {format} file is damaged: {what} lies at byte {offset}, where {other} lies already; make it anew from its \
         source"
    )]
    Overlap {
        /// The format.
        format: Format,
        /// What came second.
        what: &'static str,
        /// Where.
        offset: u64,
        /// What came first.
        other: &'static str,
    },
    /// More blocks than are kept track of.
    #[error("the {format} file has room for {got} blocks, more than {limit}; convert it with larger blocks")]
    TooManyBlocks {
        /// The format.
        format: Format,
        /// How many.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// A compressed block that is damaged.
    #[error("the compressed block at byte {offset} of the {format} file is damaged; upload it again")]
    Decompress {
        /// The format.
        format: Format,
        /// Where it begins.
        offset: u64,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// A compressed block that is too short.
    #[error(
        "the compressed block at byte {offset} of the {format} file holds {got} bytes, expected {expected}; upload it \
         again"
    )]
    ShortBlock {
        /// The format.
        format: Format,
        /// Where it begins.
        offset: u64,
        /// Bytes that the disk needs of it.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
}

/// How one makes a file that needs no other one.
fn standalone(format: Format) -> String {
    match format {
        // What qemu-img does not merge.
        Format::Vhd | Format::Vhdx => {
            "convert it where all its files are: Convert-VHD -Path IN -DestinationPath OUT -VHDType Dynamic"
                .to_owned()
        }
        Format::Vdi => {
            "convert it where all its files are: VBoxManage clonemedium disk IN OUT --format VDI".to_owned()
        }
        other => format!(
            "convert it where all its files are: qemu-img convert -f {} -O qcow2 IN OUT",
            other.driver()
        ),
    }
}
