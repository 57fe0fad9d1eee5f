//! A copy to memory that somebody else reads next.
//!
//! A buffer that the disk has just read from belongs to other caches than those of the core that fills it again. Ordinary
//! stores fetch every line from there first, only to overwrite it. Streaming stores don't.

/// Copies `from` to `to`.
///
/// # Panics
/// When their lengths differ.
pub fn copy(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "one byte for each byte");
    #[cfg(target_arch = "x86_64")]
    stream::copy(to, from);
    #[cfg(not(target_arch = "x86_64"))]
    to.copy_from_slice(from);
}

#[cfg(target_arch = "x86_64")]
mod stream {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    /// A line of the caches.
    const LINE: usize = 64;
    const LANE: usize = size_of::<__m128i>();

    pub(super) fn copy(to: &mut [u8], from: &[u8]) {
        // Streaming stores need aligned places; only whole lines gain anything.
        let before = to.as_ptr().align_offset(LINE).min(to.len());
        let (first, rest) = to.split_at_mut(before);
        let (first_from, rest_from) = from.split_at(before);
        first.copy_from_slice(first_from);
        let whole = rest.len() / LINE * LINE;
        let (lines, last) = rest.split_at_mut(whole);
        let (lines_from, last_from) = rest_from.split_at(whole);
        last.copy_from_slice(last_from);
        for (line, line_from) in lines.chunks_exact_mut(LINE).zip(lines_from.chunks_exact(LINE)) {
            copy_line(line, line_from);
        }
        // SAFETY: SSE is a part of every x86_64. Streaming stores are ordered by nothing else: whoever is told that the
        // buffer is full must find it so.
        unsafe { _mm_sfence() };
    }

    #[inline]
    fn copy_line(line: &mut [u8], from: &[u8]) {
        debug_assert!(line.len() == LINE && from.len() == LINE && line.as_ptr().align_offset(LINE) == 0);
        let (to, from) = (line.as_mut_ptr(), from.as_ptr());
        // SAFETY: SSE2 is a part of every x86_64; both slices have a whole line, and `line` begins at a multiple of it,
        // as the caller sees to.
        unsafe {
            let lanes = [0, LANE, 2 * LANE, 3 * LANE].map(|at| _mm_loadu_si128(from.add(at).cast()));
            for (number, lane) in lanes.into_iter().enumerate() {
                _mm_stream_si128(to.add(number * LANE).cast(), lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn every_length_and_place_is_copied_whole_and_nothing_beside_it() {
        let from: Vec<u8> = (0..700_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for start in [0, 1, 15, 16, 63, 64, 65] {
            for len in [0, 1, 15, 63, 64, 65, 127, 128, 300, 512] {
                let mut to = vec![0xEE; 700];
                copy(&mut to[start..start + len], &from[3..3 + len]);
                assert_eq!(to[start..start + len], from[3..3 + len], "{start} {len}");
                assert!(
                    to[..start]
                        .iter()
                        .chain(&to[start + len..])
                        .all(|&byte| byte == 0xEE)
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "one byte for each byte")]
    fn lengths_that_differ_are_refused() {
        copy(&mut [0; 3], &[0; 4]);
    }
}
