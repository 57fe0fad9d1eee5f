//! The block decoder of libzstd, over a window that it shares with us.
//!
//! The streaming decoder of libzstd copies every byte once more, hashes it, and writes every zero of a disk that is
//! mostly empty. Given the blocks one by one, none of that is needed: a block that only repeats one byte is seen in its
//! header, and its zeroes are in the window already.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_void},
    io,
    ops::Range,
    ptr::{NonNull, slice_from_raw_parts_mut},
    slice,
};

use zstd::zstd_safe::zstd_sys::{ZSTD_DCtx, ZSTD_createDCtx, ZSTD_freeDCtx, ZSTD_getErrorName, ZSTD_isError};

use super::frame::{BLOCK_MAX, damaged};

// Part of every libzstd; zstd-sys declares them only with a feature that would have all its dependents built anew.
unsafe extern "C" {
    fn ZSTD_decompressBegin(context: *mut ZSTD_DCtx) -> usize;
    fn ZSTD_decompressBlock(
        context: *mut ZSTD_DCtx,
        out: *mut c_void,
        capacity: usize,
        block: *const c_void,
        len: usize,
    ) -> usize;
    fn ZSTD_insertBlock(context: *mut ZSTD_DCtx, block: *const c_void, len: usize) -> usize;
}

const PAGE: usize = 4096;
/// How far libzstd may copy beyond the end of a match, within the room that it is given (`WILDCOPY_OVERLENGTH`), twice.
const SLACK: usize = 64;

/// What was decoded last, as far back as a frame may refer, in a ring.
#[derive(Debug)]
pub(super) struct Ring {
    context: NonNull<ZSTD_DCtx>,
    // Raw, since the context keeps pointers into it from one call to the next.
    memory: NonNull<u8>,
    capacity: usize,
    /// How much of it this frame uses.
    len: usize,
    at: usize,
    block_max: usize,
    /// Which pages hold nothing but zeroes.
    clean: Vec<bool>,
}

impl Ring {
    /// A ring for frames with windows of up to `window` bytes.
    pub(super) fn new(window: usize) -> io::Result<Self> {
        // SAFETY: takes no arguments; null is checked.
        let context = NonNull::new(unsafe { ZSTD_createDCtx() }).ok_or(io::ErrorKind::OutOfMemory)?;
        let capacity = room(window, window.min(BLOCK_MAX)).next_multiple_of(PAGE);
        let memory = Box::leak(vec![0_u8; capacity].into_boxed_slice());
        let memory = NonNull::new(memory.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring {
            context,
            memory,
            capacity,
            len: 0,
            at: 0,
            block_max: 0,
            clean: vec![true; capacity / PAGE],
        })
    }

    /// Whether a frame with such a window fits.
    pub(super) fn takes(&self, window: usize) -> bool {
        room(window, window.min(BLOCK_MAX)) <= self.capacity
    }

    /// Begins a frame.
    ///
    /// # Panics
    /// When its window doesn't [fit](Self::takes).
    pub(super) fn begin(&mut self, window: usize, block_max: usize) -> io::Result<()> {
        assert!(
            self.takes(window) && block_max <= window.min(BLOCK_MAX),
            "the ring is too small for the frame"
        );
        self.len = room(window, block_max);
        self.at = 0;
        self.block_max = block_max;
        // SAFETY: the context is alive. From here on it has forgotten all pointers of the last frame.
        checked(unsafe { ZSTD_decompressBegin(self.context.as_ptr()) }).map(|_| ())
    }

    /// Decodes a compressed block. The result is valid until the next call.
    pub(super) fn compressed(&mut self, block: &[u8]) -> io::Result<&[u8]> {
        let at = self.next();
        // The decoder may use all the room of a block, however short the block becomes.
        self.soil(at..at + self.block_max);
        // SAFETY: `at + block_max` is within the memory, which lives as long as the context, is never moved, and is
        // referred to by nothing else now: results borrow `self`. Whatever the block says, libzstd writes to the room
        // that it is given and reads from what it was told of since `begin`, all of it in this memory.
        let len = checked(unsafe {
            ZSTD_decompressBlock(
                self.context.as_ptr(),
                self.memory.as_ptr().add(at).cast(),
                self.block_max,
                block.as_ptr().cast(),
                block.len(),
            )
        })?;
        self.at = at + len;
        Ok(self.slice(at..at + len))
    }

