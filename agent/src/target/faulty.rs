//! A disk in RAM that fails on purpose, for tests of everything above it.

mod rule;

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU32,
    ops::Range,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use self::rule::Rules;
pub use self::rule::{DiskFault, Rule};
use super::{AlignedBuf, DeviceId, Operation, Target, WriteError, Zeroed, whole::write_whole};

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
    rotates: bool,
    zeroes_by: Zeroed,
    state: Mutex<State>,
    /// Wakes those that hang.
    mended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    asked: Vec<Asked>,
    refused: BTreeMap<u64, i32>,
    lost: BTreeMap<u64, u8>,
    flush_fails: Option<i32>,
    rules: Rules,
    mends: u64,
}

impl FaultyTarget {
    /// A disk of 512-byte sectors that is full of `byte`.
    ///
    /// # Panics
    /// When it doesn't fit into memory.
    #[must_use]
    pub fn filled(len: u64, byte: u8) -> Self {
        FaultyTarget::holding(vec![
            byte;
            usize::try_from(len).expect("a test's disk fits into memory")
        ])
    }

    /// A disk of 512-byte sectors that holds this.
    ///
    /// # Panics
    /// Never: 512 is not zero.
    #[must_use]
    pub fn holding(content: Vec<u8>) -> Self {
        FaultyTarget {
            id: DeviceId::of(Path::new("faulty disk")),
            len: content.len() as u64,
            logical_block: NonZeroU32::new(512).expect("512 is not zero"),
            rotates: false,
            zeroes_by: Zeroed::ByCommand,
            state: Mutex::new(State {
                content,
                ..State::default()
            }),
            mended: Condvar::new(),
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

    /// The same disk with heads that have to move.
    #[must_use]
    pub fn rotating(self) -> Self {
        FaultyTarget {
            rotates: true,
            ..self
        }
    }

    /// The same disk without a command for zeroes.
    #[must_use]
    pub fn without_zero_command(self) -> Self {
        FaultyTarget {
            zeroes_by: Zeroed::ByWriting,
            ..self
        }
    }

    /// From now on, this fault strikes when its time has come.
    pub fn inject(&self, rule: Rule) {
        self.state().rules.add(rule);
    }

    /// Each strike of an injected fault, in order.
    #[must_use]
    pub fn fired(&self) -> Vec<Rule> {
        self.state().rules.fired().to_vec()
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

    /// All faults end; what hangs goes on at once.
    pub fn mend(&self) {
        let mut state = self.state();
        state.refused.clear();
        state.lost.clear();
        state.flush_fails = None;
        state.rules.clear();
        state.mends += 1;
        drop(state);
        self.mended.notify_all();
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

    fn failed(&self, operation: Operation, range: &Range<u64>, source: io::Error) -> WriteError {
        let len = range.end - range.start;
        WriteError {
            device: self.id.clone(),
            operation,
            offset: range.start,
            len,
            source,
        }
    }

    /// Lets an injected fault strike. What is left to do is to turn a bit, or to take only so many bytes.
    fn strike(&self, operation: Operation, range: &Range<u64>) -> io::Result<Option<Rule>> {
        let mut state = self.state();
        let struck = state.rules.strike(operation, range);
        match struck.map(|rule| rule.fault) {
            Some(DiskFault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(DiskFault::Stall(time)) => {
                let before = state.mends;
                drop(
                    self.mended
                        .wait_timeout_while(state, time, |state| state.mends == before)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                Ok(None)
            }
            Some(DiskFault::Short(_) | DiskFault::Flip) | None => Ok(struck),
        }
    }

    /// What the kernel does with a write: takes some of it, or refuses.
    fn take(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let struck = self.strike(Operation::Write, &(offset..offset + bytes.len() as u64))?;
        let mut taken = bytes.len();
        let mut turned = None;
        match struck {
            Some(Rule {
                fault: DiskFault::Short(most),
                ..
            }) => {
                let block = self.logical_block.get() as usize;
                taken = (most / block * block).clamp(block.min(taken), taken);
            }
            Some(Rule { place, .. }) => turned = Some(place),
            None => {}
        }
        self.store(offset..offset + taken as u64, Some(&bytes[..taken]))?;
        if let Some(place) = turned {
            self.state().content[index(place)] ^= 1;
        }
        Ok(taken)
    }

    /// Stores bytes, unless the range is outside of the disk, crooked or refused.
    fn store(&self, range: Range<u64>, bytes: Option<&[u8]>) -> io::Result<()> {
        let block = u64::from(self.logical_block.get());
        let refused = |errno| Err(io::Error::from_raw_os_error(errno));
        if !range.start.is_multiple_of(block) || !range.end.is_multiple_of(block) {
            return refused(nix::libc::EINVAL);
        }
        if range.end > self.len {
            return refused(nix::libc::ENOSPC);
        }
        let mut state = self.state();
        if let Some((_, &errno)) = state.refused.range(range.clone()).next() {
            return refused(errno);
        }
        let place = index(range.start)..index(range.end);
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
            state.content[index(at)] = byte;
        }
        state.asked.push(if bytes.is_some() {
            Asked::Write(range)
        } else {
            Asked::Zero(range)
        });
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("in memory")
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

    fn rotates(&self) -> bool {
        self.rotates
    }

    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let range = offset..offset + buffer.len() as u64;
        write_whole(buffer, offset, |bytes, at| self.take(bytes, at))
            .map_err(|source| self.failed(Operation::Write, &range, source))
    }

    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        let range = offset..offset + buffer.len() as u64;
        let struck = self
            .strike(Operation::Read, &range)
            .map_err(|source| self.failed(Operation::Read, &range, source))?;
        buffer.copy_from_slice(&self.state().content[index(range.start)..index(range.end)]);
        if let Some(rule) = struck {
            buffer[index(rule.place - offset)] ^= 1;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        let range = offset..offset + len;
        let failed = |source| self.failed(Operation::Zero, &range, source);
        let struck = self.strike(Operation::Zero, &range).map_err(failed)?;
        self.store(range.clone(), None).map_err(failed)?;
        if let Some(rule) = struck {
            self.state().content[index(rule.place)] ^= 1;
        }
        Ok(self.zeroes_by)
    }

    fn flush(&self) -> Result<(), WriteError> {
        let all = 0..self.len;
        let failed = |source| self.failed(Operation::Flush, &all, source);
        self.strike(Operation::Flush, &all).map_err(failed)?;
        let mut state = self.state();
        if let Some(errno) = state.flush_fails {
            return Err(failed(io::Error::from_raw_os_error(errno)));
        }
        state.asked.push(Asked::Flush);
        Ok(())
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        Ok(())
    }
}
