//! The guard against files that grow without measure.

use super::SourceError;
use crate::zero::is_zero;

/// Data that is always allowed, whatever the file's size.
const FREE_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: usize = 4096;

/// Counts data that is not zero against what the file had.
#[derive(Debug, Clone, Copy)]
pub(super) struct RatioGuard {
    limit: u64,
    data: u64,
}

impl RatioGuard {
    pub fn new(limit: u64) -> Self {
        Self { limit, data: 0 }
    }

    /// Takes note of `out`, which came from a file of which `file` bytes were used so far.
    pub fn admit(&mut self, out: &[u8], file: u64) -> Result<(), SourceError> {
        let data: usize = out
            .chunks(BLOCK_BYTES)
            .filter(|block| !is_zero(block))
            .map(<[u8]>::len)
            .sum();
        self.data += data as u64;
        if self.data > FREE_BYTES && self.data / self.limit.max(1) > file {
            return Err(SourceError::Ratio {
                got: self.data,
                file,
                limit: self.limit,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_free_and_data_is_not() {
        let mut guard = RatioGuard::new(10);
        let (zeros, data) = (vec![0; 1 << 20], vec![1; 1 << 20]);
        for _ in 0..1000 {
            guard.admit(&zeros, 1).unwrap();
        }
        for _ in 0..256 {
            guard.admit(&data, 1).unwrap();
        }
        guard.admit(&data, 26 << 20).unwrap();
        assert!(matches!(
            guard.admit(&data, 25 << 20),
            Err(SourceError::Ratio { limit: 10, .. })
        ));
    }
}
