//! The fixed number of buffers that go round between decoders and the disk.

use std::{
    fmt, mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{sys::memory::Region, target::AlignedBuf};

/// All buffers of a stage, in one region of memory.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
    region: Option<Arc<Region>>,
}

#[derive(Debug)]
struct State {
    // The last one returned is the first one taken: its memory is still warm, and what is never needed is never
    // touched.
    free: Vec<AlignedBuf>,
    stopped: bool,
}

impl Pool {
    pub(super) fn new(count: usize, bytes: usize) -> Arc<Self> {
        let free = AlignedBuf::many(count, bytes);
        let region = free.first().map(|buffer| Arc::clone(buffer.region()));
        Arc::new(Pool {
            state: Mutex::new(State { free, stopped: false }),
            returned: Condvar::new(),
            region,
        })
    }

    /// The memory of all buffers.
    pub(super) fn region(&self) -> Option<&Arc<Region>> {
        self.region.as_ref()
    }

    /// An empty buffer; waits for one. `None` once the pool is stopped.
    pub(super) fn take(self: &Arc<Self>) -> Option<PoolBuf> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(buffer) = state.free.pop() {
                return Some(PoolBuf {
                    buffer: Some(buffer),
                    home: Arc::clone(self),
                });
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, buffer: AlignedBuf) {
        self.lock().free.push(buffer);
        self.returned.notify_one();
    }

    /// Whoever waits, or comes, gets nothing.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of a pool; returned when dropped.
pub(in super::super) struct PoolBuf {
    buffer: Option<AlignedBuf>,
    home: Arc<Pool>,
}

impl PoolBuf {
    /// The buffer, out of the pool for good.
    pub(in super::super) fn into_buffer(mut self) -> AlignedBuf {
        self.buffer.take().expect("it is there until this or the drop")
    }
}

impl Deref for PoolBuf {
    type Target = AlignedBuf;

    fn deref(&self) -> &AlignedBuf {
        self.buffer.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for PoolBuf {
    fn deref_mut(&mut self) -> &mut AlignedBuf {
        self.buffer.as_mut().expect("it is there until the drop")
    }
}

impl Drop for PoolBuf {
    fn drop(&mut self) {
        if let Some(buffer) = mem::take(&mut self.buffer) {
            self.home.give(buffer);
        }
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBuf({} bytes)", self.len())
    }
}
