//! Between fetchers and workers: frames in memory, and how many of them there may be.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::plan::ZeroRun;

/// The fixed number of frame buffers: who has none waits, and that is the bound on memory.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// One frame's memory; returned when dropped.
pub(super) struct Slot {
    pub(super) bytes: Vec<u8>,
    home: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Slots {
            free: Arc::new(Semaphore::new(count)),
            buffers: Mutex::new(Vec::with_capacity(count)),
        })
    }

    /// Waits for an empty buffer.
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        let permit = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let bytes = lock(&self.buffers).pop().unwrap_or_default();
        Slot {
            bytes,
            home: Arc::clone(self),
            _permit: permit,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        lock(&self.home.buffers).push(bytes);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({} bytes)", self.bytes.len())
    }
}

/// A chunk that came, not yet proven.
#[derive(Debug)]
pub(super) struct Frame {
    /// Position in the manifest's `chunks`.
    pub(super) position: usize,
    /// Which store it came from.
    pub(super) origin: usize,
    pub(super) slot: Slot,
}

/// Work for a worker.
#[derive(Debug)]
pub(super) enum Job {
    /// Prove, decode and write.
    Frame(Frame),
    /// Make zero.
    Zero(ZeroRun),
}

/// What is to be done next. Frames go first: they hold memory that the network waits for; holes are done when no
/// frame is there.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    zeroes: VecDeque<ZeroRun>,
    stopped: bool,
}

impl WorkQueue {
    /// A queue that already holds all that has to be zeroed.
    pub(super) fn new(zeroes: Vec<ZeroRun>) -> Arc<Self> {
        let state = State {
            zeroes: zeroes.into(),
            ..State::default()
        };
        Arc::new(WorkQueue {
            state: Mutex::new(state),
            ready: Condvar::new(),
        })
    }

    /// Adds a frame. Never waits: the number of slots bounds the number of frames.
    pub(super) fn push(&self, frame: Frame) {
        let mut state = lock(&self.state);
        if !state.stopped {
            state.frames.push_back(frame);
            self.ready.notify_one();
        }
    }

    /// The next job; waits for one. `None` once the queue is stopped.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(frame) = state.frames.pop_front() {
                return Some(Job::Frame(frame));
            }
            if let Some(run) = state.zeroes.pop_front() {
                return Some(Job::Zero(run));
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the queue was stopped: a worker asks before it touches the disk.
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    /// Ends all work; what waits is dropped.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        let dropped = (
            std::mem::take(&mut state.frames),
            std::mem::take(&mut state.zeroes),
        );
        drop(state);
        drop(dropped);
        self.ready.notify_all();
    }
}

/// No code that holds one of these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn no_more_frames_than_slots_and_their_memory_is_used_again() {
        let slots = Slots::new(2);
        let mut first = slots.take().now_or_never().unwrap();
        first.bytes.extend_from_slice(&[1; 5000]);
        let second = slots.take().now_or_never().unwrap();
        assert!(slots.take().now_or_never().is_none());
        drop(first);
        let again = slots.take().now_or_never().unwrap();
        assert!(again.bytes.is_empty());
        assert!(again.bytes.capacity() >= 5000);
        drop(second);
    }

    #[test]
    fn frames_go_before_holes_and_a_stopped_queue_gives_nothing() {
        let run = ZeroRun {
            chunks: 0..1,
            bytes: 0..512,
        };
        let queue = WorkQueue::new(vec![run.clone(), run]);
        let slots = Slots::new(2);
        let frame = || Frame {
            position: 7,
            origin: 0,
            slot: slots.take().now_or_never().unwrap(),
        };
        queue.push(frame());
        assert!(matches!(
            queue.next(),
            Some(Job::Frame(Frame { position: 7, .. }))
        ));
        assert!(matches!(queue.next(), Some(Job::Zero(_))));
        queue.push(frame());
        queue.stop();
        assert!(queue.next().is_none());
        queue.push(frame());
        assert!(queue.next().is_none());
        // Whatever was dropped has given its memory back.
        assert!(slots.take().now_or_never().is_some());
    }
}
