//! Frames of zstd: each block tells its length, so their ends are found without decoding.

use std::io;

use bytes::{Buf, Bytes};

use super::{
    super::{
        unit::Form,
        zst::frame::{BLOCK_MAX, BlockHeader, FrameHeader, HEADER_MAX, MAGIC, damaged, is_skippable},
    },
    Act,
};

/// A unit is at least this long, if the file is: smaller frames are decoded together.
const UNIT_BYTES: u64 = 256 << 10;
/// And it becomes at least this long.
const UNIT_PLAIN: u64 = 16 << 20;

/// Finds the ends of frames.
#[derive(Debug, Default)]
pub(in super::super) struct Frames {
    expect: Expect,
    /// The header that is being read, and how much of it came.
    header: [u8; HEADER_MAX],
    have: usize,
    /// Where in the file.
    at: u64,
    frame: Frame,
    /// The unit that is being passed on.
    unit: Option<Group>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Expect {
    #[default]
    Magic,
    Descriptor,
    Header(usize),
    Block,
    SkipSize,
    /// So many bytes, and then this.
    Pass(u64, Then),
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Block,
    FrameEnd,
}

#[derive(Debug, Default, Clone, Copy)]
struct Frame {
    content: Option<u64>,
    checksum: bool,
    /// At most so long.
    bound: u64,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    bytes: u64,
    bound: u64,
    len: Option<u64>,
}

impl Frames {
    pub(super) fn split(&mut self, mut piece: Bytes, acts: &mut Vec<Act>) -> io::Result<()> {
        // Bytes of the piece that were looked at and not passed on yet.
        let mut seen = 0;
        while seen < piece.len() {
            if self.unit.is_none() {
                acts.push(Act::Begin(Form::Zstd));
                self.unit = Some(Group {
                    bytes: 0,
                    bound: 0,
                    len: Some(0),
                });
            }
            let (step, frame) = self.step(&piece[seen..])?;
            seen += step;
            self.at += step as u64;
            let Some(unit) = &mut self.unit else { continue };
            unit.bytes += step as u64;
            let Some(frame) = frame else { continue };
            unit.bound += frame.bound;
            unit.len = unit
                .len
                .zip(frame.content)
                .and_then(|(before, frame)| before.checked_add(frame));
            if unit.bytes >= UNIT_BYTES || unit.bound >= UNIT_PLAIN {
                let len = unit.len;
                self.unit = None;
                acts.push(Act::Bytes(piece.split_to(seen)));
                acts.push(Act::End { len });
                seen = 0;
            }
        }
        if piece.has_remaining() {
            acts.push(Act::Bytes(piece));
        }
        Ok(())
    }

    /// The source has ended: within a frame, which its decoder will notice, or between two.
    pub(super) fn end(&mut self, acts: &mut Vec<Act>) {
        if let Some(unit) = self.unit.take() {
            let between = matches!(self.expect, Expect::Magic) && self.have == 0;
            let len = unit.len.filter(|_| between);
            acts.push(Act::End { len });
        }
    }

    /// Looks at some of the bytes: tells how many, and the frame that ends with them.
    fn step(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<Frame>)> {
        let need = match self.expect {
            Expect::Pass(left, then) => {
                let step = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let left = left - step as u64;
                self.expect = Expect::Pass(left, then);
                if left > 0 {
                    return Ok((step, None));
                }
                return Ok(match then {
                    Then::Block => {
                        self.expect = Expect::Block;
                        (step, None)
                    }
                    Then::FrameEnd => {
                        self.expect = Expect::Magic;
                        (step, Some(self.frame))
                    }
                });
            }
            Expect::Magic | Expect::SkipSize => 4,
            Expect::Descriptor => 1,
            Expect::Header(len) => len,
            Expect::Block => BlockHeader::LEN,
        };
        let step = bytes.len().min(need - self.have);
        self.header[self.have..self.have + step].copy_from_slice(&bytes[..step]);
        self.have += step;
        if self.have < need {
            return Ok((step, None));
        }
        // The first byte of a frame's header belongs to it.
        if !matches!(self.expect, Expect::Descriptor) {
            self.have = 0;
        }
        let first = [self.header[0], self.header[1], self.header[2], self.header[3]];
        match self.expect {
            Expect::Magic if first == MAGIC => self.expect = Expect::Descriptor,
            Expect::Magic if is_skippable(first) => self.expect = Expect::SkipSize,
            Expect::Magic => {
                let place = self.at + step as u64 - 4;
                return Err(damaged(format!(
                    "what follows its last zstd frame, at byte {place} of the file, is no zstd frame"
                )));
            }
            Expect::Descriptor => {
                let len = FrameHeader::len(first[0]);
                self.expect = Expect::Header(len);
                if len == 1 {
                    self.have = 0;
                    self.header_came(1)?;
                }
            }
            Expect::Header(len) => self.header_came(len)?,
            Expect::SkipSize => {
                self.frame = Frame {
                    content: Some(0),
                    ..Frame::default()
                };
                let size = u64::from(u32::from_le_bytes(first));
                return Ok((step, self.pass(size, Then::FrameEnd)));
            }
            Expect::Block => {
                let block = BlockHeader::parse([first[0], first[1], first[2]])?;
                self.frame.bound += BLOCK_MAX as u64;
                let then = if block.last { Then::FrameEnd } else { Then::Block };
                let sum = if block.last && self.frame.checksum { 4 } else { 0 };
                return Ok((step, self.pass(block.stored() as u64 + sum, then)));
            }
            Expect::Pass(..) => {}
        }
        Ok((step, None))
    }

    fn header_came(&mut self, len: usize) -> io::Result<()> {
        let header = FrameHeader::parse(&self.header[..len])?;
        self.frame = Frame {
            content: header.content,
            checksum: header.checksum,
            bound: 0,
        };
        self.expect = Expect::Block;
        Ok(())
    }

    /// Leaves out some bytes; a frame can end without any.
    fn pass(&mut self, bytes: u64, then: Then) -> Option<Frame> {
        match (bytes, then) {
            (0, Then::FrameEnd) => {
                self.expect = Expect::Magic;
                Some(self.frame)
            }
            (0, Then::Block) => {
                self.expect = Expect::Block;
                None
            }
            _ => {
                self.expect = Expect::Pass(bytes, then);
                None
            }
        }
    }
}
