//! A part of the source that can be decoded for itself, and its bytes as they come.

use std::{
    io::{self, BufRead, Read},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedReceiver};

use crate::stream::progress::Meter;

/// How a unit is to be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// The bytes of the disk.
    Raw,
    /// All members of a gzip file.
    Gzip,
    /// Frames of zstd, whole ones.
    Zstd,
    /// The rest of an xz file, from the beginning of a stream. `lead` is what was read of it already.
    XzRest {
        /// The first bytes.
        lead: Bytes,
    },
    /// One block of xz, made a file of its own by what is put before and behind it.
    XzBlock {
        /// What goes before.
        lead: Bytes,
        /// What goes behind.
        trail: Bytes,
        /// What its decoder needs.
        memory: u64,
    },
}

/// A part of the source that can be decoded for itself.
#[derive(Debug)]
pub(super) struct Unit {
    /// Its place among all units.
    pub(super) number: u64,
    pub(super) form: Form,
    pub(super) parts: UnboundedReceiver<Part>,
}

/// What comes of a unit.
#[derive(Debug)]
pub(super) enum Part {
    /// Bytes, and the memory that they take.
    Bytes(Bytes, OwnedSemaphorePermit),
    /// All came. A channel that closes without this one has lost its source.
    End,
}

/// The bytes of a unit as a reader.
#[derive(Debug)]
pub(super) struct Parts {
    received: UnboundedReceiver<Part>,
    current: Bytes,
    held: Option<OwnedSemaphorePermit>,
    trail: Bytes,
    ended: bool,
    lost: bool,
    meter: Arc<Meter>,
}

impl Parts {
    pub(super) fn new(
        received: UnboundedReceiver<Part>,
        lead: Bytes,
        trail: Bytes,
        meter: Arc<Meter>,
    ) -> Self {
        Parts {
            received,
            current: lead,
            held: None,
            trail,
            ended: false,
            lost: false,
            meter,
        }
    }

    /// The source broke off for good; a decoder took that for damage.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether no byte is left.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        self.refill()?;
        Ok(self.current.is_empty())
    }

    /// The next `len` bytes; without a copy when they came together.
    pub(super) fn take(&mut self, len: usize) -> io::Result<Bytes> {
        self.refill()?;
        if self.current.len() >= len {
            return Ok(self.current.split_to(len));
        }
        let mut gathered = BytesMut::with_capacity(len);
        while gathered.len() < len {
            if self.is_at_end()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = self.current.len().min(len - gathered.len());
            gathered.extend_from_slice(&self.current.split_to(step));
        }
        Ok(gathered.freeze())
    }

    /// Leaves out the next `len` bytes.
    pub(super) fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            if self.is_at_end()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = usize::try_from(len).map_or(self.current.len(), |len| len.min(self.current.len()));
            self.current.advance(step);
            len -= step as u64;
        }
        Ok(())
    }

    /// Takes the next part when the current one is used up.
    fn refill(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            self.held = None;
            match self.meter.idle(|| self.received.blocking_recv()) {
                Some(Part::Bytes(bytes, memory)) => {
                    self.current = bytes;
                    self.held = Some(memory);
                }
                Some(Part::End) => {
                    self.ended = true;
                    self.current = std::mem::take(&mut self.trail);
                }
                None => {
                    self.lost = true;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }
}

impl BufRead for Parts {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill()?;
        Ok(&self.current)
    }

    fn consume(&mut self, len: usize) {
        self.current.advance(len);
    }
}

impl Read for Parts {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.refill()?;
        let len = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}
