//! Writes to one file through io_uring: many in flight from one thread.
//!
//! The ring owns a buffer from the moment it is pushed until the kernel has answered, so that no memory is reused or
//! freed which the kernel still reads. The file and the memory of the pool are registered with the kernel once,
//! instead of being looked up and pinned for each write.

use std::{
    fmt, io,
    num::NonZeroUsize,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use nix::{libc, unistd};

use super::memory::Region;
use crate::target::AlignedBuf;

/// What the read of the waker is called in the ring.
const WAKE: u64 = u64::MAX;

/// A ring has an entry for each part of so long a write in each of its places; the parts of a longer one are longer.
const USUAL_WRITE: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;

/// Wakes a thread that waits in [`WriteRing::wait`].
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer and gives a new descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        Ok(Waker(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes it, now or when it next waits.
    pub fn wake(&self) {
        let written = unistd::write(&self.0, &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "a counter takes a one");
    }
}

/// A write that the kernel has answered.
#[derive(Debug)]
pub struct Answer {
    /// The place it was pushed to, which is free again.
    pub place: usize,
    /// The buffer.
    pub buffer: AlignedBuf,
    /// How many bytes were written, or why not.
    pub result: io::Result<usize>,
}

/// A write that the kernel has not answered in full.
struct Flying {
    /// What it reads.
    buffer: AlignedBuf,
    unanswered: usize,
    written: usize,
    error: Option<io::Error>,
}

/// A ring for writes to one file.
pub struct WriteRing {
    ring: IoUring,
    /// The writes that the kernel has, by place.
    flying: Vec<Option<Flying>>,
    /// Larger writes are given to the kernel in parts of this size.
    part_bytes: usize,
    /// The memory that the kernel has pinned.
    pinned: Option<Arc<Region>>,
    file: OwnedFd,
    file_is_registered: bool,
    waker: Arc<Waker>,
    // The kernel writes here when the waker is used; a box, so that it stays where it is.
    woken: Box<[u8; 8]>,
    waker_is_read: bool,
}

impl WriteRing {
    /// A ring with `depth` places for writes to `file`, which takes `largest_request` bytes at once: what is more, the
    /// kernel would have to cut, and leaves to threads instead, after it has tried and failed.
    ///
    /// # Errors
    /// `ENOSYS`, `EPERM` and the like where io_uring is missing or forbidden, or too old.
    pub fn new(
        file: BorrowedFd<'_>,
        depth: usize,
        largest_request: Option<NonZeroUsize>,
    ) -> io::Result<Self> {
        let part_bytes = largest_request.map_or(USUAL_WRITE, NonZeroUsize::get);
        let parts = USUAL_WRITE.div_ceil(part_bytes);
        let entries = u32::try_from((depth * parts + 1).next_power_of_two())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // Without the interrupt of the waiting thread for each answer, where the kernel can do that (5.19).
        let ring = match IoUring::builder().setup_coop_taskrun().build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries)?,
            built => built?,
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Write::CODE, opcode::WriteFixed::CODE, opcode::Read::CODE];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let file = file.try_clone_to_owned()?;
        let file_is_registered = ring.submitter().register_files(&[file.as_raw_fd()]).is_ok();
        Ok(WriteRing {
            ring,
            flying: (0..depth).map(|_| None).collect(),
            part_bytes,
            pinned: None,
            file,
            file_is_registered,
            waker: Arc::new(Waker::new()?),
            woken: Box::default(),
            waker_is_read: false,
        })
    }

    /// Pins the memory that most buffers are a part of. Only a gain: other buffers, and those of a process that may
    /// not pin as much, are written as well.
    ///
    /// # Errors
    /// When the kernel doesn't pin it.
    pub fn register(&mut self, memory: &Arc<Region>) -> io::Result<()> {
        if self.pinned.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let whole = libc::iovec {
            iov_base: memory.start().cast(),
            iov_len: memory.len(),
        };
        // SAFETY: the region stays mapped for as long as it is registered: `pinned` keeps it until `drop`, which
        // unregisters it first.
        unsafe { self.ring.submitter().register_buffers(&[whole]) }?;
        self.pinned = Some(Arc::clone(memory));
        Ok(())
    }

    /// What wakes the thread that waits here.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Whether the kernel has pinned the buffers.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.pinned.is_some()
    }

    /// How many places there are.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.flying.len()
    }

    /// A place that is free.
    #[must_use]
    pub fn free_place(&self) -> Option<usize> {
        self.flying.iter().position(Option::is_none)
    }

    /// How many writes are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.iter().flatten().count()
    }

    /// Queues a write of the whole buffer; the next [`wait`](Self::wait) gives it to the kernel.
    ///
    /// # Panics
    /// When the place isn't free.
    pub fn push(&mut self, place: usize, buffer: AlignedBuf, offset: u64) {
        assert!(self.flying[place].is_none(), "one write at a time in each place");
        let fixed = self
            .pinned
            .as_ref()
            .is_some_and(|memory| Arc::ptr_eq(memory, buffer.region()));
        let most_parts = USUAL_WRITE.div_ceil(self.part_bytes);
        let least_bytes = buffer.len().div_ceil(most_parts).next_multiple_of(PAGE_BYTES);
        let mut at = 0;
        let mut parts = Vec::with_capacity(most_parts);
        for part in buffer.chunks(self.part_bytes.max(least_bytes)) {
            let len = u32::try_from(part.len()).expect("a buffer of a few MiB");
            let entry = match (self.file_is_registered, fixed) {
                (true, true) => opcode::WriteFixed::new(types::Fixed(0), part.as_ptr(), len, 0)
                    .offset(offset + at)
                    .build(),
                (true, false) => opcode::Write::new(types::Fixed(0), part.as_ptr(), len)
                    .offset(offset + at)
                    .build(),
                (false, _) => opcode::Write::new(types::Fd(self.file.as_raw_fd()), part.as_ptr(), len)
                    .offset(offset + at)
                    .build(),
            };
            parts.push(entry.user_data(place as u64));
            at += u64::from(len);
        }
        // Moving the buffer doesn't move its bytes.
        self.flying[place] = Some(Flying {
            buffer,
            unanswered: parts.len(),
            written: 0,
            error: None,
        });
        for part in &parts {
            self.queue(part);
        }
    }

    fn queue(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entry points to, bytes of a buffer in `flying` or `woken`, is owned by this ring until the
        // kernel's answer was taken; `drop` waits for all answers.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("the ring has an entry for each part of each place and one for the waker");
    }

    /// Gives all that is queued to the kernel and waits until it has answered something, or until the waker is used.
    ///
    /// # Errors
    /// When the kernel refuses the ring itself.
    pub fn wait(&mut self) -> io::Result<()> {
        if !self.waker_is_read {
            let fd = types::Fd(self.waker.0.as_raw_fd());
            let read = opcode::Read::new(fd, self.woken.as_mut_ptr(), 8).build();
            self.waker_is_read = true;
            self.queue(&read.user_data(WAKE));
        }
        self.submit_and_wait()
    }

    fn submit_and_wait(&self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Ok(_) => Ok(()),
            // A signal, or the kernel is short of memory for a moment or has answers to be taken first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next answer that has come.
    pub fn answer(&mut self) -> Option<Answer> {
        loop {
            let entry = self.ring.completion().next()?;
            if entry.user_data() == WAKE {
                self.waker_is_read = false;
                continue;
            }
            let place = usize::try_from(entry.user_data()).expect("a place was pushed");
            let flying = self.flying[place].as_mut().expect("each part is answered once");
            flying.unanswered -= 1;
            match usize::try_from(entry.result()) {
                Ok(written) => flying.written += written,
                Err(_) => {
                    let error = io::Error::from_raw_os_error(-entry.result());
                    flying.error.get_or_insert(error);
                }
            }
            if flying.unanswered > 0 {
                continue;
            }
            let done = self.flying[place].take().expect("it was just there");
            return Some(Answer {
                place,
                buffer: done.buffer,
                result: done.error.map_or(Ok(done.written), Err),
            });
        }
    }
}

impl Drop for WriteRing {
    /// Waits until the kernel has done with all buffers.
    fn drop(&mut self) {
        while self.in_flight() > 0 || self.waker_is_read {
            if self.waker_is_read {
                self.waker.wake();
            }
            if self.submit_and_wait().is_err() {
                // It can't be known what the kernel still reads: that memory must not be used for anything else.
                std::mem::forget(std::mem::take(&mut self.flying));
                std::mem::forget(self.pinned.take());
                std::mem::forget(std::mem::take(&mut self.woken));
                return;
            }
            while self.answer().is_some() {}
        }
        // Else the kernel lets go of the disk some time after the ring is closed, and who opens it next finds it busy.
        if self.file_is_registered {
            self.ring.submitter().unregister_files().ok();
        }
        if self.pinned.is_some() {
            self.ring.submitter().unregister_buffers().ok();
        }
    }
}

impl fmt::Debug for WriteRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteRing")
            .field("depth", &self.flying.len())
            .field("in_flight", &self.in_flight())
            .field("registered", &self.is_registered())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
