//! Cuts what one unit becomes into blocks for the disk: whole sectors in buffers of a MiB, and runs of zeroes.

use std::{io, ops::Range};

use imprint_image::zero::is_zero;
use tokio_util::sync::CancellationToken;

use super::{
    canvas::{Canvas, HEAD, SECTOR, ZERO_STEP},
    yard::Yard,
};
use crate::{
    stream::{failure::Ended, progress::Meter, stage::PoolBuf},
    sys::stream_copy,
};

/// A plain image is cut into blocks of this size.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Decoded data is looked through for zeroes in steps of this size.
const STEP: usize = 128 << 10;

/// Why a decoder goes no further.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The source is lost or the write has ended, and others say why.
    Elsewhere,
    /// It has found something.
    Because(Ended),
}

impl From<io::Error> for Stopped {
    fn from(source: io::Error) -> Self {
        Stopped::Because(Ended::Decompress { source })
    }
}

/// What all cuts of one image share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) yard: &'a Yard,
    pub(super) canvas: &'a Canvas,
    pub(super) meter: &'a Meter,
    pub(super) stop: &'a CancellationToken,
    /// Size of the disk.
    pub(super) room: u64,
}

/// One unit on its way to the disk. As long as it isn't known where it begins, all positions count from its own first
/// byte.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    ground: Ground<'a>,
    unit: u64,
    placed: bool,
    /// Position of the unit's first byte, and what is to be added to every position to get the one on the disk.
    begin: u64,
    shift: u64,
    at: u64,
    open: Option<Open>,
    /// Zeroes before `at`, or before the open block.
    zeroes: Range<u64>,
    /// What waits for its place.
    held: Vec<Held>,
    /// A buffer that held zeroes and needed no write.
    spare: Option<PoolBuf>,
}

/// A block that is being filled, up to the position of the cut.
#[derive(Debug)]
struct Open {
    buffer: PoolBuf,
    /// Position of the first byte of the buffer: a sector, which may belong to the unit before in part.
    start: u64,
}

#[derive(Debug)]
enum Held {
    Data(PoolBuf),
    Zeroes(u64),
}

impl<'a> Cut<'a> {
    pub(super) fn new(ground: Ground<'a>, unit: u64) -> Result<Self, Stopped> {
        let mut cut = Cut {
            ground,
            unit,
            placed: false,
            begin: 0,
            shift: 0,
            at: 0,
            open: None,
            zeroes: 0..0,
            held: Vec::new(),
            spare: None,
        };
        if let Some(start) = ground.yard.known_start(unit) {
            cut.place(start)?;
        }
        Ok(cut)
    }

