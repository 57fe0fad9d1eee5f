//! A thread that carries chunks from the queue to the disk, proven.

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use imprint_image::{
    Manifest,
    frame::{Decoder, FrameError, verify_and_decode},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    head::Withheld,
    plan::ZeroRun,
    progress::Meter,
    queue::{Frame, Job, WorkQueue},
};
use crate::target::{AlignedBuf, Target, WriteError, Zeroed};

/// What a worker tells the coordinator.
#[derive(Debug)]
pub(super) enum Event {
    /// These chunks are proven and on the disk.
    Done(Range<u64>),
    /// A run of holes is zero.
    Zeroed(ZeroRun, Zeroed),
    /// Chunk 0 is proven, and in memory.
    Head(Withheld),
    /// A chunk came wrong; by its position in the manifest, and the store it came from.
    Corrupt {
        position: usize,
        origin: usize,
        error: FrameError,
    },
    /// The disk refused.
    Disk(WriteError),
    /// The thread died.
    Died { worker: usize },
}

/// What all workers of one write share.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) manifest: Arc<Manifest>,
    pub(super) target: Arc<dyn Target>,
    pub(super) queue: Arc<WorkQueue>,
    pub(super) meter: Arc<Meter>,
    pub(super) events: UnboundedSender<Event>,
}

impl Workshop {
    /// Starts the worker number `worker`. It ends when the queue is stopped; when all have ended and this value is
    /// dropped, the channel of events is closed.
    pub(super) fn start(self: &Arc<Self>, worker: usize) -> io::Result<()> {
        let decoder = Decoder::new()?;
        let shop = Arc::clone(self);
        thread::Builder::new()
            .name(format!("write-{worker}"))
            .spawn(move || {
                let _farewell = Farewell {
                    worker,
                    events: shop.events.clone(),
                };
                shop.work(worker, decoder);
            })?;
        Ok(())
    }

    fn work(&self, worker: usize, mut decoder: Decoder) {
        let mut buffer = self.buffer();
        while let Some(job) = self.meter.idle(|| self.queue.next()) {
            let event = match job {
                Job::Frame(frame) => self.frame(worker, frame, &mut buffer, &mut decoder),
                Job::Zero(run) => Some(self.zero(worker, run)),
            };
            let Some(event) = event else { return };
            if self.events.send(event).is_err() {
                return;
            }
        }
    }

    fn buffer(&self) -> AlignedBuf {
        AlignedBuf::new(self.manifest.chunk_bytes as usize)
    }

    /// Proves, decodes and writes a chunk. `None` when the write was stopped meanwhile.
    fn frame(
        &self,
        worker: usize,
        frame: Frame,
        buffer: &mut AlignedBuf,
        decoder: &mut Decoder,
    ) -> Option<Event> {
        let Frame {
            position,
            origin,
            slot,
        } = frame;
        let chunk = &self.manifest.chunks[position];
        let place = self.manifest.chunk_range(chunk.index);
        let len = usize::try_from(place.end - place.start).expect("a chunk is at most a MiB");
        buffer.set_len(len);
        let proven = self
            .meter
            .cpu(|| verify_and_decode(&slot.bytes, chunk, len, buffer, decoder));
        // The network may have its memory back before the disk is asked.
        drop(slot);
        if let Err(error) = proven {
            return Some(Event::Corrupt {
                position,
                origin,
                error,
            });
        }
        if chunk.index == 0 {
            return Some(Event::Head(Withheld::new(std::mem::replace(
                buffer,
                self.buffer(),
            ))));
        }
        if self.queue.is_stopped() {
            return None;
        }
        match self
            .meter
            .disk(worker, || self.target.write_at(buffer, place.start))
        {
            Ok(()) => {
                self.meter.written.fetch_add(len as u64, Relaxed);
                Some(Event::Done(chunk.index..chunk.index + 1))
            }
            Err(error) => Some(Event::Disk(error)),
        }
    }

    fn zero(&self, worker: usize, run: ZeroRun) -> Event {
        let (offset, len) = (run.bytes.start, run.bytes.end - run.bytes.start);
        match self.meter.disk(worker, || self.target.zero(offset, len)) {
            Ok(how) => {
                self.meter.zeroed.fetch_add(len, Relaxed);
                Event::Zeroed(run, how)
            }
            Err(error) => Event::Disk(error),
        }
    }
}

/// Tells the coordinator when a thread panics: it would else wait for its chunk for ever.
struct Farewell {
    worker: usize,
    events: UnboundedSender<Event>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if thread::panicking() {
            // If the coordinator is gone as well, nobody waits.
            self.events.send(Event::Died { worker: self.worker }).ok();
        }
    }
}
