//! A thread that proves and decodes frames, and copies them into buffers of the write stage.
//!
//! Decoding straight into those buffers saves the copy, and is slower: a decoder goes back to what it wrote, and a buffer
//! that the disk has just read is in no cache of its core. docs/performance.md has the numbers.

use std::{io, ops::Range, sync::Arc, thread};

use imprint_image::{
    Manifest,
    frame::{Decoder, FrameError, verify_frame_and_decode},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    head::Withheld,
    on_panic::OnPanic,
    plan::ZeroRun,
    progress::Meter,
    queue::{Frame, WorkQueue},
    stage::{Report, Stage, Tell},
};
use crate::{
    sys::stream_copy,
    target::{WriteError, Zeroed},
};

/// What a decoder needs for its stack: its tables are on the heap.
const STACK_BYTES: usize = 512 << 10;

/// What the threads of a write tell the coordinator.
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
    /// A thread died.
    Died { thread: &'static str },
}

/// Passes on what the write stage tells. Its tags are the indices of chunks, and for zeroes the places in `runs`.
pub(super) fn pass_on(events: UnboundedSender<Event>, runs: Arc<[ZeroRun]>) -> Tell {
    Arc::new(move |report| {
        let event = match report {
            Report::Written { tag, .. } => Event::Done(tag..tag + 1),
            Report::Zeroed { tag, how, .. } => {
                let place = usize::try_from(tag).expect("a tag is a place in memory");
                Event::Zeroed(runs[place].clone(), how)
            }
            Report::Failed(error) => Event::Disk(error),
            Report::Died { thread } => Event::Died { thread },
        };
        // If the coordinator is gone, nobody waits.
        events.send(event).ok();
    })
}

/// What all workers of one write share.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) manifest: Arc<Manifest>,
    pub(super) queue: Arc<WorkQueue>,
    pub(super) stage: Arc<Stage>,
    pub(super) meter: Arc<Meter>,
    pub(super) events: UnboundedSender<Event>,
}

impl Workshop {
    /// Starts a worker. It ends when the queue is stopped.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let decoder = Decoder::of(&self.manifest)?;
        let shop = Arc::clone(self);
        thread::Builder::new()
            .name("decode".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // If the coordinator is gone, nobody waits.
                let _farewell = OnPanic::new(shop.events.clone(), |events| {
                    events.send(Event::Died { thread: "decode" }).ok();
                });
                shop.work(decoder);
            })?;
        Ok(())
    }

    fn work(&self, mut decoder: Decoder) {
        let mut plain = vec![0; self.manifest.chunk_bytes as usize];
        while let Some(frame) = self.meter.idle(|| self.queue.next()) {
            let Some(event) = self.frame(frame, &mut decoder, &mut plain) else {
                continue;
            };
            if self.events.send(event).is_err() {
                return;
            }
        }
    }

    /// Proves and decodes a chunk, and hands it on. The proof is the digest of the frame, which the manifest names:
    /// only bytes that its signer vouches for are decrypted and decoded, and those decode into exactly one chunk. A frame
    /// of an encrypted image is decrypted in the network's memory, where it is.
    fn frame(&self, frame: Frame, decoder: &mut Decoder, plain: &mut [u8]) -> Option<Event> {
        let Frame {
            position,
            origin,
            mut slot,
        } = frame;
        let chunk = &self.manifest.chunks[position];
        let place = self.manifest.chunk_range(chunk.index);
        let len = usize::try_from(place.end - place.start).expect("a chunk is at most a MiB");
        let proven = self
            .meter
            .cpu(|| verify_frame_and_decode(&mut slot.bytes, chunk, len, plain, decoder));
        // The network may have its memory back before the disk is asked.
        drop(slot);
        if let Err(error) = proven {
            return Some(Event::Corrupt {
                position,
                origin,
                error,
            });
        }
        // `None` when the write was stopped meanwhile.
        let mut buffer = self.meter.blocked(|| self.stage.buffer())?;
        buffer.set_len(len);
        self.meter.cpu(|| stream_copy::copy(&mut buffer, &plain[..len]));
        if chunk.index == 0 {
            return Some(Event::Head(Withheld::new(buffer.into_buffer())));
        }
        self.stage.submit(buffer, place.start, chunk.index);
        None
    }
}
