//! What waits for the disk.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::{sys::uring::Waker, target::AlignedBuf};

/// A buffer and its place on the disk.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) buffer: AlignedBuf,
    pub(super) offset: u64,
    pub(super) tag: u64,
}

/// A range that is to become zero.
#[derive(Debug)]
pub(super) struct Zero {
    pub(super) range: Range<u64>,
    pub(super) tag: u64,
}

/// Work for a thread.
#[derive(Debug)]
pub(super) enum Job {
    Write(Write),
    Zero(Zero),
}

/// Which jobs a thread takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Writes.
    Writes,
    /// Zeroes, and what was passed on.
    Helper,
    /// All; zeroes while nothing else waits.
    Lone,
}

/// Writes in the order of the disk, and zeroes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    for_writers: Condvar,
    for_helper: Condvar,
    ring: OnceLock<Arc<Waker>>,
}

#[derive(Debug, Default)]
struct State {
    /// By offset; two writes to one place keep their order.
    writes: BTreeMap<(u64, u64), Write>,
    submitted: u64,
    /// Where the last write that was given out ends.
    reached: u64,
    passed_on: VecDeque<Write>,
    zeroes: VecDeque<Zero>,
    /// Writes that were given out and aren't answered.
    in_flight: usize,
    open: bool,
    finished: bool,
    stopped: bool,
    ring_waits: bool,
}

impl Queue {
    pub(super) fn submit(&self, buffer: AlignedBuf, offset: u64, tag: u64) {
        let mut state = self.lock();
        if state.stopped {
            return;
        }
        state.submitted += 1;
        let key = (offset, state.submitted);
        state.writes.insert(key, Write { buffer, offset, tag });
        if state.open {
            self.for_writers.notify_one();
            self.wake_ring(&mut state);
        }
    }

    pub(super) fn zero(&self, range: Range<u64>, tag: u64) {
        let mut state = self.lock();
        if !state.stopped {
            state.zeroes.push_back(Zero { range, tag });
            self.for_helper.notify_one();
            // A lone writer does this as well.
            self.for_writers.notify_one();
        }
    }

    /// Hands a write that is in flight to the helper.
    pub(super) fn pass_on(&self, write: Write) {
        let mut state = self.lock();
        state.in_flight -= 1;
        if !state.stopped {
            state.passed_on.push_back(write);
            self.for_helper.notify_one();
        }
    }

