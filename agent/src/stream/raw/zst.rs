//! Decodes frames of zstd, block by block.
//!
//! What no other part of the agent knows is left out: the zeroes of an empty disk arrive as blocks of one repeated
//! byte, and are never made, copied or looked at. The checksum of a frame is computed only when no digest proves the
//! file: it would cost as much as the decoding.

pub(super) mod frame;
mod sys;

use std::io::{self, Read};

use bytes::Buf;
use twox_hash::XxHash64;

use self::{
    frame::{BlockHeader, BlockKind, FrameHeader, MAGIC, damaged, is_skippable},
    sys::Ring,
};
use super::{
    cut::{Cut, Stopped},
    unit::Parts,
};

/// Enough for `zstd --ultra -22` and `--long`; what `zstd` itself accepts without being told to.
const WINDOW_MAX: u64 = 128 << 20;
/// A ring for windows up to this size is kept from one unit to the next.
const KEEP: usize = 2 << 20;

/// The decoder of one thread.
#[derive(Debug)]
pub(super) struct Frames {
    ring: Option<Ring>,
    /// Whether checksums are looked at.
    check: bool,
}

impl Frames {
    pub(super) fn new(check: bool) -> Self {
        Frames { ring: None, check }
    }

    /// Decodes all frames of a unit.
    pub(super) fn decode(&mut self, parts: &mut Parts, cut: &mut Cut<'_>) -> Result<(), Stopped> {
        while !parts.is_at_end()? {
            let mut magic = [0; 4];
            parts.read_exact(&mut magic).map_err(cut_short)?;
            if magic == MAGIC {
                self.frame(parts, cut)?;
            } else if is_skippable(magic) {
                let mut size = [0; 4];
                parts.read_exact(&mut size).map_err(cut_short)?;
                parts.skip(u64::from(u32::from_le_bytes(size)))?;
            } else {
                return Err(damaged("what follows a zstd frame is no zstd frame").into());
            }
        }
        if self.ring.as_ref().is_some_and(|ring| ring.takes(KEEP + 1)) {
            self.ring = None;
        }
        Ok(())
    }

    fn frame(&mut self, parts: &mut Parts, cut: &mut Cut<'_>) -> Result<(), Stopped> {
        let mut bytes = [0; frame::HEADER_MAX];
        parts.read_exact(&mut bytes[..1]).map_err(cut_short)?;
        let len = FrameHeader::len(bytes[0]);
        parts.read_exact(&mut bytes[1..len]).map_err(cut_short)?;
        let header = FrameHeader::parse(&bytes[..len])?;
        if header.dictionary {
            return Err(damaged("it was compressed with a dictionary, which is not at hand").into());
        }
        // A frame that is shorter than its window needs no more than itself.
        let window = header.window.min(header.content.unwrap_or(u64::MAX));
        if window > WINDOW_MAX {
            let what = format!(
                "a zstd frame needs {} MiB of memory, {} are the most: compress it with a smaller --long",
                window >> 20,
                WINDOW_MAX >> 20
            );
            return Err(damaged(what).into());
        }
        let block_max = header.block_max();
        let window = usize::try_from(window).expect("checked above").max(block_max);
        cut.admit(window as u64)?;
        let ring = match &mut self.ring {
            Some(ring) if ring.takes(window) => ring,
            ring => {
                // The old one goes first.
                *ring = None;
                ring.insert(Ring::new(window)?)
            }
        };
        ring.begin(window, block_max)?;
        let mut hash = (self.check && header.checksum).then(|| XxHash64::with_seed(0));
        let mut done = 0_u64;
        loop {
            let mut bytes = [0; BlockHeader::LEN];
            parts.read_exact(&mut bytes).map_err(cut_short)?;
            let block = BlockHeader::parse(bytes)?;
            if block.size > block_max {
                return Err(damaged("a zstd block is larger than its frame allows").into());
            }
            done += one_block(ring, block, parts, cut, hash.as_mut())?;
            if header.content.is_some_and(|content| done > content) {
                return Err(damaged("a zstd frame is longer than it says").into());
            }
            if block.last {
                break;
            }
        }
        if header.content.is_some_and(|content| done != content) {
            return Err(damaged("a zstd frame is shorter than it says").into());
        }
        if header.checksum {
            let mut sum = [0; 4];
            parts.read_exact(&mut sum).map_err(cut_short)?;
            let got = hash.map(|hash| hash.finish_32());
            if got.is_some_and(|got| got != u32::from_le_bytes(sum)) {
                return Err(damaged("a zstd frame has a wrong checksum").into());
            }
        }
        Ok(())
    }
}

/// Decodes one block and tells how long it became.
fn one_block(
    ring: &mut Ring,
    block: BlockHeader,
    parts: &mut Parts,
    cut: &mut Cut<'_>,
    hash: Option<&mut XxHash64>,
) -> Result<u64, Stopped> {
    let stored = parts.take(block.stored()).map_err(cut_short)?;
    let plain = match block.kind {
        BlockKind::Repeat => {
            let byte = stored.chunk()[0];
            let plain = ring.repeat(byte, block.size);
            if byte == 0 && hash.is_none() {
                cut.zeroes(plain.len() as u64)?;
                return Ok(plain.len() as u64);
            }
            plain
        }
        BlockKind::Raw => {
            ring.plain(&stored);
            &stored[..]
        }
        BlockKind::Compressed => cut.meter().cpu(|| ring.compressed(&stored))?,
    };
    if let Some(hash) = hash {
        cut.meter().cpu(|| hash.add(plain));
    }
    cut.data(plain)?;
    Ok(plain.len() as u64)
}

/// The end of the source in the middle of a frame.
fn cut_short(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(error.kind(), "the file ends within a zstd frame")
    } else {
        error
    }
}

/// The part of a hasher that is used here.
trait Checksum {
    fn add(&mut self, bytes: &[u8]);
    fn finish_32(&self) -> u32;
}

impl Checksum for XxHash64 {
    fn add(&mut self, bytes: &[u8]) {
        std::hash::Hasher::write(self, bytes);
    }

    fn finish_32(&self) -> u32 {
        // A frame ends with the low half.
        u32::try_from(std::hash::Hasher::finish(self) & 0xFFFF_FFFF).expect("32 bits")
    }
}
