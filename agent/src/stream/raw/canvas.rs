//! The disk as the decoders see it: aligned blocks and runs of zeroes go to the writers, the first MiB stays here, and
//! so does a sector that belongs to two units until both have given their part.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{cut::Stopped, yard::Yard};
use crate::{
    stream::{
        failure::Ended,
        head::Withheld,
        stage::{PoolBuf, Stage},
    },
    target::{ALIGNMENT, AlignedBuf},
};

/// What is withheld of an image.
pub(super) const HEAD: u64 = 1 << 20;
/// The unit of all writes but the last.
pub(super) const SECTOR: u64 = ALIGNMENT as u64;
/// Zeroes are given to the disk when there are so many of them, or when data follows. The disks of tests are small.
pub(super) const ZERO_STEP: u64 = if cfg!(test) { 2 << 20 } else { 64 << 20 };

/// What a buffer in the write stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// A block of a unit, or zeroes.
    Block = 0,
    /// A sector that belongs to two units.
    Joint = 1,
}

/// The disk as the decoders see it.
#[derive(Debug)]
pub(super) struct Canvas {
    state: Mutex<State>,
    stage: Arc<Stage>,
    yard: Arc<Yard>,
    block: NonZeroU32,
    handed_on: AtomicU64,
}

#[derive(Debug)]
struct State {
    head: Option<AlignedBuf>,
    /// Sectors at the joints of units, and how many of their bytes came.
    joints: BTreeMap<u64, (Box<[u8]>, u64)>,
    /// Zeroes that were not handed on yet: neighbours are joined.
    zeroes: Range<u64>,
}

/// All that went to the disk, except for its head.
#[derive(Debug)]
pub(super) struct Painted {
    pub(super) head: Withheld,
    pub(super) head_bytes: u64,
    pub(super) image_bytes: u64,
    /// Bytes that the writers were given, padding included.
    pub(super) handed_on: u64,
}

impl Canvas {
    pub(super) fn new(stage: Arc<Stage>, yard: Arc<Yard>, block: NonZeroU32) -> Self {
        let head = AlignedBuf::new(usize::try_from(HEAD).expect("a MiB"));
        let state = State {
            head: Some(head),
            joints: BTreeMap::new(),
            zeroes: 0..0,
        };
        Canvas {
            state: Mutex::new(state),
            stage,
            yard,
            block,
            handed_on: AtomicU64::new(0),
        }
    }

    /// The memory for a buffer that was taken in the [`Yard`].
    pub(super) fn buffer(&self) -> Result<PoolBuf, Stopped> {
        self.stage.buffer().ok_or(Stopped::Elsewhere)
    }

    /// Whole sectors of data. Gives the buffer back when it isn't on its way to the disk.
    pub(super) fn write(&self, offset: u64, buffer: PoolBuf) -> Option<PoolBuf> {
        debug_assert!(offset.is_multiple_of(SECTOR) && (buffer.len() as u64).is_multiple_of(SECTOR));
        if offset >= HEAD {
            self.submit(offset, buffer, Tag::Block);
            return None;
        }
        debug_assert!(
            offset + buffer.len() as u64 <= HEAD,
            "blocks end where the head ends"
        );
        self.put_head(offset, &buffer);
        Some(buffer)
    }

    /// Whole sectors of zeroes.
    pub(super) fn zero(&self, mut range: Range<u64>) {
        debug_assert!(range.start.is_multiple_of(SECTOR) && range.end.is_multiple_of(SECTOR));
        // The head begins as zeroes.
        range.start = range.start.max(HEAD);
        while range.start < range.end {
            let mut state = self.state();
            if state.zeroes.is_empty() {
                state.zeroes = range.start..range.start;
            }
            let pending = state.zeroes.clone();
            let room = ZERO_STEP.saturating_sub(pending.end - pending.start);
            if pending.end == range.start && room > 0 {
                let step = room.min(range.end - range.start);
                state.zeroes.end += step;
                range.start += step;
                continue;
            }
            state.zeroes = 0..0;
            drop(state);
            self.send_zeroes(pending);
        }
    }

