//! Buffers that a disk can read from and write to without a copy.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Alignment of every buffer: the largest logical block of disks in use, and the size of a page.
pub const ALIGNMENT: usize = 4096;

/// A buffer whose first byte lies at a multiple of [`ALIGNMENT`]; its memory is taken once and used again.
pub struct AlignedBuf {
    // A boxed slice never moves its bytes, so `start` holds for its whole life.
    memory: Box<[u8]>,
    start: usize,
    capacity: usize,
    len: usize,
}

impl AlignedBuf {
    /// A buffer of zeroes with room for at least `capacity` bytes, and an initial length of that.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let rounded = capacity.next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        let memory = vec![0_u8; rounded + ALIGNMENT].into_boxed_slice();
        let address = memory.as_ptr().addr();
        let start = address.next_multiple_of(ALIGNMENT) - address;
        AlignedBuf {
            memory,
            start,
            capacity: rounded,
            len: capacity,
        }
    }

    /// How long the buffer can become.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the length. Bytes that come into view keep what they last held.
    ///
    /// # Panics
    /// When `len` is above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(
            len <= self.capacity,
            "a buffer of {} bytes can't be {len} long",
            self.capacity
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
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
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
