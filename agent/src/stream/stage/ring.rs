//! The thread that owns the ring.

use std::{io, sync::Arc, thread};

use nix::libc;

use super::{Report, Shared, Tell, queue::Write, threads::STACK_BYTES};
use crate::{
    stream::{on_panic::OnPanic, progress::InDisk},
    sys::uring::{Answer, WriteRing},
    target::{Direct, Operation, WriteError},
};

/// Starts the ring, if the target is a file that one can be made for; tells whether its buffers are registered.
pub(super) fn start(shared: &Arc<Shared>, depth: usize, tell: &Tell) -> io::Result<Option<bool>> {
    let Some(direct) = shared.target.direct() else {
        return Ok(None);
    };
    let mut ring = WriteRing::new(direct.file, depth.max(1), direct.largest_request)?;
    if let Some(region) = shared.pool.region()
        && let Err(error) = ring.register(region)
    {
        tracing::info!(%error, "the buffers cannot be registered with the kernel, going on without");
    }
    let registered = ring.is_registered();
    let waker = ring.waker();
    let (theirs, tell) = (Arc::clone(shared), Arc::clone(tell));
    shared.queue.serve_ring(waker);
    thread::Builder::new()
        .name("ring".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Dropped after all else: who hears nothing any more may trust that the disk is left alone.
            let tell = OnPanic::new(tell, |tell| tell(Report::Died { thread: "ring" }));
            RingThread::new(&theirs, ring, &tell).work();
            drop(theirs);
        })?;
    Ok(Some(registered))
}

/// What the kernel was given.
struct Given {
    offset: u64,
    tag: u64,
    _in_disk: InDisk,
}

struct RingThread<'a> {
    shared: &'a Shared,
    ring: WriteRing,
    given: Vec<Option<Given>>,
    tell: &'a Tell,
}

impl<'a> RingThread<'a> {
    fn new(shared: &'a Shared, ring: WriteRing, tell: &'a Tell) -> Self {
        let given = (0..ring.depth()).map(|_| None).collect();
        RingThread {
            shared,
            ring,
            given,
            tell,
        }
    }

    fn work(mut self) {
        let mut batch = Vec::with_capacity(self.given.len());
        loop {
            let free = self.given.len() - self.ring.in_flight();
            let more = self.shared.queue.fill(&mut batch, free);
            for write in batch.drain(..) {
                self.give(write);
            }
            if !more && self.ring.in_flight() == 0 {
                return;
            }
            if let Err(error) = self.ring.wait() {
                (self.tell)(Report::Failed(self.failed(0, 0, error)));
                return;
            }
            while let Some(answer) = self.ring.answer() {
                self.take(answer);
            }
        }
    }

    /// Gives a write to the kernel; an odd one, which direct I/O can't do, to the helper.
    fn give(&mut self, write: Write) {
        let fits = self
            .shared
            .target
            .direct()
            .is_some_and(|direct| fits(&direct, write.offset, write.buffer.len() as u64));
        let Some(place) = self.ring.free_place().filter(|_| fits) else {
            self.shared.queue.pass_on(write);
            return;
        };
        self.given[place] = Some(Given {
            offset: write.offset,
            tag: write.tag,
            _in_disk: self.shared.meter.in_disk(),
        });
        self.ring.push(place, write.buffer, write.offset);
    }

    fn take(&mut self, answer: Answer) {
        let Answer {
            place,
            buffer,
            result,
        } = answer;
        let Given {
            offset,
            tag,
            _in_disk,
        } = self.given[place].take().expect("an answer belongs to a write");
        drop(_in_disk);
        let len = buffer.len() as u64;
        match result {
            Ok(written) if written as u64 == len => {
                self.shared.pool.give(buffer);
                self.shared.written(tag, len, self.tell);
                self.shared.queue.done();
            }
            Err(error) if is_final(&error) => {
                self.shared.pool.give(buffer);
                (self.tell)(Report::Failed(self.failed(offset, len, error)));
                self.shared.queue.done();
            }
            // Short, or refused for now, or by the ring alone: plain writes decide.
            _ => self.shared.queue.pass_on(Write { buffer, offset, tag }),
        }
    }

    fn failed(&self, offset: u64, len: u64, source: io::Error) -> WriteError {
        WriteError {
            device: self.shared.target.id().clone(),
            operation: Operation::Write,
            offset,
            len,
            source,
        }
    }
}

/// Whether direct I/O takes it as it is.
fn fits(direct: &Direct<'_>, offset: u64, len: u64) -> bool {
    offset.is_multiple_of(direct.alignment)
        && len.is_multiple_of(direct.alignment)
        && offset.checked_add(len).is_some_and(|end| end <= direct.len)
}

/// Errors of the disk, as opposed to those of a ring that can't do something or is short of something.
fn is_final(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::EINTR
                | libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::ECANCELED
                | libc::ENOMEM
                | libc::ENOBUFS
        )
    )
}