    /// A part of a sector, at the beginning or the end of a unit. `None`: zeroes.
    pub(super) fn join(&self, offset: u64, len: u64, bytes: Option<&[u8]>) -> Result<(), Stopped> {
        let sector = offset / SECTOR * SECTOR;
        debug_assert!(offset + len <= sector + SECTOR);
        if sector < HEAD {
            if let Some(bytes) = bytes {
                self.put_head(offset, bytes);
            }
            return Ok(());
        }
        let mut state = self.state();
        let (buffer, came) = state
            .joints
            .entry(sector)
            .or_insert_with(|| (vec![0; ALIGNMENT].into(), 0));
        if let Some(bytes) = bytes {
            let place = usize::try_from(offset - sector).expect("within a sector");
            buffer[place..place + bytes.len()].copy_from_slice(bytes);
        }
        *came += len;
        if *came < SECTOR {
            return Ok(());
        }
        let Some((buffer, _)) = state.joints.remove(&sector) else {
            return Ok(());
        };
        drop(state);
        self.write_joint(sector, &buffer)
    }

    /// All units are decoded: what is left goes to the disk, padded to its sectors.
    pub(super) fn finish(&self, image_bytes: u64) -> Result<Painted, Stopped> {
        let mut state = self.state();
        let zeroes = std::mem::take(&mut state.zeroes);
        let joints = std::mem::take(&mut state.joints);
        let head = state.head.take();
        drop(state);
        self.send_zeroes(zeroes);
        let block = self.block.get() as usize;
        for (sector, (bytes, came)) in joints {
            if sector + came != image_bytes {
                let what = format!("of the sector at {sector} only {came} bytes came");
                return Err(Stopped::Because(Ended::Internal { what }));
            }
            // The rest of the sector is zero already.
            let len = usize::try_from(came)
                .expect("less than a sector")
                .next_multiple_of(block);
            self.write_joint(sector, &bytes[..len])?;
        }
        let Some(mut head) = head.filter(|_| image_bytes > 0) else {
            return Err(Stopped::Because(Ended::WrongImage {
                what: "it is empty".to_owned(),
            }));
        };
        // Every byte once, and none twice: an overlap would have left one of two things on the disk.
        let handed_on = self.handed_on.load(Relaxed);
        if handed_on != image_bytes.next_multiple_of(block as u64).saturating_sub(HEAD) {
            let what = format!("of an image of {image_bytes} bytes, {handed_on} went to the disk");
            return Err(Stopped::Because(Ended::Internal { what }));
        }
        let head_bytes = image_bytes.min(HEAD);
        head.set_len(usize::try_from(head_bytes).expect("at most a MiB"));
        head.pad_to(block);
        Ok(Painted {
            head: Withheld::new(head),
            head_bytes,
            image_bytes,
            handed_on,
        })
    }

    fn put_head(&self, offset: u64, bytes: &[u8]) {
        let place = usize::try_from(offset).expect("within the head");
        if let Some(head) = &mut self.state().head {
            head[place..place + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn write_joint(&self, sector: u64, bytes: &[u8]) -> Result<(), Stopped> {
        self.yard.take_joint().ok_or(Stopped::Elsewhere)?;
        let mut buffer = self.buffer()?;
        buffer.set_len(bytes.len());
        buffer.copy_from_slice(bytes);
        self.submit(sector, buffer, Tag::Joint);
        Ok(())
    }

    fn submit(&self, offset: u64, buffer: PoolBuf, tag: Tag) {
        self.handed_on.fetch_add(buffer.len() as u64, Relaxed);
        self.stage.submit(buffer, offset, tag as u64);
    }

    fn send_zeroes(&self, range: Range<u64>) {
        if !range.is_empty() {
            self.handed_on.fetch_add(range.end - range.start, Relaxed);
            self.stage.zero(range, Tag::Block as u64);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