    /// A write that was given out is done, well or not.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.in_flight -= 1;
        if state.finished && state.in_flight == 0 {
            self.wake_all(&mut state);
        }
    }

    pub(super) fn open(&self) {
        let mut state = self.lock();
        state.open = true;
        self.wake_all(&mut state);
    }

    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        self.wake_all(&mut state);
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let dropped = (
            std::mem::take(&mut state.writes),
            std::mem::take(&mut state.passed_on),
            std::mem::take(&mut state.zeroes),
        );
        self.wake_all(&mut state);
        drop(state);
        drop(dropped);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The next job; waits for one. `None` when none will come any more.
    pub(super) fn next(&self, lane: Lane) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.job(lane) {
                return Some(job);
            }
            if state.is_over(lane) {
                return None;
            }
            let condvar = if lane == Lane::Helper {
                &self.for_helper
            } else {
                &self.for_writers
            };
            state = condvar.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Connects the ring.
    pub(super) fn serve_ring(&self, waker: Arc<Waker>) {
        self.ring.set(waker).expect("a queue has one ring");
    }

    /// Moves up to `most` writes into `batch`. `false` when none will come any more. When there is room for more, the
    /// ring is woken as soon as one comes.
    pub(super) fn fill(&self, batch: &mut Vec<Write>, most: usize) -> bool {
        let mut state = self.lock();
        while batch.len() < most
            && let Some(write) = state.write()
        {
            batch.push(write);
        }
        let over = batch.is_empty() && state.is_over(Lane::Writes);
        state.ring_waits = batch.len() < most && !over;
        !over
    }

    fn wake_ring(&self, state: &mut State) {
        if std::mem::take(&mut state.ring_waits)
            && let Some(waker) = self.ring.get()
        {
            waker.wake();
        }
    }

    fn wake_all(&self, state: &mut State) {
        self.for_writers.notify_all();
        self.for_helper.notify_all();
        self.wake_ring(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next write in ascending order; from the start again when there is none further up.
    fn write(&mut self) -> Option<Write> {
        if !self.open || self.stopped {
            return None;
        }
        let up = self.writes.range((self.reached, 0)..).next();
        let key = *up.or_else(|| self.writes.first_key_value())?.0;
        let write = self.writes.remove(&key)?;
        self.reached = write.offset + write.buffer.len() as u64;
        self.in_flight += 1;
        Some(write)
    }

    fn helper(&mut self) -> Option<Job> {
        if !self.open || self.stopped {
            return None;
        }
        if let Some(write) = self.passed_on.pop_front() {
            self.in_flight += 1;
            return Some(Job::Write(write));
        }
        self.zeroes.pop_front().map(Job::Zero)
    }

    fn job(&mut self, lane: Lane) -> Option<Job> {
        match lane {
            Lane::Writes => self.write().map(Job::Write),
            Lane::Helper => self.helper(),
            Lane::Lone => self.write().map(Job::Write).or_else(|| self.helper()),
        }
    }

    /// Whether no job will come any more.
    fn is_over(&self, lane: Lane) -> bool {
        let writes = self.writes.is_empty();
        // What is in flight may still be passed on.
        let helper = self.passed_on.is_empty() && self.zeroes.is_empty() && writes && self.in_flight == 0;
        self.stopped
            || self.finished
                && match lane {
                    Lane::Writes => writes,
                    Lane::Helper | Lane::Lone => helper,
                }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(queue: &Queue, most: usize) -> Vec<u64> {
        let mut batch = Vec::new();
        queue.fill(&mut batch, most);
        batch.iter().map(|write| write.offset).collect()
    }

    fn submit(queue: &Queue, offsets: &[u64]) {
        for &offset in offsets {
            queue.submit(AlignedBuf::new(4096), offset, offset);
        }
    }

    #[test]
    fn writes_go_up_from_where_the_last_one_was() {
        let queue = Queue::default();
        submit(&queue, &[40_960, 8192, 0]);
        assert!(offsets(&queue, 9).is_empty(), "it is not open yet");
        queue.open();
        assert_eq!(offsets(&queue, 2), [0, 8192]);
        submit(&queue, &[4096, 12_288]);
        assert_eq!(offsets(&queue, 9), [12_288, 40_960, 4096]);
    }

    #[test]
    fn a_lone_writer_zeroes_while_nothing_else_waits() {
        let queue = Queue::default();
        queue.open();
        queue.zero(0..4096, 7);
        submit(&queue, &[8192]);
        assert!(matches!(queue.next(Lane::Lone), Some(Job::Write(_))));
        assert!(matches!(
            queue.next(Lane::Lone),
            Some(Job::Zero(Zero { tag: 7, .. }))
        ));
        queue.done();
        queue.finish();
        assert!(queue.next(Lane::Lone).is_none());
    }

    #[test]
    fn the_helper_stays_until_nothing_can_be_passed_on() {
        let queue = Queue::default();
        queue.open();
        submit(&queue, &[0]);
        let Some(Job::Write(write)) = queue.next(Lane::Writes) else {
            panic!()
        };
        queue.finish();
        assert!(queue.next(Lane::Writes).is_none());
        assert!(!queue.lock().is_over(Lane::Helper));
        queue.pass_on(write);
        assert!(matches!(queue.next(Lane::Helper), Some(Job::Write(_))));
        queue.done();
        assert!(queue.next(Lane::Helper).is_none());
    }

    #[test]
    fn a_stopped_queue_gives_and_takes_nothing() {
        let queue = Queue::default();
        queue.open();
        submit(&queue, &[0]);
        queue.zero(0..4096, 0);
        queue.stop();
        submit(&queue, &[4096]);
        for lane in [Lane::Writes, Lane::Helper, Lane::Lone] {
            assert!(queue.next(lane).is_none());
        }
        assert!(!queue.fill(&mut Vec::new(), 3));
    }
}
