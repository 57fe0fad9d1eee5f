//! Between fetchers and workers: frames in memory, and how many of them there may be.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::progress::Meter;

/// The fixed number of frame buffers: who has none waits, and that is the bound on memory.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    buffers: Mutex<Vec<Vec<u8>>>,
    frame_bytes: usize,
    meter: Arc<Meter>,
}

/// One frame's memory; returned when dropped.
pub(super) struct Slot {
    pub(super) bytes: Vec<u8>,
    home: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// Room for `count` frames of at most `frame_bytes`. A buffer has its full size from the start and never grows, so
    /// that memory isn't copied, and is only touched as far as frames fill it.
    pub(super) fn new(count: usize, frame_bytes: usize, meter: &Arc<Meter>) -> Arc<Self> {
        Arc::new(Slots {
            free: Arc::new(Semaphore::new(count)),
            buffers: Mutex::new(Vec::with_capacity(count)),
            frame_bytes,
            meter: Arc::clone(meter),
        })
    }

    /// Waits for an empty buffer.
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _held_up = self.meter.held_up.begin();
                let free = Arc::clone(&self.free).acquire_owned();
                free.await.expect("the semaphore is never closed")
            }
        };
        let used = lock(&self.buffers).pop();
        let bytes = used.unwrap_or_else(|| Vec::with_capacity(self.frame_bytes));
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

/// Frames that wait for a worker.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    stopped: bool,
}

impl WorkQueue {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a frame. Never waits: the number of slots bounds the number of frames.
    pub(super) fn push(&self, frame: Frame) {
        let mut state = lock(&self.state);
        if !state.stopped {
            state.frames.push_back(frame);
            self.ready.notify_one();
        }
    }

    /// The next frame; waits for one. `None` once the queue is stopped.
    pub(super) fn next(&self) -> Option<Frame> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(frame) = state.frames.pop_front() {
                return Some(frame);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends all work; what waits is dropped.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        let dropped = std::mem::take(&mut state.frames);
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
        let slots = Slots::new(2, 8192, &Arc::new(Meter::new()));
        let mut first = slots.take().now_or_never().unwrap();
        first.bytes.extend_from_slice(&[1; 5000]);
        let second = slots.take().now_or_never().unwrap();
        assert!(slots.take().now_or_never().is_none());
        let place = first.bytes.as_ptr().addr();
        drop(first);
        let again = slots.take().now_or_never().unwrap();
        assert!(again.bytes.is_empty());
        assert_eq!(again.bytes.capacity(), 8192);
        assert_eq!(again.bytes.as_ptr().addr(), place);
        drop(second);
    }

    #[test]
    fn a_stopped_queue_gives_nothing_and_keeps_no_memory() {
        let queue = WorkQueue::new();
        let slots = Slots::new(2, 4096, &Arc::new(Meter::new()));
        let frame = || Frame {
            position: 7,
            origin: 0,
            slot: slots.take().now_or_never().unwrap(),
        };
        queue.push(frame());
        assert!(matches!(queue.next(), Some(Frame { position: 7, .. })));
        queue.push(frame());
        queue.stop();
        assert!(queue.next().is_none());
        queue.push(frame());
        assert!(queue.next().is_none());
        // Whatever was dropped has given its memory back.
        assert!(slots.take().now_or_never().is_some());
    }
}
