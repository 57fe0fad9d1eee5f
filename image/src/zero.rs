//! Fast detection of zeros: most of a disk is empty, so this looks at every byte of every image.

/// Short enough to stay in the first-level cache while it is compared with megabytes.
const ZEROS: [u8; 4096] = [0; 4096];

/// Whether every byte is zero. An empty slice is.
///
/// Comparing with a block of zeros ends in the C library's vectorised `memcmp` whatever the optimisation level.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(ZEROS.len())
        .all(|block| block == &ZEROS[..block.len()])
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_is_seen() {
        assert!(is_zero(&[]));
        for len in [1, 15, 16, 17, 4095, 4096, 4097, 10_000] {
            let mut bytes = vec![0u8; len];
            assert!(is_zero(&bytes), "{len}");
            for position in [0, len / 2, len - 1] {
                bytes[position] = 0x80;
                assert!(!is_zero(&bytes), "{position} of {len}");
                bytes[position] = 0;
            }
        }
    }
}
