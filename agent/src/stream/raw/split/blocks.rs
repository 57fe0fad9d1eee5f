//! Blocks of xz, as `xz -T` makes them: their headers tell how long they are, in the file and afterwards.
//!
//! Each becomes a file of its own, with a header, an index and a footer around it, which the library decodes and
//! checks. The index of the file itself is checked here, against the blocks that passed. A stream whose blocks don't
//! tell their lengths is handed on as it is.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use super::{
    super::{unit::Form, zst::frame::damaged},
    Act,
};

mod index;

use self::index::{Index, Records, put_number};

/// The first bytes of a stream.
const MAGIC: [u8; 6] = [0xFD, b'7', b'z', b'X', b'Z', 0];
const HEADER: usize = 12;
const FOOTER: usize = 12;
/// Length of the check behind a block, by its kind.
const CHECKS: [u64; 16] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const LZMA2: u64 = 0x21;

/// Finds the ends of blocks.
#[derive(Debug, Default)]
pub(in super::super) struct Blocks {
    expect: Expect,
    /// The small thing that is being read.
    small: BytesMut,
    /// The kind of the checks in this stream.
    check: u8,
    records: Records,
    /// Streams that ended.
    streams: u64,
}

#[derive(Debug, Default)]
enum Expect {
    #[default]
    Header,
    /// The first byte of a block header or of the index.
    Size,
    BlockHeader(usize),
    Block(u64),
    Index(Box<Index>),
    Footer {
        index: u64,
    },
    /// Zeroes between streams, four at a time, or the next stream.
    Padding,
    /// All the rest goes to one decoder.
    Rest,
}

/// What a block says of itself.
#[derive(Debug, PartialEq, Eq)]
struct BlockHeader {
    compressed: Option<u64>,
    plain: Option<u64>,
    dictionary: u64,
}

impl Blocks {
    pub(super) fn split(&mut self, mut piece: Bytes, acts: &mut Vec<Act>) -> io::Result<()> {
        while piece.has_remaining() {
            match &mut self.expect {
                Expect::Header => {
                    if self.collect(&mut piece, HEADER) {
                        self.header()?;
                    }
                }
                Expect::Size => {
                    if self.collect(&mut piece, 1) {
                        self.expect = match self.small[0] {
                            0 => {
                                self.small.clear();
                                Expect::Index(Box::new(Index::new()))
                            }
                            size => Expect::BlockHeader((usize::from(size) + 1) * 4),
                        };
                    }
                }
                Expect::BlockHeader(len) => {
                    let len = *len;
                    if self.collect(&mut piece, len) {
                        self.block(acts)?;
                    }
                }
                Expect::Block(left) => {
                    let step = usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
                    *left -= step as u64;
                    let ended = *left == 0;
                    acts.push(Act::Bytes(piece.split_to(step)));
                    if ended {
                        let len = Some(self.records.last_plain());
                        acts.push(Act::End { len });
                        self.expect = Expect::Size;
                    }
                }
                Expect::Index(index) => {
                    if let Some(len) = index.read(&mut piece, &self.records)? {
                        self.expect = Expect::Footer { index: len };
                    }
                }
                Expect::Footer { index } => {
                    let index = *index;
                    if self.collect(&mut piece, FOOTER) {
                        self.footer(index)?;
                    }
                }
                Expect::Padding => {
                    if self.collect(&mut piece, 4) {
                        if self.small[..] == [0; 4] {
                            self.small.clear();
                        } else {
                            self.expect = Expect::Header;
                        }
                    }
                }
                Expect::Rest => acts.push(Act::Bytes(std::mem::take(&mut piece))),
            }
        }
        Ok(())
    }

