//! One archive after the other in an initramfs, each plain or compressed in its own way.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream as XzStream;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::cpio::is_header;
use crate::facts::fault::Fault;

const BUFFER_BYTES: usize = 64 << 10;
/// What is looked at to tell archives and compressions apart.
const HEAD_BYTES: usize = 6;
/// What `xz -9` needs is 65 MiB; kernels accept little more.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
const ZSTD_WINDOW_LOG: u32 = 27;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];
/// The block of the old lz4 form, which is the one that kernels take.
const LZ4_BLOCK_BYTES: usize = 8 << 20;
/// What such a block can have at most when nothing in it can be compressed.
const LZ4_MAX_PACKED_BYTES: usize = LZ4_BLOCK_BYTES + LZ4_BLOCK_BYTES / 255 + 16;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Xz,
    Lzma,
    Zstd,
    Lz4,
    Bzip2,
    Lzo,
}

impl Compression {
    pub fn detect(head: &[u8]) -> Option<Self> {
        Some(match head {
            _ if is_header(head) => Self::None,
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0xFD, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            [0x5D, 0, 0, ..] => Self::Lzma,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            [0x02, 0x21, 0x4C, 0x18, ..] => Self::Lz4,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0x89, b'L', b'Z', b'O', ..] => Self::Lzo,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzo => "lzo",
        }
    }

    /// Lets `archives` read what is compressed, to its end, and gives back the input behind it.
    pub fn decompress<R: Read>(
        self,
        input: Input<R>,
        budget: Budget<'_>,
        mut archives: impl FnMut(&mut dyn BufReadPeek) -> Result<(), Fault>,
    ) -> Result<Input<R>, Fault> {
        let run = |decoder: &mut dyn Read| archives(&mut Input::new(budget.around(decoder)));
        match self {
            Self::Gzip => {
                let mut decoder = GzDecoder::new(input);
                run(&mut decoder)?;
                Ok(decoder.into_inner())
            }
            Self::Xz | Self::Lzma => {
                let stream = match self {
                    Self::Xz => XzStream::new_stream_decoder(XZ_MEMORY_BYTES, 0),
                    _ => XzStream::new_lzma_decoder(XZ_MEMORY_BYTES),
                };
                let stream = stream.map_err(|error| fault(error.into()))?;
                let mut decoder = XzDecoder::new_stream(input, stream);
                run(&mut decoder)?;
                Ok(decoder.into_inner())
            }
            Self::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(input).map_err(fault)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(fault)?;
                run(&mut decoder)?;
                Ok(decoder.finish())
            }
            Self::Lz4 => {
                let mut decoder = Lz4::new(input);
                run(&mut decoder)?;
                Ok(decoder.input)
            }
            Self::None | Self::Bzip2 | Self::Lzo => Err(Fault::unsupported(format!(
                "there is no reader for {}",
                self.name()
            ))),
        }
    }
}

/// How much may come out of decompressors.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    left: &'a mut u64,
}

impl<'a> Budget<'a> {
    pub fn new(left: &'a mut u64) -> Self {
        Self { left }
    }

    fn around<R: Read>(self, inner: R) -> Limited<'a, R> {
        Limited { inner, budget: self }
    }
}

struct Limited<'a, R> {
    inner: R,
    budget: Budget<'a>,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(out)?;
        match self.budget.left.checked_sub(got as u64) {
            Some(left) => *self.budget.left = left,
            None => {
                return Err(Fault::limit("the image's initramfs decompress to more than is read").into_io());
            }
        }
        Ok(got)
    }
}

/// A buffered reader that can be looked into.
pub(super) trait BufReadPeek: BufRead {
    /// The next bytes, [`HEAD_BYTES`] of them if there are so many, without taking them.
    fn peek(&mut self) -> io::Result<&[u8]>;
}

/// The buffer in front of a file or a decompressor.
#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Decompressors are not asked again once they have ended.
    ended: bool,
}

impl<R: Read> Input<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            ended: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if !self.ended {
            let got = self.inner.read(&mut self.buffer[self.end..])?;
            self.ended = got == 0;
            self.end += got;
        }
        Ok(())
    }
}

impl<R: Read> BufReadPeek for Input<R> {
    fn peek(&mut self) -> io::Result<&[u8]> {
        if self.end - self.start < HEAD_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < HEAD_BYTES && !self.ended {
                self.fill()?;
            }
        }
        let end = self.end.min(self.start + HEAD_BYTES);
        Ok(&self.buffer[self.start..end])
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let now = there.len().min(out.len());
        out[..now].copy_from_slice(&there[..now]);
        self.consume(now);
        Ok(now)
    }
}

/// Goes over zeros and gives the first bytes after them, or nothing at the end.
pub(super) fn skip_zeros(input: &mut dyn BufReadPeek) -> Result<Option<Vec<u8>>, Fault> {
    loop {
        let there = input.fill_buf().map_err(fault)?;
        if there.is_empty() {
            return Ok(None);
        }
        let zeros = there.iter().take_while(|byte| **byte == 0).count();
        let more = zeros == there.len();
        input.consume(zeros);
        if !more {
            return Ok(Some(input.peek().map_err(fault)?.to_vec()));
        }
    }
}

/// What reading or decompressing an archive met.
pub(super) fn fault(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Fault::damaged("an archive that ends before its trailer");
    }
    Fault::from_io(error, "an archive")
}

/// The old form of lz4: a magic number, then blocks with their lengths. Nothing says where it ends but a length
/// that is none.
struct Lz4<R> {
    input: Input<R>,
    packed: Vec<u8>,
    plain: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Lz4<R> {
    fn new(input: Input<R>) -> Self {
        Self {
            input,
            packed: Vec::new(),
            plain: vec![0; LZ4_BLOCK_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// Decodes the next block; says whether there was one.
    fn next_block(&mut self) -> io::Result<bool> {
        loop {
            let Some(head) = self.input.peek()?.first_chunk::<4>().copied() else {
                return Ok(false);
            };
            if head == LZ4_MAGIC {
                self.input.consume(4);
                continue;
            }
            let length = u32::from_le_bytes(head) as usize;
            if length == 0 || length > LZ4_MAX_PACKED_BYTES {
                return Ok(false);
            }
            self.input.consume(4);
            self.packed.resize(length, 0);
            self.input.read_exact(&mut self.packed)?;
            self.start = 0;
            self.end = lz4_flex::block::decompress_into(&self.packed, &mut self.plain)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            return Ok(true);
        }
    }
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.end {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let now = (self.end - self.start).min(out.len());
        out[..now].copy_from_slice(&self.plain[self.start..self.start + now]);
        self.start += now;
        Ok(now)
    }
}
