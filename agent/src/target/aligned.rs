//! Buffers that a disk can read from and write to without a copy.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::sys::memory::{PAGE, Piece, Region};

/// Alignment of every buffer: the largest logical block of disks in use, and the size of a page.
pub const ALIGNMENT: usize = PAGE;

/// A buffer whose first byte lies at a multiple of [`ALIGNMENT`] and never moves; its memory is taken once and used
/// again.
pub struct AlignedBuf {
    memory: Piece,
    len: usize,
}

impl AlignedBuf {
    /// A buffer of zeroes with room for at least `capacity` bytes, and an initial length of that.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::many(1, capacity).pop().expect("one was asked for")
    }

    /// Several buffers in one region of memory.
    #[must_use]
    pub fn many(count: usize, capacity: usize) -> Vec<Self> {
        Piece::many(count, capacity)
            .into_iter()
            .map(|memory| AlignedBuf {
                memory,
                len: capacity,
            })
            .collect()
    }

    /// The memory that it is a part of.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        self.memory.region()
    }

    /// How long the buffer can become.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.bytes().len()
    }

    /// Sets the length. Bytes that come into view keep what they last held.
    ///
    /// # Panics
    /// When `len` is above the capacity.
    pub fn set_len(&mut self, len: usize) {
        let capacity = self.capacity();
        assert!(
            len <= capacity,
            "a buffer of {capacity} bytes can't be {len} long"
        );
        self.len = len;
    }

    /// Lengthens the buffer with zeroes to a multiple of `block`: the last chunk of an image whose size isn't one.
    pub fn pad_to(&mut self, block: usize) {
        let old = self.len;
        self.set_len(old.next_multiple_of(block));
        self[old..].fill(0);
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.memory.bytes_mut()[..len]
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_starts_at_a_page() {
        for size in [1, 512, 4095, 4096, 4097, 1 << 20] {
            let buffer = AlignedBuf::new(size);
            assert_eq!(buffer.as_ptr().addr() % ALIGNMENT, 0, "size {size}");
            assert_eq!(buffer.len(), size);
            assert!(buffer.capacity() >= size);
        }
    }

    #[test]
    fn padding_is_zero_even_where_old_bytes_lay() {
        let mut buffer = AlignedBuf::new(4096);
        buffer.fill(0xA5);
        buffer.set_len(700);
        buffer.pad_to(512);
        assert_eq!(buffer.len(), 1024);
        assert!(buffer[..700].iter().all(|&byte| byte == 0xA5));
        assert!(buffer[700..].iter().all(|&byte| byte == 0));
    }
}
