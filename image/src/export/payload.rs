//! What a chunk becomes before it is put into a file. Made on many threads.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::zero::is_zero;

/// Plain bytes of a grain.
pub(super) const GRAIN_BYTES: usize = 64 << 10;
/// More than deflate adds to what it cannot compress.
const GRAIN_SLACK: usize = 1 << 10;
/// Grains of text and programs become about as small as at level 6, in half the time.
const LEVEL: u32 = 3;

/// What a format wants of each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Plain,
    Frame,
    /// The frame of a whole chunk, the plain bytes of a short one.
    WholeFrame,
    Grains,
}

/// One chunk, as it was wanted.
#[derive(Debug)]
pub(super) enum Payload {
    Plain(Vec<u8>),
    /// One zstd frame that was proven.
    Frame(Vec<u8>),
    /// The grains that are not all zero, by their number in the chunk.
    Grains(Vec<(u8, Vec<u8>)>),
    /// So many bytes that lie before what is wanted of the file.
    Absent(u64),
}

/// Compresses grains; one per thread.
#[derive(Debug)]
pub(super) struct Grinder {
    codec: Compress,
    last: Vec<u8>,
}

impl Grinder {
    pub fn new() -> Self {
        Self {
            codec: Compress::new(Compression::new(LEVEL), true),
            last: Vec::new(),
        }
    }

    /// The grains of a chunk. The last one of a disk is filled up with zeros.
    pub fn grains(&mut self, plain: &[u8]) -> io::Result<Vec<(u8, Vec<u8>)>> {
        let mut grains = Vec::new();
        for (number, grain) in (0u8..).zip(plain.chunks(GRAIN_BYTES)) {
            if is_zero(grain) {
                continue;
            }
            let packed = if grain.len() == GRAIN_BYTES {
                deflate(&mut self.codec, grain)?
            } else {
                self.last.clear();
                self.last.extend_from_slice(grain);
                self.last.resize(GRAIN_BYTES, 0);
                deflate(&mut self.codec, &self.last)?
            };
            grains.push((number, packed));
        }
        Ok(grains)
    }
}

fn deflate(codec: &mut Compress, grain: &[u8]) -> io::Result<Vec<u8>> {
    codec.reset();
    let mut packed = Vec::with_capacity(GRAIN_BYTES + GRAIN_SLACK);
    let status = codec
        .compress_vec(grain, &mut packed, FlushCompress::Finish)
        .map_err(io::Error::other)?;
    if status != Status::StreamEnd {
        return Err(io::Error::other("a grain became longer than deflate can make it"));
    }
    packed.shrink_to_fit();
    Ok(packed)
}

impl Payload {
    /// Writes the bytes of a chunk that was wanted plain.
    pub fn put_plain(self, out: &mut super::Output<'_>) -> io::Result<()> {
        match self {
            Self::Plain(plain) => out.write(&plain),
            Self::Absent(bytes) => {
                out.absent(bytes);
                Ok(())
            }
            Self::Frame(_) | Self::Grains(_) => unreachable!("plain bytes were wanted"),
        }
    }

    /// Writes the frame of a chunk that was wanted as a frame.
    pub fn put_frame(self, out: &mut super::Output<'_>) -> io::Result<()> {
        match self {
            Self::Frame(frame) => out.write(&frame),
            Self::Absent(bytes) => {
                out.absent(bytes);
                Ok(())
            }
            Self::Plain(_) | Self::Grains(_) => unreachable!("a frame was wanted"),
        }
    }
}