    pub(super) fn meter(&self) -> &'a Meter {
        self.ground.meter
    }

    /// Waits until the decoder may take so much memory.
    pub(super) fn admit(&self, bytes: u64) -> Result<(), Stopped> {
        let waited = self
            .ground
            .meter
            .idle(|| self.ground.yard.admit(self.unit, bytes));
        waited.ok_or(Stopped::Elsewhere)
    }

    /// The next bytes of the unit.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        for step in bytes.chunks(STEP) {
            if is_zero(step) {
                self.zeroes(step.len() as u64)?;
                continue;
            }
            let mut rest = step;
            while !rest.is_empty() {
                let space = self.space()?;
                let len = space.len().min(rest.len());
                stream_copy::copy(&mut space[..len], &rest[..len]);
                self.filled(len)?;
                rest = &rest[len..];
            }
        }
        Ok(())
    }

    /// The next bytes of the unit are zero.
    pub(super) fn zeroes(&mut self, mut len: u64) -> Result<(), Stopped> {
        if self.open.is_some() {
            let step = (self.block_end() - self.at).min(len);
            let space = self.space()?;
            let step_len = usize::try_from(step).expect("within a block");
            space[..step_len].fill(0);
            self.filled(step_len)?;
            len -= step;
        }
        if len > 0 {
            self.check(len)?;
            self.join_zeroes(self.at..self.at + len);
            self.at += len;
        }
        // The disk has something to do meanwhile.
        let whole = self.at / BLOCK * BLOCK;
        let enough = !self.zeroes.is_empty() && whole.saturating_sub(self.zeroes.start) >= ZERO_STEP;
        if self.placed && enough {
            let rest = whole..self.at;
            self.zeroes.end = whole;
            self.flush_zeroes()?;
            self.zeroes = rest;
        }
        Ok(())
    }

    /// Room for the next bytes of the unit: at least one, and not more than a block.
    pub(super) fn space(&mut self) -> Result<&mut [u8], Stopped> {
        if self.open.is_none() {
            self.open_block()?;
        }
        let (at, end) = (self.at, self.block_end());
        let open = self.open.as_mut().expect("opened above");
        let place = |position: u64| usize::try_from(position - open.start).expect("within a block");
        let range = place(at)..place(end);
        open.buffer.set_len(range.end);
        Ok(&mut open.buffer[range])
    }

    /// So much of the [space](Self::space) was filled.
    pub(super) fn filled(&mut self, len: usize) -> Result<(), Stopped> {
        if len == 0 {
            return Ok(());
        }
        self.check(len as u64)?;
        self.at += len as u64;
        if self.at == self.block_end_of(self.at - 1) {
            self.close_block()?;
        }
        Ok(())
    }

    /// The unit ends here: waits for its place and hands on all that is left.
    pub(super) fn finish(mut self) -> Result<(), Stopped> {
        if !self.placed {
            let start = self.ground.meter.idle(|| self.ground.yard.start(self.unit));
            self.place(start.ok_or(Stopped::Elsewhere)?)?;
        }
        self.close_block()?;
        self.flush_zeroes()?;
        if let Some(spare) = self.spare.take() {
            self.give(spare);
        }
        self.ground.yard.finished(self.unit, self.at - self.begin);
        Ok(())
    }

    /// Refuses what goes beyond the disk, and ends when others have ended.
    fn check(&self, len: u64) -> Result<(), Stopped> {
        if self.ground.stop.is_cancelled() {
            return Err(Stopped::Elsewhere);
        }
        let end = self.at.checked_add(self.shift).and_then(|at| at.checked_add(len));
        if end.is_none_or(|end| end > self.ground.room) {
            let what = format!("it is longer than the {} bytes of the disk", self.ground.room);
            return Err(Stopped::Because(Ended::WrongImage { what }));
        }
        Ok(())
    }

    fn block_end(&self) -> u64 {
        self.block_end_of(self.at)
    }

    fn block_end_of(&self, position: u64) -> u64 {
        (position / BLOCK + 1) * BLOCK
    }

    fn open_block(&mut self) -> Result<(), Stopped> {
        let buffer = loop {
            if let Some(buffer) = self.spare.take() {
                break buffer;
            }
            let start = self.ground.meter.blocked(|| self.ground.yard.take(self.unit));
            let start = start.ok_or(Stopped::Elsewhere)?;
            self.keep(self.ground.canvas.buffer()?);
            if let Some(start) = start.filter(|_| !self.placed) {
                self.place(start)?;
                if self.open.is_some() {
                    // What was held has its place now, and its end became the open block.
                    return Ok(());
                }
            }
        };
        let start = (self.at / BLOCK * BLOCK).max(self.begin / SECTOR * SECTOR);
        let place = |position: u64| usize::try_from(position - start).expect("within a block");
        // Zeroes that lie in the same block are written with it.
        let zeroes = std::mem::take(&mut self.zeroes);
        let from = if zeroes.is_empty() {
            self.at
        } else {
            zeroes.start.max(start)
        };
        if zeroes.start < from {
            self.zeroes = zeroes.start..zeroes.end.min(from);
        }
        let mut open = Open { buffer, start };
        open.buffer.set_len(place(self.at));
        open.buffer[place(from)..].fill(0);
        self.open = Some(open);
        self.flush_zeroes()
    }

    /// Hands on the open block.
    fn close_block(&mut self) -> Result<(), Stopped> {
        let Some(Open { mut buffer, start }) = self.open.take() else {
            return Ok(());
        };
        let place = |position: u64| usize::try_from(position - start).expect("within a block");
        let from = place(self.begin.max(start));
        buffer.set_len(place(self.at));
        if is_zero(&buffer[from..]) {
            self.keep(buffer);
            self.join_zeroes(self.begin.max(start)..self.at);
            return Ok(());
        }
        if !self.placed {
            self.hold_zeroes();
            self.held.push(Held::Data(buffer));
            return Ok(());
        }
        self.flush_zeroes()?;
        self.emit(start, from, buffer)
    }

    /// Hands on data; `from` is where the unit begins within the buffer.
    fn emit(&mut self, start: u64, from: usize, mut buffer: PoolBuf) -> Result<(), Stopped> {
        let canvas = self.ground.canvas;
        let sector = usize::try_from(SECTOR).expect("small");
        let mut offset = start + self.shift;
        if from > 0 {
            // The first sector belongs to the unit before as well.
            let end = buffer.len().min(sector);
            canvas.join(
                offset + from as u64,
                (end - from) as u64,
                Some(&buffer[from..end]),
            )?;
            buffer.copy_within(end.., 0);
            let left = buffer.len() - end;
            buffer.set_len(left);
            offset += SECTOR;
        }
        let whole = buffer.len() / sector * sector;
        if whole < buffer.len() {
            // And the last one to the unit that follows.
            let tail = &buffer[whole..];
            canvas.join(offset + whole as u64, tail.len() as u64, Some(tail))?;
            buffer.set_len(whole);
        }
        let back = if whole > 0 {
            canvas.write(offset, buffer)
        } else {
            Some(buffer)
        };
        if let Some(buffer) = back {
            self.give(buffer);
        }
        Ok(())
    }

    /// Keeps a buffer for the next block.
    fn keep(&mut self, buffer: PoolBuf) {
        if let Some(second) = self.spare.replace(buffer) {
            self.give(second);
        }
    }

    /// Returns a buffer.
    fn give(&self, buffer: PoolBuf) {
        drop(buffer);
        self.ground.yard.give();
    }

    fn join_zeroes(&mut self, range: Range<u64>) {
        if self.zeroes.is_empty() {
            self.zeroes = range;
        } else {
            debug_assert_eq!(self.zeroes.end, range.start);
            self.zeroes.end = range.end;
        }
    }

    fn hold_zeroes(&mut self) {
        let zeroes = std::mem::take(&mut self.zeroes);
        if !zeroes.is_empty() {
            self.held.push(Held::Zeroes(zeroes.end - zeroes.start));
        }
    }

    fn flush_zeroes(&mut self) -> Result<(), Stopped> {
        if !self.placed {
            self.hold_zeroes();
            return Ok(());
        }
        let zeroes = std::mem::take(&mut self.zeroes);
        if zeroes.is_empty() {
            return Ok(());
        }
        let canvas = self.ground.canvas;
        let (start, end) = (zeroes.start + self.shift, zeroes.end + self.shift);
        let (first, last) = (start.next_multiple_of(SECTOR), end / SECTOR * SECTOR);
        if first > last {
            return canvas.join(start, end - start, None);
        }
        if start < first {
            canvas.join(start, first - start, None)?;
        }
        if first < last {
            canvas.zero(first..last);
        }
        if last < end {
            canvas.join(last, end - last, None)?;
        }
        Ok(())
    }

    /// It is known now where the unit begins: what was held goes on.
    fn place(&mut self, start: u64) -> Result<(), Stopped> {
        self.placed = true;
        let open = self.open.take();
        let tail = open.map(|mut open| {
            let len = usize::try_from(self.at - open.start).expect("within a block");
            open.buffer.set_len(len);
            open.buffer
        });
        if tail.is_none() {
            self.hold_zeroes();
        }
        let pending = std::mem::take(&mut self.zeroes);
        debug_assert!(
            pending.is_empty(),
            "an open block has handed on what was before it"
        );
        let held = std::mem::take(&mut self.held);
        let fits = start == 0 || start.is_multiple_of(SECTOR) && start >= HEAD;
        if fits {
            // The blocks lie as they should: only their positions were wrong.
            self.shift = start;
            let tail_len = tail.as_ref().map_or(0, |tail| tail.len() as u64);
            let end = self.at;
            self.at = 0;
            for held in held {
                match held {
                    Held::Zeroes(len) => {
                        self.check(len)?;
                        self.join_zeroes(self.at..self.at + len);
                        self.at += len;
                    }
                    Held::Data(buffer) => {
                        self.check(buffer.len() as u64)?;
                        self.flush_zeroes()?;
                        let position = self.at;
                        self.at += buffer.len() as u64;
                        self.emit(position, 0, buffer)?;
                    }
                }
            }
            debug_assert_eq!(self.at + tail_len, end);
            if let Some(buffer) = tail {
                self.check(tail_len)?;
                self.flush_zeroes()?;
                self.open = Some(Open {
                    buffer,
                    start: self.at,
                });
                self.at = end;
            }
            return Ok(());
        }
        (self.begin, self.at) = (start, start);
        for held in held.into_iter().chain(tail.map(Held::Data)) {
            match held {
                Held::Zeroes(len) => self.zeroes(len)?,
                Held::Data(buffer) => {
                    self.data(&buffer)?;
                    self.give(buffer);
                }
            }
        }
        Ok(())
    }
}
