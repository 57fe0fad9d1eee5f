//! Why a fact cannot be read, and the measure of work that no image may exceed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::io;

use crate::CHUNK_BYTES;

/// Something that was looked for cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The disk cannot be read there.
    #[error("cannot read {bytes} bytes at byte {offset} of the disk")]
    Disk {
        offset: u64,
        bytes: usize,
        #[source]
        source: io::Error,
    },
    /// It is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// A structure contradicts itself.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It uses what this reader does not know.
    #[error("cannot be read: {0}")]
    Unsupported(String),
    /// It is larger or deeper than any sound image has it.
    #[error("not read: {0}")]
    Limit(String),
}

impl Fault {
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    pub fn limit(what: impl Into<String>) -> Self {
        Self::Limit(what.into())
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// The fault and what lies under it in one sentence, for a fact that is unknown.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        text
    }

    /// Passes through [`io::Read`] and comes out again at [`Fault::from_io`].
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What a reader over a volume met, or what a decompressor says of its input.
    pub fn from_io(error: io::Error, what: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(fault) => fault,
            Err(error) => Self::damaged(format!("{what}: {error}")),
        }
    }
}

/// How much may still be read and decoded. Every access to a structure counts, also a repeated one, so that tables
/// that point at each other end soon; and one to a chunk that was not used lately counts as the decoding of it.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<u64>,
    recent: RefCell<VecDeque<u64>>,
}

/// The least that one access costs.
const STEP_BYTES: u64 = 4096;
/// No more than a reader of artifacts keeps decoded.
const RECENT_CHUNKS: usize = 12;

impl Work {
    pub fn new(bytes: u64) -> Self {
        Self {
            left: Cell::new(bytes),
            recent: RefCell::new(VecDeque::with_capacity(RECENT_CHUNKS)),
        }
    }

    /// Counts an access to `bytes` at `offset` of the disk.
    pub fn charge_at(&self, offset: u64, bytes: u64) -> Result<(), Fault> {
        let chunk = offset / u64::from(CHUNK_BYTES);
        let mut recent = self.recent.borrow_mut();
        let known = recent.iter().position(|recent| *recent == chunk);
        if let Some(at) = known {
            recent.remove(at);
        }
        recent.truncate(RECENT_CHUNKS - 1);
        recent.push_front(chunk);
        drop(recent);
        let decode = if known.is_some() { 0 } else { CHUNK_BYTES.into() };
        self.charge(bytes.max(STEP_BYTES) + decode)
    }

    /// Counts what was made of `bytes` without any access.
    pub fn charge(&self, bytes: u64) -> Result<(), Fault> {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            self.left.set(0);
            return Err(Fault::limit(
                "reading the facts of this image takes more work than any sound image needs",
            ));
        };
        self.left.set(left);
        Ok(())
    }
}
