//! Threads that write the blocks of a plain image, and the few buffers that go round between them and the decoder.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::Builder,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{super::failure::Ended, decode::Decoded};
use crate::{
    stream::progress::Meter,
    target::{AlignedBuf, Target, WriteError, Zeroed},
};

/// A plain image is cut into blocks of this size.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// Buffers that go round. One more is taken out for good, by the head.
const BUFFERS: usize = 8;

/// What the threads tell the coordinator.
#[derive(Debug)]
pub(super) enum Event {
    /// The decoder has ended: all went to the writers, or why not.
    Decoded(Result<(Decoded, [u8; 32]), Option<Ended>>),
    /// Zeroes are on the disk.
    Zeroed(Zeroed),
    /// The disk refused.
    Disk(WriteError),
}

/// Work for a writer.
#[derive(Debug)]
pub(super) enum Job {
    /// Write a block.
    Write { buffer: AlignedBuf, offset: u64 },
    /// Make a range zero.
    Zero(Range<u64>),
}

/// The threads that write, as the decoder sees them. They end when this value is dropped and all jobs are done.
#[derive(Debug)]
pub(super) struct Writers {
    jobs: SyncSender<Job>,
    buffers: Receiver<AlignedBuf>,
}

impl Writers {
    pub(super) fn start(
        count: usize,
        target: &Arc<dyn Target>,
        meter: &Arc<Meter>,
        events: &UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let (jobs, todo) = sync_channel(BUFFERS);
        let (spare, buffers) = sync_channel(BUFFERS + 1);
        for _ in 0..=BUFFERS {
            spare
                .send(AlignedBuf::new(BLOCK_BYTES))
                .expect("the other end is here");
        }
        let todo = Arc::new(Mutex::new(todo));
        for worker in 0..count {
            let thread = Writer {
                todo: Arc::clone(&todo),
                spare: spare.clone(),
                target: Arc::clone(target),
                meter: Arc::clone(meter),
                events: events.clone(),
            };
            Builder::new()
                .name(format!("write-{worker}"))
                .spawn(move || thread.work())?;
        }
        Ok(Writers { jobs, buffers })
    }

    /// An empty buffer; waits for one. `None` when all writers have ended.
    pub(super) fn buffer(&self) -> Option<AlignedBuf> {
        self.buffers.recv().ok()
    }

    /// Hands a job to a writer; waits until one has time. The job comes back when all writers have ended.
    pub(super) fn send(&self, job: Job) -> Result<(), Job> {
        self.jobs.send(job).map_err(|refused| refused.0)
    }
}

struct Writer {
    todo: Arc<Mutex<Receiver<Job>>>,
    spare: SyncSender<AlignedBuf>,
    target: Arc<dyn Target>,
    meter: Arc<Meter>,
    events: UnboundedSender<Event>,
}

impl Writer {
    fn work(self) {
        while let Some(job) = self.next() {
            let written = match job {
                Job::Write { buffer, offset } => self.write(buffer, offset),
                Job::Zero(range) => self.zero(&range),
            };
            if let Err(error) = written {
                self.events.send(Event::Disk(error)).ok();
                // The decoder goes on until it is told to stop; jobs and buffers must not hold it up till then.
                while let Some(job) = self.next() {
                    if let Job::Write { buffer, .. } = job {
                        self.spare.try_send(buffer).ok();
                    }
                }
                return;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        self.todo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv()
            .ok()
    }

    fn write(&self, buffer: AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.meter.disk(|| self.target.write_at(&buffer, offset))?;
        self.meter.written.fetch_add(buffer.len() as u64, Relaxed);
        self.meter.done.fetch_add(buffer.len() as u64, Relaxed);
        // The decoder may have ended meanwhile.
        self.spare.try_send(buffer).ok();
        Ok(())
    }

    fn zero(&self, range: &Range<u64>) -> Result<(), WriteError> {
        let len = range.end - range.start;
        let how = self.meter.disk(|| self.target.zero(range.start, len))?;
        self.meter.zeroed.fetch_add(len, Relaxed);
        self.meter.done.fetch_add(len, Relaxed);
        self.events.send(Event::Zeroed(how)).ok();
        Ok(())
    }
}
