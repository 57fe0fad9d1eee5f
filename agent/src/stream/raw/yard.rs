//! What all decoders of a plain image share: how many buffers are left, and where on the disk each unit begins.
//!
//! A unit whose place is known hands its blocks to the writers at once. One whose predecessors have not told their
//! lengths keeps what it has decoded until they are done, and may do so only as long as enough buffers are left for
//! those that can go on. So the first unfinished unit always advances, whatever the others hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Buffers that units without a place leave to the others.
const RESERVE: usize = 4;
/// Buffers for sectors that belong to two units. They are taken only to be written at once, so they come back whatever
/// the decoders hold.
const JOINTS: usize = 2;

/// Buffers, places and memory.
#[derive(Debug)]
pub(super) struct Yard {
    state: Mutex<State>,
    changed: Condvar,
    /// Memory that decoders may take for their windows before their unit is the first.
    windows: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers that nobody has.
    free: usize,
    joints: usize,
    /// Where units begin that are not finished.
    starts: BTreeMap<u64, u64>,
    /// Lengths of units that lie behind one of unknown length.
    lengths: BTreeMap<u64, u64>,
    /// The first unit whose length isn't known.
    unknown: u64,
    /// All units before this one are finished.
    first: u64,
    finished: BTreeSet<u64>,
    /// How many units there are, once that is known.
    count: Option<u64>,
    leases: BTreeMap<u64, u64>,
    stopped: bool,
}

impl Yard {
    /// A yard over so many buffers, of which there must be [enough](Self::buffers), and so much memory for the windows
    /// of decoders.
    pub(super) fn new(buffers: usize, windows: u64) -> Self {
        let state = State {
            free: buffers - JOINTS,
            joints: JOINTS,
            starts: BTreeMap::from([(0, 0)]),
            ..State::default()
        };
        Yard {
            state: Mutex::new(state),
            changed: Condvar::new(),
            windows,
        }
    }

    /// How many buffers there should be for so many decoders, when so much memory is meant for them.
    pub(super) fn buffers(decoders: usize, wanted: usize) -> usize {
        // Each may hold two: one that is being filled, and one that held nothing but zeroes.
        wanted.max(2 * decoders + RESERVE + JOINTS)
    }

    /// Takes a buffer for a unit; waits for one. Tells where the unit begins if that is known. `None` when the write
    /// has ended.
    pub(super) fn take(&self, unit: u64) -> Option<Option<u64>> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            let start = state.starts.get(&unit).copied();
            let needed = if start.is_some() { 1 } else { RESERVE + 1 };
            if state.free >= needed {
                state.free -= 1;
                return Some(start);
            }
            state = self.wait(state);
        }
    }

    /// A buffer is free again.
    pub(super) fn give(&self) {
        self.state().free += 1;
        self.changed.notify_all();
    }

    /// Takes a buffer for a sector that belongs to two units. `None` when the write has ended.
    pub(super) fn take_joint(&self) -> Option<()> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if state.joints > 0 {
                state.joints -= 1;
                return Some(());
            }
            state = self.wait(state);
        }
    }

    /// Such a buffer is written.
    pub(super) fn give_joint(&self) {
        self.state().joints += 1;
        self.changed.notify_all();
    }

    /// Where a unit begins, if that is known yet.
    pub(super) fn known_start(&self, unit: u64) -> Option<u64> {
        self.state().starts.get(&unit).copied()
    }

    /// Where a unit begins; waits until that is known. `None` when the write has ended.
    pub(super) fn start(&self, unit: u64) -> Option<u64> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(&start) = state.starts.get(&unit) {
                return Some(start);
            }
            state = self.wait(state);
        }
    }

    /// Waits until a unit may take so much memory for its window: the first one always may. `None` when the write has
    /// ended.
    pub(super) fn admit(&self, unit: u64, bytes: u64) -> Option<()> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            let others: u64 = state
                .leases
                .iter()
                .filter(|(of, _)| **of != unit)
                .map(|(_, bytes)| bytes)
                .sum();
            if state.first == unit || others.saturating_add(bytes) <= self.windows {
                let lease = state.leases.entry(unit).or_default();
                *lease = bytes.max(*lease);
                return Some(());
            }
            state = self.wait(state);
        }
    }

    /// The length of a unit is known, if only from its headers.
    pub(super) fn measured(&self, unit: u64, len: u64) {
        self.state().measured(unit, len);
        self.changed.notify_all();
    }

    /// A unit is decoded; all of it went on.
    pub(super) fn finished(&self, unit: u64, len: u64) {
        let mut state = self.state();
        state.measured(unit, len);
        state.starts.remove(&unit);
        state.leases.remove(&unit);
        state.finished.insert(unit);
        let mut first = state.first;
        while state.finished.remove(&first) {
            first += 1;
        }
        state.first = first;
        drop(state);
        self.changed.notify_all();
    }

    /// There are so many units, and no more.
    pub(super) fn ended(&self, count: u64) {
        self.state().count = Some(count);
    }

    /// The length of the image, once all its units are decoded.
    pub(super) fn total(&self) -> Option<u64> {
        let state = self.state();
        (state.count == Some(state.first)).then(|| state.starts.get(&state.first).copied())?
    }

    /// Ends all waiting.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn measured(&mut self, unit: u64, len: u64) {
        if unit < self.unknown {
            return;
        }
        self.lengths.insert(unit, len);
        while let Some(len) = self.lengths.remove(&self.unknown) {
            let start = self.starts.get(&self.unknown).copied().unwrap_or_default();
            self.unknown += 1;
            // A length that no disk has is refused when the unit is decoded.
            self.starts.insert(self.unknown, start.saturating_add(len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_from_lengths_in_whatever_order_they_come() {
        let yard = Yard::new(14, 0);
        assert_eq!(yard.start(0), Some(0));
        yard.measured(2, 7);
        yard.finished(1, 5);
        assert_eq!(yard.take(2), Some(None));
        yard.finished(0, 3);
        assert_eq!(yard.start(2), Some(8));
        assert_eq!(yard.start(3), Some(15));
        assert_eq!(yard.total(), None);
        yard.ended(3);
        assert_eq!(yard.total(), None);
        yard.finished(2, 7);
        assert_eq!(yard.total(), Some(15));
    }

    #[test]
    fn units_without_a_place_leave_buffers_for_the_others() {
        let yard = Yard::new(12 + JOINTS, 0);
        for _ in 0..12 - RESERVE {
            assert_eq!(yard.take(5), Some(None));
        }
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| yard.take(5).is_some());
            for _ in 0..RESERVE {
                assert_eq!(yard.take(0), Some(Some(0)));
            }
            for _ in 0..=RESERVE {
                yard.give();
            }
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn the_first_unit_has_all_the_memory_it_asks_for_and_others_wait() {
        let yard = Yard::new(8, 10);
        yard.admit(0, 1000).unwrap();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| yard.admit(1, 8));
            yard.finished(0, 1);
            waiting.join().unwrap().unwrap();
        });
        yard.admit(2, 2).unwrap();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| yard.admit(3, 1));
            yard.stop();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