    /// The source has ended.
    pub(super) fn end(&mut self, acts: &mut Vec<Act>) -> io::Result<()> {
        match self.expect {
            // Their decoder knows whether that is the end.
            Expect::Rest | Expect::Block(_) => {
                acts.push(Act::End { len: None });
                Ok(())
            }
            Expect::Padding if self.small.is_empty() => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file ends within an xz stream",
            )),
        }
    }

    /// Reads until so many bytes are there.
    fn collect(&mut self, piece: &mut Bytes, need: usize) -> bool {
        let step = piece.len().min(need - self.small.len());
        self.small.put(piece.split_to(step));
        self.small.len() == need
    }

    fn header(&mut self) -> io::Result<()> {
        let header = &self.small;
        if header[..6] != MAGIC {
            let what = if self.streams == 0 {
                "it is no xz file"
            } else {
                "what follows its last xz stream is no xz stream"
            };
            return Err(damaged(what));
        }
        let sum = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if sum != crc32fast::hash(&header[6..8]) || header[6] != 0 || header[7] > 0x0F {
            return Err(damaged("the header of an xz stream is wrong"));
        }
        self.check = header[7];
        self.small.clear();
        self.records = Records::default();
        self.expect = Expect::Size;
        Ok(())
    }

    /// A block header came: decides how the block, or the rest of the file, is decoded.
    fn block(&mut self, acts: &mut Vec<Act>) -> io::Result<()> {
        let header = self.small.split().freeze();
        let block = parse(&header)?;
        let stream = stream_header(self.check);
        let mut lead = BytesMut::with_capacity(stream.len() + header.len());
        lead.put(&stream[..]);
        lead.put(header.clone());
        let lead = lead.freeze();
        let (Some(compressed), Some(plain)) = (block.compressed, block.plain) else {
            if !self.records.is_empty() {
                return Err(damaged(
                    "some of its xz blocks tell their lengths and some don't: compress it again",
                ));
            }
            acts.push(Act::Begin(Form::XzRest { lead }));
            self.expect = Expect::Rest;
            return Ok(());
        };
        let check = CHECKS[usize::from(self.check)];
        let unpadded = compressed
            .checked_add(header.len() as u64 + check)
            .filter(|unpadded| *unpadded < 1 << 62 && compressed > 0)
            .ok_or_else(|| damaged("an xz block has a senseless length"))?;
        self.records.add(unpadded, plain);
        acts.push(Act::Begin(Form::XzBlock {
            lead,
            trail: trail(self.check, unpadded, plain),
            memory: block.dictionary.min(plain),
        }));
        self.expect = Expect::Block(compressed.next_multiple_of(4) + check);
        Ok(())
    }

    fn footer(&mut self, index: u64) -> io::Result<()> {
        let expected = footer(self.check, index);
        if expected.as_ref().map(|footer| &footer[..]) != Some(&self.small[..]) {
            return Err(damaged("the footer of an xz stream is wrong"));
        }
        self.small.clear();
        self.streams += 1;
        self.expect = Expect::Padding;
        Ok(())
    }
}

/// A number as xz writes them: seven bits a byte.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn parse(header: &[u8]) -> io::Result<BlockHeader> {
    let wrong = || damaged("the header of an xz block is wrong");
    let (body, sum) = header.split_at(header.len() - 4);
    if sum != crc32fast::hash(body).to_le_bytes() {
        return Err(wrong());
    }
    let flags = body[1];
    let mut rest = &body[2..];
    let compressed = (flags & 0x40 != 0)
        .then(|| number(&mut rest).ok_or_else(wrong))
        .transpose()?;
    let plain = (flags & 0x80 != 0)
        .then(|| number(&mut rest).ok_or_else(wrong))
        .transpose()?;
    let mut dictionary = 0;
    for _ in 0..=flags & 3 {
        let (id, len) = number(&mut rest).zip(number(&mut rest)).ok_or_else(wrong)?;
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len <= rest.len())
            .ok_or_else(wrong)?;
        let (properties, after) = rest.split_at(len);
        rest = after;
        if let (LZMA2, [bits @ 0..=40]) = (id, properties) {
            dictionary = (2 | u64::from(bits & 1)) << (bits / 2 + 11);
        }
    }
    Ok(BlockHeader {
        compressed,
        plain,
        dictionary,
    })
}

fn stream_header(check: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..6].copy_from_slice(&MAGIC);
    header[7] = check;
    let sum = crc32fast::hash(&header[6..8]);
    header[8..].copy_from_slice(&sum.to_le_bytes());
    header
}

fn footer(check: u8, index: u64) -> Option<[u8; FOOTER]> {
    let mut footer = [0; FOOTER];
    let backward = u32::try_from(index / 4 - 1).ok()?;
    footer[4..8].copy_from_slice(&backward.to_le_bytes());
    footer[9] = check;
    footer[10..].copy_from_slice(b"YZ");
    let sum = crc32fast::hash(&footer[4..10]);
    footer[..4].copy_from_slice(&sum.to_le_bytes());
    Some(footer)
}

/// Index and footer of a stream with one block.
fn trail(check: u8, unpadded: u64, plain: u64) -> Bytes {
    let mut index = vec![0];
    for value in [1, unpadded, plain] {
        put_number(&mut index, value);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let mut hasher = Hasher::new();
    hasher.update(&index);
    index.extend_from_slice(&hasher.finalize().to_le_bytes());
    let footer = footer(check, index.len() as u64).expect("the index of one block is short");
    index.extend_from_slice(&footer);
    index.into()
}
