//! How a write can fail, and what an operator is told.

use std::{io, time::Duration};

use imprint_image::{Digest, frame::FrameError};

use super::{budget::NoRoom, journal::JournalError};
use crate::{
    source::{SourceError, whole_cause},
    target::{DeviceId, WriteError},
};

/// The write ended without a proven image. Plain data, so that it can be reported as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct WriteFailure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// What happened, with all its causes.
    pub cause: String,
    /// What an operator can do.
    pub remedy: String,
    /// Whether anything was written to the disk.
    pub touched: bool,
    /// The disk was touched, and its head is clear, so that it can't boot.
    pub head_cleared: bool,
    /// A later attempt can succeed without a change by the operator.
    pub retryable: bool,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The image doesn't go onto this disk, or not into this memory; nothing was touched.
    Refused,
    /// The stores didn't give the image.
    Source,
    /// The stores gave something else.
    Corrupt,
    /// The disk refused, failed or didn't answer.
    Disk,
    /// The disk gave back something else than was written.
    ReadBack,
    /// It was asked to stop.
    Cancelled,
    /// The agent itself failed.
    Internal,
}

/// Why a write ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the image needs {image} bytes, {device} has {disk}")]
    TooSmall { device: DeviceId, image: u64, disk: u64 },
    #[error("the image was made for sectors of {image} bytes, {device} has sectors of {disk} bytes")]
    SectorSize { device: DeviceId, image: u32, disk: u32 },
    #[error("the image is a {format} file, which is not written as it is")]
    Format { format: String },
    #[error(transparent)]
    Memory(#[from] NoRoom),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("chunk {chunk} came wrong {times} times")]
    Corrupt {
        chunk: u64,
        times: u32,
        source: FrameError,
    },
    #[error("the image is not what was promised: {what}")]
    WrongImage { what: String },
    #[error("the image cannot be decompressed")]
    Decompress { source: io::Error },
    #[error(transparent)]
    Disk(#[from] WriteError),
    #[error("{device} has not answered for {} s", .waited.as_secs())]
    Hung { device: DeviceId, waited: Duration },
    #[error(
        "{device} holds something else at chunk {chunk} than was written: digest {got}, expected {expected}"
    )]
    ReadBack {
        device: DeviceId,
        chunk: u64,
        expected: Digest,
        got: Digest,
    },
    #[error("the write was cancelled")]
    Cancelled,
    #[error("cannot start a thread")]
    Threads(#[source] io::Error),
    #[error("a part of the agent has failed: {what}")]
    Internal { what: String },
}

impl Ended {
    fn kind(&self) -> FailureKind {
        match self {
            Ended::TooSmall { .. } | Ended::SectorSize { .. } | Ended::Format { .. } | Ended::Memory(_) => {
                FailureKind::Refused
            }
            Ended::Source(_) => FailureKind::Source,
            Ended::Corrupt { .. } | Ended::WrongImage { .. } | Ended::Decompress { .. } => {
                FailureKind::Corrupt
            }
            Ended::Disk(_) | Ended::Hung { .. } => FailureKind::Disk,
            Ended::ReadBack { .. } => FailureKind::ReadBack,
            Ended::Cancelled => FailureKind::Cancelled,
            Ended::Journal(_) | Ended::Threads(_) | Ended::Internal { .. } => FailureKind::Internal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Ended::TooSmall { .. } => "choose a larger disk or an image for a smaller one",
            Ended::SectorSize { .. } => {
                "choose an image with the sector size of the disk, or a disk with that of the image; nothing was written"
            }
            Ended::Format { .. } => {
                "import the image into the controller, or give a raw image, plain or compressed with gzip, xz or zstd"
            }
            Ended::Memory(_) => "allow more memory; nothing was written",
            Ended::Journal(_) => "make the folder of the journal writable, or remove the file by hand",
            Ended::Source(error) => error.remedy(),
            Ended::Corrupt { .. } => {
                "deploy another machine from this image: if that fails too, the object in the store is damaged, restore the controller's folder `store` from a backup; if not, check memory and network of this machine"
            }
            Ended::WrongImage { .. } => {
                "compare the digest with the publisher's; fetch the image again if it changed"
            }
            Ended::Decompress { .. } => {
                "the image file is damaged or cut short: fetch it again from its publisher"
            }
            Ended::Disk(error) => error.remedy(),
            Ended::Hung { .. } => {
                "look at the kernel log: the disk, its cable or its controller is failing; restart the machine before a new attempt"
            }
            Ended::ReadBack { .. } => {
                "the disk, its controller or the memory is failing: replace it before a new attempt"
            }
            Ended::Cancelled => "deploy again when wanted",
            Ended::Threads(_) => "give the machine more memory, or the process more threads",
            Ended::Internal { .. } => "report this as a fault of the agent, with its log",
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Ended::Cancelled => true,
            Ended::Source(error) => matches!(error, SourceError::GaveUp { .. }),
            _ => false,
        }
    }

    /// Makes the report.
    pub(super) fn report(&self, touched: bool, head_cleared: bool) -> WriteFailure {
        WriteFailure {
            kind: self.kind(),
            cause: whole_cause(self),
            remedy: self.remedy().to_owned(),
            touched,
            head_cleared,
            retryable: self.retryable(),
        }
    }
}