    /// Takes over a block that isn't compressed.
    ///
    /// # Panics
    /// When it is larger than the largest block of the frame.
    pub(super) fn plain(&mut self, block: &[u8]) {
        assert!(block.len() <= self.block_max, "a block is checked before");
        let at = self.next();
        self.soil(at..at + block.len());
        self.slice_mut(at..at + block.len()).copy_from_slice(block);
        self.insert(at..at + block.len());
    }

    /// Takes over a block that repeats one byte.
    ///
    /// # Panics
    /// When it is larger than the largest block of the frame.
    pub(super) fn repeat(&mut self, byte: u8, len: usize) -> &[u8] {
        assert!(len <= self.block_max, "a block is checked before");
        let at = self.next();
        if byte == 0 {
            self.wipe(at..at + len);
        } else {
            self.soil(at..at + len);
            self.slice_mut(at..at + len).fill(byte);
        }
        self.insert(at..at + len);
        self.slice(at..at + len)
    }

    /// Where the next block goes.
    fn next(&mut self) -> usize {
        if self.at + self.block_max > self.len {
            self.at = 0;
        }
        self.at
    }

    /// Tells the decoder of a block that it didn't make.
    fn insert(&mut self, place: Range<usize>) {
        let len = place.end - place.start;
        if len == 0 {
            return;
        }
        // SAFETY: the range is within the memory; see `compressed`. The function only notes the range.
        unsafe {
            ZSTD_insertBlock(
                self.context.as_ptr(),
                self.memory.as_ptr().add(place.start).cast(),
                len,
            );
        }
        self.at = place.end;
    }

    fn soil(&mut self, place: Range<usize>) {
        if !place.is_empty() {
            self.clean[place.start / PAGE..=(place.end - 1) / PAGE].fill(false);
        }
    }

    /// Makes a range zero, and remembers it: during a long run of zeroes nothing is left to be done.
    fn wipe(&mut self, place: Range<usize>) {
        let mut at = place.start;
        while at < place.end {
            let page = at / PAGE;
            let end = place.end.min((page + 1) * PAGE);
            if !self.clean[page] {
                self.slice_mut(at..end).fill(0);
                self.clean[page] = end - at == PAGE;
            }
            at = end;
        }
    }

    fn slice(&self, place: Range<usize>) -> &[u8] {
        assert!(place.start <= place.end && place.end <= self.capacity);
        // SAFETY: the range is within the memory, all of which was initialised.
        unsafe { slice::from_raw_parts(self.memory.as_ptr().add(place.start), place.end - place.start) }
    }

    fn slice_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        assert!(place.start <= place.end && place.end <= self.capacity);
        // SAFETY: as above, and nothing else refers to the memory while `self` is borrowed.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr().add(place.start), place.end - place.start) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: both were made by `new` and are given back once; the context goes before what it points to.
        unsafe {
            ZSTD_freeDCtx(self.context.as_ptr());
            drop(Box::from_raw(slice_from_raw_parts_mut(
                self.memory.as_ptr(),
                self.capacity,
            )));
        }
    }
}

/// What libzstd asks of a ring (`ZSTD_decodingBufferSize_min`): the window, and two blocks so that neither a block nor
/// the literals that are parked behind it overwrite the window.
fn room(window: usize, block_max: usize) -> usize {
    window + 2 * block_max + SLACK
}

fn checked(code: usize) -> io::Result<usize> {
    // SAFETY: looks at the number alone.
    if unsafe { ZSTD_isError(code) } == 0 {
        return Ok(code);
    }
    // SAFETY: gives a static text for every number.
    let name = unsafe { CStr::from_ptr(ZSTD_getErrorName(code)) };
    Err(damaged(format!(
        "a zstd block cannot be decoded: {}",
        name.to_string_lossy()
    )))
}
