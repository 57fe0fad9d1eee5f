//! Why an image file is refused.

use std::io;

use super::{ContainerError, Format, Qcow2Error};

/// An image file that is not imported.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("cannot read the image file")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the image file is empty: 0 bytes; upload a disk image")]
    Empty,
    /// Another format than the caller said.
    #[error(
        "the image is declared as {declared}, but its content is {detected}; declare what it is, or auto"
    )]
    Mismatch {
        /// What the caller said.
        declared: Format,
        /// What it is.
        detected: Format,
    },
    /// Two formats at once.
    #[error(
        "the image is {first} and {second} at the same time, which no honest tool makes; convert it anew from its source"
    )]
    Polyglot {
        /// One of them.
        first: Format,
        /// The other.
        second: &'static str,
    },
    /// A format that is known, but not read.
    #[error("the image is {format}, which is not supported yet by this version; {remedy}")]
    Unsupported {
        /// The format.
        format: Format,
        /// What helps.
        remedy: String,
    },
    /// A compressed file that does not hold a raw disk.
    #[error("the image is {inner} inside of {outer}; decompress it first and upload the {inner} itself")]
    Nested {
        /// How it is compressed.
        outer: Format,
        /// What it holds.
        inner: Format,
    },
    /// The disk is larger than allowed.
    #[error(
        "the image's disk has {got} bytes, more than the limit of {limit}; raise the limit if it is meant to be"
    )]
    TooLarge {
        /// Size of the disk.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// A compressed file that ended too early.
    #[error(
        "the image is cut off: expected the end of its {format} data, got the end of the file after {got} bytes; \
         upload it again"
    )]
    Truncated {
        /// How it is compressed.
        format: Format,
        /// Bytes of the file.
        got: u64,
    },
    /// A compressed file that is damaged.
    #[error("the image's {format} data is damaged near byte {near} of the file; upload it again")]
    Damaged {
        /// How it is compressed.
        format: Format,
        /// How much of the file was taken in.
        near: u64,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// A small file that becomes very much data.
    #[error(
        "the image grows too much: {got} bytes of data from {file} bytes of file, more than {limit} to 1; raise the \
         limit if it is meant to be"
    )]
    Ratio {
        /// Data that came out.
        got: u64,
        /// File that went in.
        file: u64,
        /// The limit.
        limit: u64,
    },
    /// A qcow2 file that is not read.
    #[error("the qcow2 image is refused")]
    Qcow2(#[from] Qcow2Error),
    /// A file of another container format that is not read.
    #[error("the image is refused")]
    Container(#[from] ContainerError),
}

impl SourceError {
    pub(super) fn unsupported(format: Format) -> Self {
        Self::Unsupported {
            format,
            remedy: format.remedy(),
        }
    }

    /// As the error of a [`io::Read`]; [`io::Error::get_ref`] leads back to it.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}
