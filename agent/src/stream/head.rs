//! The proof that an image is whole, and the head of the disk that waits for it.

use std::{
    io,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use imprint_image::{Digest, Manifest};

use crate::{
    finish::table::veil,
    target::{AlignedBuf, Operation, Target, WriteError, clear_head},
};

/// Every byte of an image was proven: the chunks by their digests before they were written, the holes by zeroing.
/// Only a complete [`Ledger`], or a plain image whose digest and length hold, makes one.
#[derive(Debug)]
pub struct Verified {
    image: Digest,
    _private: (),
}

impl Verified {
    /// The identity of the image that is proven. For a plain image it is the BLAKE3 of its SHA-256.
    #[must_use]
    pub fn image_digest(&self) -> &Digest {
        &self.image
    }

    /// A plain image, proven by the digest and the length of its source. Called by the check alone.
    pub(super) fn plain(sha256: &[u8; 32]) -> Self {
        Verified {
            image: Digest::of(sha256),
            _private: (),
        }
    }
}

/// The first MiB of an image, kept in memory: a disk without it can't boot.
#[derive(Debug)]
pub struct Withheld {
    buffer: AlignedBuf,
}

impl Withheld {
    /// Keeps the head of an image.
    pub(super) fn new(buffer: AlignedBuf) -> Self {
        Withheld { buffer }
    }

    /// Has the disk not boot with this head either, before [`veil::lift`]: its system is to be finished first.
    pub(super) fn veil(&mut self) {
        veil::draw(&mut self.buffer);
    }

    /// Writes the head and flushes: from now on the disk can boot. Hands the proof back. A write that was given up
    /// while the disk hung must not make it bootable once it answers again: then the head is not written, or cleared.
    ///
    /// # Errors
    /// When the disk doesn't take it, or doesn't confirm the flush, or the write was `abandoned`.
    pub fn release(
        self,
        target: &dyn Target,
        proof: Verified,
        abandoned: &AtomicBool,
    ) -> Result<Verified, WriteError> {
        // What was written before must be on the disk before it becomes bootable, not in its cache.
        target.flush()?;
        self.unless(abandoned, target)?;
        target.write_at(&self.buffer, 0)?;
        let flushed = self.unless(abandoned, target).and_then(|()| target.flush());
        if let Err(error) = flushed.and_then(|()| self.unless(abandoned, target)) {
            if abandoned.load(Ordering::SeqCst) {
                clear_head(target)?;
            }
            return Err(error);
        }
        Ok(proof)
    }

    fn unless(&self, abandoned: &AtomicBool, target: &dyn Target) -> Result<(), WriteError> {
        if !abandoned.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(WriteError {
            device: target.id().clone(),
            operation: Operation::Write,
            offset: 0,
            len: self.buffer.len() as u64,
            source: io::Error::other("the write was given up meanwhile"),
        })
    }
}

/// Which chunks of the disk are right, and which aren't yet.
#[derive(Debug)]
pub(super) struct Ledger {
    image: Digest,
    done: Vec<u64>,
    missing: u64,
}

impl Ledger {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let count = manifest.chunk_count();
        let words = usize::try_from(count.div_ceil(64)).expect("a manifest in memory has few enough chunks");
        Ledger {
            image: manifest.image_digest,
            done: vec![0; words],
            missing: count,
        }
    }

    pub(super) fn is_done(&self, chunk: u64) -> bool {
        let (word, bit) = place(chunk);
        self.done.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// These chunks are proven, and on the disk or withheld.
    pub(super) fn mark(&mut self, chunks: Range<u64>) {
        for chunk in chunks {
            let (word, bit) = place(chunk);
            if self.done[word] & bit == 0 {
                self.done[word] |= bit;
                self.missing -= 1;
            }
        }
    }

    /// The proof, once nothing is missing.
    pub(super) fn verified(&self) -> Option<Verified> {
        let proof = Verified {
            image: self.image,
            _private: (),
        };
        (self.missing == 0).then_some(proof)
    }
}

fn place(chunk: u64) -> (usize, u64) {
    (
        usize::try_from(chunk / 64).expect("a manifest in memory has few enough chunks"),
        1 << (chunk % 64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::faulty::{Asked, FaultyTarget};

    #[test]
    fn only_a_complete_ledger_gives_the_proof() {
        let mut ledger = Ledger {
            image: Digest::of(b"x"),
            done: vec![0; 3],
            missing: 130,
        };
        ledger.mark(0..64);
        ledger.mark(65..130);
        assert!(ledger.verified().is_none());
        assert!(ledger.is_done(129) && !ledger.is_done(64) && !ledger.is_done(5000));
        // Twice is not two.
        ledger.mark(65..66);
        assert!(ledger.verified().is_none());
        ledger.mark(64..65);
        assert_eq!(ledger.verified().unwrap().image_digest(), &Digest::of(b"x"));
    }

    #[test]
    fn the_head_is_written_between_two_flushes() {
        let target = FaultyTarget::filled(1 << 20, 0);
        let mut buffer = AlignedBuf::new(4096);
        buffer.fill(9);
        let proof = Withheld::new(buffer)
            .release(&target, Verified::plain(&[0; 32]), &AtomicBool::new(false))
            .unwrap();
        assert_eq!(proof.image_digest(), &Digest::of(&[0; 32]));
        assert_eq!(
            target.asked(),
            [Asked::Flush, Asked::Write(0..4096), Asked::Flush]
        );
    }

    #[test]
    fn without_the_first_flush_nothing_is_released() {
        let target = FaultyTarget::filled(1 << 20, 0);
        target.refuse_flush(nix::libc::EIO);
        Withheld::new(AlignedBuf::new(4096))
            .release(&target, Verified::plain(&[0; 32]), &AtomicBool::new(false))
            .unwrap_err();
        assert!(target.asked().is_empty());
    }

    #[test]
    fn a_write_that_was_given_up_releases_nothing() {
        let target = FaultyTarget::filled(1 << 20, 0);
        Withheld::new(AlignedBuf::new(4096))
            .release(&target, Verified::plain(&[0; 32]), &AtomicBool::new(true))
            .unwrap_err();
        assert_eq!(target.asked(), [Asked::Flush]);
    }
}
