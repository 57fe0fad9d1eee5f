//! Reads chunks again from the disk and compares them with the manifest, while others are still being written.
//!
//! Each chunk is read past the page cache after the disk has confirmed its write. So what is proven is that the disk
//! gives back what was meant to be on it: memory, bus, controller and addressing did their work. Whether it comes from
//! the media or from the disk's own cache can't be told; that it survives a loss of power is what the flush is for.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use imprint_image::{Digest, Manifest};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{failure::Ended, on_panic::OnPanic, progress::Meter};
use crate::{
    finish::table::veil,
    target::{AlignedBuf, Target},
};

/// Reads at once: enough to keep a disk busy.
const MOST_READERS: u64 = 4;
/// The part of a write's memory that they may take.
const MEMORY_SHARE: u64 = 6;

/// How many threads read; each one has a buffer of a chunk.
pub(super) fn readers(max_memory_bytes: u64, chunk_bytes: u64) -> usize {
    let fit = max_memory_bytes / MEMORY_SHARE / chunk_bytes;
    usize::try_from(fit.clamp(1, MOST_READERS)).expect("a few")
}

/// Chunks that wait for being read, by their position in the manifest.
#[derive(Debug, Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    positions: VecDeque<usize>,
    open: bool,
    stopped: bool,
}

/// The threads that read, as the coordinator holds them.
#[derive(Debug)]
pub(super) struct ReadBack {
    waiting: Arc<Waiting>,
    results: UnboundedReceiver<Result<(), Ended>>,
    outstanding: usize,
}

impl ReadBack {
    /// Starts `threads` threads. They begin once they are [let loose](Self::open).
    pub(super) fn start(
        manifest: &Arc<Manifest>,
        target: &Arc<dyn Target>,
        meter: &Arc<Meter>,
        threads: usize,
    ) -> io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let (told, results) = unbounded_channel();
        // Ends the threads that were started if another one can't be.
        let read_back = ReadBack {
            waiting: Arc::clone(&waiting),
            results,
            outstanding: 0,
        };
        for _ in 0..threads.max(1) {
            let reader = Reader {
                manifest: Arc::clone(manifest),
                target: Arc::clone(target),
                meter: Arc::clone(meter),
                waiting: Arc::clone(&waiting),
                told: told.clone(),
            };
            thread::Builder::new()
                .name("read-back".to_owned())
                .stack_size(256 << 10)
                .spawn(move || reader.work())?;
        }
        Ok(read_back)
    }

    /// This chunk is on the disk, and is to be read.
    pub(super) fn push(&mut self, position: usize) {
        self.outstanding += 1;
        self.waiting.lock().positions.push_back(position);
        self.waiting.changed.notify_one();
    }

    /// From now on the disk may be read.
    pub(super) fn open(&self) {
        self.waiting.lock().open = true;
        self.waiting.changed.notify_all();
    }

    /// Whether all chunks that were pushed are compared.
    pub(super) fn is_done(&self) -> bool {
        self.outstanding == 0
    }

    /// Waits until another chunk is compared; for ever when none is outstanding. May be dropped at any time.
    ///
    /// # Errors
    /// When it is not what it should be, or can't be read.
    pub(super) async fn next(&mut self) -> Result<(), Ended> {
        if self.outstanding == 0 {
            return std::future::pending().await;
        }
        let died = || Ended::Internal {
            what: "a thread read-back died".to_owned(),
        };
        let result = self.results.recv().await.ok_or_else(died)?;
        self.outstanding -= 1;
        result
    }

    /// Ends all reading, and returns when nobody is on the disk any more.
    pub(super) async fn leave(&mut self) {
        self.waiting.stop();
        while self.results.recv().await.is_some() {}
    }
}

impl Drop for ReadBack {
    fn drop(&mut self) {
        self.waiting.stop();
    }
}

impl Waiting {
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if state.open
                && let Some(position) = state.positions.pop_front()
            {
                return Some(position);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    manifest: Arc<Manifest>,
    target: Arc<dyn Target>,
    meter: Arc<Meter>,
    waiting: Arc<Waiting>,
    told: UnboundedSender<Result<(), Ended>>,
}

impl Reader {
    fn work(self) {
        let reader = OnPanic::new(self, |reader| {
            let what = "a thread read-back died".to_owned();
            reader.told.send(Err(Ended::Internal { what })).ok();
        });
        let mut buffer = AlignedBuf::new(reader.manifest.chunk_bytes as usize);
        while let Some(position) = reader.waiting.next() {
            // Nobody waits for it when the write has ended meanwhile.
            reader.told.send(reader.compare(position, &mut buffer)).ok();
        }
    }

    fn compare(&self, position: usize, buffer: &mut AlignedBuf) -> Result<(), Ended> {
        let chunk = &self.manifest.chunks[position];
        let place = self.manifest.chunk_range(chunk.index);
        buffer.set_len(usize::try_from(place.end - place.start).expect("a chunk is at most a MiB"));
        self.meter.disk(|| self.target.read_at(buffer, place.start))?;
        let mut got = Digest::of(buffer);
        if got != chunk.plain && chunk.index == 0 && veil::lift(buffer) {
            got = Digest::of(buffer);
        }
        if got != chunk.plain {
            let (device, expected) = (self.target.id().clone(), chunk.plain);
            return Err(Ended::ReadBack {
                device,
                chunk: chunk.index,
                expected,
                got,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use imprint_image::{CHUNK_BYTES, Chunk, PartitionSummary};

    use super::*;
    use crate::target::faulty::FaultyTarget;

    /// A disk full of 7, and a manifest that says so for its first two chunks, and something else for the third.
    fn setting() -> (Arc<Manifest>, Arc<FaultyTarget>) {
        let right = Digest::of(&vec![7; CHUNK_BYTES as usize]);
        let chunks = [right, right, Digest::of(b"else")];
        let chunks = (0_u64..).zip(chunks).map(|(index, plain)| Chunk {
            index,
            plain,
            frame: plain,
            pack: 0,
            offset: 0,
            frame_bytes: 1,
        });
        let manifest = Manifest {
            format_version: 1,
            image_digest: right,
            disk_size_bytes: 3 << 20,
            logical_sector_bytes: 512,
            chunk_bytes: CHUNK_BYTES,
            packs: Vec::new(),
            chunks: chunks.collect(),
            holes: Vec::new(),
            partitions: PartitionSummary::default(),
            seal: None,
        };
        (Arc::new(manifest), Arc::new(FaultyTarget::filled(3 << 20, 7)))
    }

    #[tokio::test]
    async fn what_the_disk_gives_back_is_compared_once_it_may_be_read() {
        let (manifest, disk) = setting();
        let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&disk);
        let mut read_back = ReadBack::start(&manifest, &target, &Arc::new(Meter::new()), 2).unwrap();
        assert!(
            read_back.next().now_or_never().is_none(),
            "nothing is outstanding"
        );
        read_back.push(0);
        read_back.push(1);
        assert!(read_back.next().now_or_never().is_none(), "it is not open yet");
        read_back.open();
        read_back.next().await.unwrap();
        read_back.next().await.unwrap();
        assert!(read_back.is_done());
        read_back.push(2);
        let error = read_back.next().await.unwrap_err();
        assert!(matches!(error, Ended::ReadBack { chunk: 2, .. }), "{error}");
        read_back.leave().await;
        drop(target);
        assert_eq!(Arc::strong_count(&disk), 1, "a thread is still on the disk");
    }
}
