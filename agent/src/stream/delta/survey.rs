//! Threads that read the disk and hash what they find.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use imprint_image::{Digest, Manifest};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

use crate::{
    source::whole_cause,
    stream::{agenda::Agenda, progress::Meter},
    target::{AlignedBuf, Target},
};

/// What one look at the disk has shown.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Look {
    /// Position in the manifest's `chunks`.
    pub(in super::super) position: usize,
    /// It is one of the sample.
    pub(in super::super) sample: bool,
    /// The disk holds exactly this chunk.
    pub(in super::super) right: bool,
}

/// The agenda of a write, shared between who fetches and who reads.
#[derive(Debug)]
pub(in super::super) struct Board {
    agenda: Mutex<Agenda>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Board {
    pub(in super::super) fn new(agenda: Agenda) -> Arc<Self> {
        Arc::new(Board {
            agenda: Mutex::new(agenda),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// No code that holds this lock can panic half-way through a change.
    pub(in super::super) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agenda has changed: there may be something to look at, or nothing any more.
    pub(in super::super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Ends all looking.
    fn stop(&self) {
        // Under the lock, so that no thread misses it between its own check and its wait.
        let agenda = self.agenda();
        self.stopped.store(true, Relaxed);
        drop(agenda);
        self.changed.notify_all();
    }

    /// The next chunk to look at; waits until there is one. `None` once none can come any more.
    fn next(&self) -> Option<(usize, bool)> {
        let mut agenda = self.agenda();
        loop {
            if self.stopped.load(Relaxed) {
                return None;
            }
            if let Some(look) = agenda.next_look() {
                return Some(look);
            }
            if agenda.nothing_to_look_at() {
                return None;
            }
            agenda = self.changed.wait(agenda).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reading under way. Ends when dropped; the channel closes when the last thread has left the disk.
#[derive(Debug)]
pub(in super::super) struct Survey {
    board: Arc<Board>,
    bytes: Arc<AtomicU64>,
    looks: UnboundedReceiver<Look>,
}

impl Survey {
    /// Starts `depth` threads.
    ///
    /// # Errors
    /// When not even one can be started.
    pub(in super::super) fn start(
        manifest: &Arc<Manifest>,
        target: &Arc<dyn Target>,
        meter: &Arc<Meter>,
        board: &Arc<Board>,
        depth: usize,
    ) -> io::Result<Self> {
        let bytes = Arc::new(AtomicU64::new(0));
        let (sender, looks) = unbounded_channel();
        for number in 0..depth {
            let reader = Reader {
                manifest: Arc::clone(manifest),
                target: Arc::clone(target),
                meter: Arc::clone(meter),
                board: Arc::clone(board),
                bytes: Arc::clone(&bytes),
                looks: sender.clone(),
            };
            let started = thread::Builder::new()
                .name(format!("look-{number}"))
                .spawn(move || reader.work());
            match started {
                Err(error) if number == 0 => return Err(error),
                Err(error) => warn!(%error, number, "reading the disk with fewer threads"),
                Ok(_) => {}
            }
        }
        Ok(Survey {
            board: Arc::clone(board),
            bytes,
            looks,
        })
    }

    /// The next result; `None` once all threads have left.
    pub(in super::super) async fn next(&mut self) -> Option<Look> {
        self.looks.recv().await
    }

    /// Bytes read so far.
    pub(in super::super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Ends all looking; what is under way ends by itself.
    pub(in super::super) fn stop(&self) {
        self.board.stop();
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Reader {
    manifest: Arc<Manifest>,
    target: Arc<dyn Target>,
    meter: Arc<Meter>,
    board: Arc<Board>,
    bytes: Arc<AtomicU64>,
    looks: UnboundedSender<Look>,
}

impl Reader {
    fn work(self) {
        let mut buffer = AlignedBuf::new(self.manifest.chunk_bytes as usize);
        while let Some((position, sample)) = self.board.next() {
            let right = self.look(position, &mut buffer);
            let look = Look {
                position,
                sample,
                right,
            };
            if self.looks.send(look).is_err() {
                return;
            }
        }
    }

    fn look(&self, position: usize, buffer: &mut AlignedBuf) -> bool {
        let chunk = &self.manifest.chunks[position];
        let place = self.manifest.chunk_range(chunk.index);
        let len = place.end - place.start;
        buffer.set_len(usize::try_from(len).expect("a chunk is at most a MiB"));
        let read = self.meter.disk(|| self.target.read_at(buffer, place.start));
        self.bytes.fetch_add(len, Relaxed);
        match read {
            Ok(()) => Digest::of(buffer) == chunk.plain,
            // What can't be read is fetched; writing it often mends it.
            Err(error) => {
                debug!(
                    error = whole_cause(&error),
                    "a chunk cannot be read, it will be fetched"
                );
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imprint_image::CHUNK_BYTES;

    use super::*;
    use crate::{
        stream::{delta::Mode, plan::tests::manifest},
        target::faulty::FaultyTarget,
    };

    /// Reads all of a disk of which the chunks in `right` hold what the manifest says.
    async fn looked(right: &[u64]) -> Vec<(usize, bool)> {
        let mut image = manifest("1111_111");
        for chunk in image
            .chunks
            .iter_mut()
            .filter(|chunk| right.contains(&chunk.index))
        {
            let len = if chunk.index == 7 {
                (1 << 20) - 512
            } else {
                1 << 20
            };
            chunk.plain = Digest::of(&vec![9; len]);
        }
        let image = Arc::new(image);
        let target: Arc<dyn Target> = Arc::new(FaultyTarget::filled(8 * u64::from(CHUNK_BYTES), 9));
        let board = Board::new(Agenda::question(Arc::clone(&image), 2, |chunk| chunk == 6));
        let mut survey = Survey::start(&image, &target, &Arc::new(Meter::new()), &board, 3).unwrap();
        let mut looks = Vec::new();
        while let Some(look) = survey.next().await {
            looks.push((look.position, look.right));
            let mut agenda = board.agenda();
            agenda.looked(look.position, look.right);
            agenda.sample_more();
            agenda.set_mode(Mode::Checking);
            drop(agenda);
            board.wake();
        }
        looks.sort_unstable();
        looks
    }

    #[tokio::test]
    async fn every_open_chunk_is_read_once_and_the_threads_leave() {
        let expected = [
            (0, false),
            (1, true),
            (2, false),
            (3, false),
            (4, false),
            (6, true),
        ];
        assert_eq!(looked(&[1, 6, 7]).await, expected);
    }

    #[tokio::test]
    async fn threads_that_wait_leave_when_they_are_stopped() {
        let image = Arc::new(manifest("111"));
        let target: Arc<dyn Target> = Arc::new(FaultyTarget::filled(3 << 20, 0));
        let board = Board::new(Agenda::question(Arc::clone(&image), 1, |_| false));
        let mut survey = Survey::start(&image, &target, &Arc::new(Meter::new()), &board, 2).unwrap();
        assert_eq!(survey.next().await.unwrap().position, 1);
        survey.stop();
        assert!(survey.next().await.is_none());
        assert_eq!(survey.bytes(), 1 << 20);
    }
}
