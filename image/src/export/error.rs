//! Why an export does not end.

use std::io;

use super::ExportFormat;
use crate::Digest;
use crate::frame::FrameError;

/// An export that did not succeed. What was written before is the beginning of the file and nothing else.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The disk does not go into the format.
    #[error("{format} cannot hold this disk: {reason}; export it as {instead}")]
    Unfit {
        /// The format.
        format: ExportFormat,
        /// Why.
        reason: String,
        /// What can hold it.
        instead: ExportFormat,
    },
    /// Frames cannot be read where they should be.
    #[error("cannot read {bytes} bytes at {offset} of pack {pack}")]
    Fetch {
        /// The pack.
        pack: Digest,
        /// Where the first frame begins.
        offset: u64,
        /// How many bytes were wanted.
        bytes: u64,
        /// What the store said.
        #[source]
        source: io::Error,
    },
    /// A frame is not what the manifest says.
    #[error("pack {pack} is damaged")]
    Frame {
        /// The pack.
        pack: Digest,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
    /// The compressor failed.
    #[error("cannot compress chunk {index}")]
    Compress {
        /// Which chunk.
        index: u64,
        /// What the compressor said.
        #[source]
        source: io::Error,
    },
    /// Nobody takes the file.
    #[error("cannot write byte {offset} of the file")]
    Write {
        /// How far it was written.
        offset: u64,
        /// What the receiver said.
        #[source]
        source: io::Error,
    },
    /// The beginning that is to be left out is longer than the file.
    #[error("the file has {file_bytes} bytes, so it cannot be written from byte {from} on")]
    Range {
        /// Length of the file.
        file_bytes: u64,
        /// What was asked for.
        from: u64,
    },
    /// A thread could not be started.
    #[error("cannot start the threads of an export")]
    Threads(#[source] io::Error),
    /// Cancelled through [`super::ExportOptions::cancel`].
    #[error("the export was cancelled")]
    Cancelled,
}
