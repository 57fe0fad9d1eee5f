//! Both ends of the disk, read before they are cleared.

use std::ops::Range;

use imprint_image::{Digest, Manifest};
use tracing::debug;

use crate::{
    source::whole_cause,
    target::{AlignedBuf, END_BYTES, Target, WriteError, clear_ends, clear_head},
};

/// What is cleared before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Ends {
    /// The head alone: an earlier run has cleared the tail, and may have written there since.
    Head,
    /// Head and tail.
    Both,
}

impl Ends {
    /// Clears them.
    ///
    /// # Errors
    /// When the disk doesn't confirm it.
    pub(in super::super) fn clear(self, target: &dyn Target) -> Result<(), WriteError> {
        match self {
            Ends::Head => clear_head(target),
            Ends::Both => clear_ends(target),
        }
    }

    /// The positions in the manifest of the chunks that this destroys: two or three of them at most.
    pub(in super::super) fn chunks(self, manifest: &Manifest, target: &dyn Target) -> Vec<usize> {
        let tail = match self {
            Ends::Head => target.len(),
            Ends::Both => target.len().saturating_sub(END_BYTES),
        };
        let touched = |place: Range<u64>| place.start < END_BYTES || place.end > tail;
        let chunks = manifest.chunks.iter().enumerate();
        chunks
            .filter(|(_, chunk)| touched(manifest.chunk_range(chunk.index)))
            .map(|(position, _)| position)
            .collect()
    }

    /// Clears them, after reading what lies there: what is right is written again at once, except the head of the
    /// disk, which stays in memory as it does when it is fetched.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub(in super::super) fn clear_and_keep(
        self,
        manifest: &Manifest,
        target: &dyn Target,
    ) -> Result<Vec<Kept>, WriteError> {
        let mut kept = Vec::new();
        for position in self.chunks(manifest, target) {
            let place = manifest.chunk_range(manifest.chunks[position].index);
            let mut bytes = AlignedBuf::new(manifest.chunk_bytes as usize);
            bytes.set_len(usize::try_from(place.end - place.start).expect("a chunk is at most a MiB"));
            match target.read_at(&mut bytes, place.start) {
                Ok(()) if Digest::of(&bytes) == manifest.chunks[position].plain => {
                    kept.push((position, bytes));
                }
                Ok(()) => {}
                // What can't be read is fetched; writing it often mends it.
                Err(error) => debug!(error = whole_cause(&error), "an end of the disk cannot be read"),
            }
        }
        self.clear(target)?;
        let mut all = Vec::new();
        for (position, bytes) in kept {
            let chunk = &manifest.chunks[position];
            if chunk.index == 0 {
                all.push(Kept::Head { position, bytes });
            } else {
                target.write_at(&bytes, manifest.chunk_range(chunk.index).start)?;
                all.push(Kept::Written { position });
            }
        }
        Ok(all)
    }
}

/// A chunk at an end of the disk, of which the disk held the right bytes.
#[derive(Debug)]
pub(in super::super) enum Kept {
    /// Chunk 0, to be withheld.
    Head {
        /// Its position in the manifest's `chunks`.
        position: usize,
        /// Its bytes, proven.
        bytes: AlignedBuf,
    },
    /// It is on the disk again.
    Written {
        /// Its position in the manifest's `chunks`.
        position: usize,
    },
}

impl Kept {
    pub(in super::super) fn position(&self) -> usize {
        match *self {
            Kept::Head { position, .. } | Kept::Written { position } => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use imprint_image::CHUNK_BYTES;

    use super::*;
    use crate::{
        stream::plan::tests::manifest,
        target::faulty::{Asked, FaultyTarget},
    };

    const MIB: u64 = CHUNK_BYTES as u64;

    #[test]
    fn what_clearing_destroys_is_read_before_and_the_head_stays_in_memory() {
        // An image of three chunks and a bit on a disk that is hardly longer: its cleared tail covers parts of two.
        let mut image = manifest("1111");
        image.disk_size_bytes = 3 * MIB + 8192;
        let len = 3 * MIB + 12288;
        for chunk in &mut image.chunks {
            chunk.plain = Digest::of(&vec![0xA5; if chunk.index == 3 { 8192 } else { 1 << 20 }]);
        }
        let target = FaultyTarget::filled(len, 0xA5);
        assert_eq!(Ends::Head.chunks(&image, &target), [0]);
        assert_eq!(Ends::Both.chunks(&image, &target), [0, 2, 3]);

        image.chunks[2].plain = Digest::of(b"another");
        let kept = Ends::Both.clear_and_keep(&image, &target).unwrap();
        let [Kept::Head { position: 0, bytes }, Kept::Written { position: 3 }] = &kept[..] else {
            panic!("{kept:?}")
        };
        assert_eq!(bytes.len(), 1 << 20);
        let tail = len - MIB;
        assert_eq!(
            target.asked(),
            [
                Asked::Zero(0..MIB),
                Asked::Zero(tail..len),
                Asked::Flush,
                Asked::Write(3 * MIB..3 * MIB + 8192),
            ]
        );
        assert!(target.content()[..1 << 20].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_disk_that_holds_something_else_is_only_cleared() {
        let image = manifest("111");
        let target = FaultyTarget::filled(4 * MIB, 0xA5);
        assert!(Ends::Both.clear_and_keep(&image, &target).unwrap().is_empty());
        assert_eq!(target.asked().len(), 3);
        target.refuse_flush(5);
        assert!(Ends::Head.clear_and_keep(&image, &target).is_err());
    }
}
