//! A disk in RAM that fails on purpose, for tests of everything above it.

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU32,
    ops::Range,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{AlignedBuf, DeviceId, Operation, Target, WriteError, Zeroed};

/// One thing that a [`FaultyTarget`] was asked to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Data for a range.
    Write(Range<u64>),
    /// Zeroes for a range.
    Zero(Range<u64>),
    /// A flush.
    Flush,
}

/// A disk in RAM, with faults.
#[derive(Debug)]
pub struct FaultyTarget {
    id: DeviceId,
    len: u64,
    logical_block: NonZeroU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    asked: Vec<Asked>,
    refused: BTreeMap<u64, i32>,
    lost: BTreeMap<u64, u8>,
    flush_fails: Option<i32>,
}

impl FaultyTarget {
    /// A disk of 512-byte sectors that is full of `byte`.
    ///
    /// # Panics
    /// When it doesn't fit into memory.
    #[must_use]
    pub fn filled(len: u64, byte: u8) -> Self {
        let content = vec![byte; usize::try_from(len).expect("a test's disk fits into memory")];
        let state = Mutex::new(State {
            content,
            ..State::default()
        });
        let logical_block = NonZeroU32::new(512).expect("512 is not zero");
        FaultyTarget {
            id: DeviceId::of(Path::new("faulty disk")),
            len,
            logical_block,
            state,
        }
    }

    /// The same disk with other sectors.
    #[must_use]
    pub fn with_logical_block(self, logical_block: NonZeroU32) -> Self {
        FaultyTarget {
            logical_block,
            ..self
        }
    }

    /// From now on, a write or zeroing that touches `offset` fails with `errno`.
    pub fn refuse(&self, offset: u64, errno: i32) {
        self.state().refused.insert(offset, errno);
    }

    /// From now on, every write that touches `offset` succeeds, but leaves `byte` there.
    pub fn corrupt(&self, offset: u64, byte: u8) {
        self.state().lost.insert(offset, byte);
    }

    /// From now on, every flush fails with `errno`.
    pub fn refuse_flush(&self, errno: i32) {
        self.state().flush_fails = Some(errno);
    }

    /// All faults end.
    pub fn mend(&self) {
        let mut state = self.state();
        state.refused.clear();
        state.lost.clear();
        state.flush_fails = None;
    }

    /// What the disk holds.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// All that was asked of it, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Whether nothing was written since the last flush.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        matches!(self.state().asked.last(), None | Some(Asked::Flush))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, operation: Operation, range: &Range<u64>, errno: i32) -> WriteError {
        let source = io::Error::from_raw_os_error(errno);
        let len = range.end - range.start;
        WriteError {
            device: self.id.clone(),
            operation,
            offset: range.start,
            len,
            source,
        }
    }

    /// Stores bytes, unless the range is outside of the disk, crooked or refused.
    fn store(&self, operation: Operation, range: Range<u64>, bytes: Option<&[u8]>) -> Result<(), WriteError> {
        let block = u64::from(self.logical_block.get());
        if !range.start.is_multiple_of(block) || !range.end.is_multiple_of(block) {
            return Err(self.failed(operation, &range, nix::libc::EINVAL));
        }
        if range.end > self.len {
            return Err(self.failed(operation, &range, nix::libc::ENOSPC));
        }
        let mut state = self.state();
        let refused = state.refused.range(range.clone()).next().map(|(_, &errno)| errno);
        if let Some(errno) = refused {
            return Err(self.failed(operation, &range, errno));
        }
        let place =
            usize::try_from(range.start).expect("in memory")..usize::try_from(range.end).expect("in memory");
        match bytes {
            Some(bytes) => state.content[place].copy_from_slice(bytes),
            None => state.content[place].fill(0),
        }
        let lost: Vec<_> = state
            .lost
            .range(range.clone())
            .map(|(&at, &byte)| (at, byte))
            .collect();
        for (at, byte) in lost {
            state.content[usize::try_from(at).expect("in memory")] = byte;
        }
        state.asked.push(if bytes.is_some() {
            Asked::Write(range)
        } else {
            Asked::Zero(range)
        });
        Ok(())
    }
}

impl Target for FaultyTarget {
    fn id(&self) -> &DeviceId {
        &self.id
    }

    fn identity(&self) -> String {
        "faulty".to_owned()
    }

    fn logical_block(&self) -> NonZeroU32 {
        self.logical_block
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.store(
            Operation::Write,
            offset..offset + buffer.len() as u64,
            Some(buffer),
        )
    }

    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let start = usize::try_from(offset).expect("in memory");
        let end = start + buffer.len();
        buffer.copy_from_slice(&self.state().content[start..end]);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        self.store(Operation::Zero, offset..offset + len, None)?;
        Ok(Zeroed::ByCommand)
    }

    fn flush(&self) -> Result<(), WriteError> {
        let mut state = self.state();
        if let Some(errno) = state.flush_fails {
            drop(state);
            return Err(self.failed(Operation::Flush, &(0..self.len), errno));
        }
        state.asked.push(Asked::Flush);
        Ok(())
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        Ok(())
    }
}
