//! Memory straight from the kernel: it starts at a page, never moves, and is only touched as far as it is used.

use std::{
    alloc::{Layout, handle_alloc_error},
    fmt,
    num::NonZeroUsize,
    ops::Range,
    ptr::NonNull,
    slice,
    sync::Arc,
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Size and alignment of what the kernel gives.
pub const PAGE: usize = 4096;

/// One mapping. Its bytes belong to the [`Piece`]s that were cut out of it.
pub struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address and a length; all access to its bytes goes through pieces that don't overlap.
unsafe impl Send for Region {}
// SAFETY: as above; the region itself reads and writes nothing.
unsafe impl Sync for Region {}

impl Region {
    fn map(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE).max(PAGE);
        let size = NonZeroUsize::new(len).expect("a page is not zero");
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory in use.
        let mapped = unsafe {
            mmap_anonymous(
                None,
                size,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
            )
        };
        match mapped {
            Ok(start) => Region {
                start: start.cast(),
                len,
            },
            // What every other allocation of this program does when there is no memory.
            Err(_) => {
                handle_alloc_error(Layout::from_size_align(len, PAGE).expect("a page is a power of two"))
            }
        }
    }

    /// The addresses of the region.
    #[must_use]
    pub fn addresses(&self) -> Range<usize> {
        let start = self.start.as_ptr().addr();
        start..start + self.len
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no piece of it is left.
        let unmapped = unsafe { munmap(self.start.cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes)", self.len)
    }
}

/// A part of a region, with one owner. Its bytes are zero until they are written.
pub struct Piece {
    region: Arc<Region>,
    start: usize,
    len: usize,
}

impl Piece {
    /// Maps one region and cuts it into `count` pieces of at least `bytes` each, which begin at pages.
    #[must_use]
    pub fn many(count: usize, bytes: usize) -> Vec<Piece> {
        let len = bytes.next_multiple_of(PAGE).max(PAGE);
        let region = Arc::new(Region::map(
            len.checked_mul(count.max(1))
                .expect("less than the address space"),
        ));
        (0..count)
            .map(|place| Piece {
                region: Arc::clone(&region),
                start: place * len,
                len,
            })
            .collect()
    }

    /// The region that it is a part of.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start..start + len` lies within the mapping, which lives as long as `region`; kernel pages are
        // initialised; no other piece overlaps, and `&self` allows no writer.
        unsafe { slice::from_raw_parts(self.region.start().add(self.start), self.len) }
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` is the only access to this piece.
        unsafe { slice::from_raw_parts_mut(self.region.start().add(self.start), self.len) }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zero_lie_at_pages_and_do_not_overlap() {
        let mut pieces = Piece::many(3, 5000);
        for (number, piece) in (1_u8..).zip(&mut pieces) {
            assert_eq!(piece.bytes().as_ptr().addr() % PAGE, 0);
            assert_eq!(piece.bytes().len(), 8192);
            assert!(piece.bytes().iter().all(|&byte| byte == 0));
            piece.bytes_mut().fill(number);
        }
        for (number, piece) in (1_u8..).zip(&pieces) {
            assert!(piece.bytes().iter().all(|&byte| byte == number));
            let (whole, part) = (piece.region().addresses(), piece.bytes().as_ptr_range());
            assert!(whole.start <= part.start.addr() && part.end.addr() <= whole.end);
        }
    }

    #[test]
    fn the_last_piece_gives_the_memory_back() {
        let mut pieces = Piece::many(2, PAGE);
        let region = Arc::downgrade(pieces[0].region());
        let last = pieces.pop();
        drop(pieces);
        assert!(region.upgrade().is_some());
        drop(last);
        assert!(region.upgrade().is_none());
    }
}
