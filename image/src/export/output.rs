//! The file that is being written: counted, hashed, and with its beginning left out when somebody has it already.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;

use super::{ExportOptions, Exported, Sha256};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Takes the bytes of a file in order.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    position: u64,
    from: u64,
    /// None when the beginning is left out, or nobody asks.
    hash: Option<digest::Context>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut dyn Write, options: &ExportOptions<'a>) -> Self {
        let wants_sum = options.from == 0 && !options.without_sum;
        Self {
            out,
            position: 0,
            from: options.from,
            hash: wants_sum.then(|| digest::Context::new(&digest::SHA256)),
            cancel: options.cancel,
        }
    }

    /// How many bytes the file has so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let skip = self.from.saturating_sub(self.position).min(bytes.len() as u64);
        self.position += bytes.len() as u64;
        let wanted = &bytes[usize::try_from(skip).expect("at most the length of a slice")..];
        if let Some(hash) = &mut self.hash {
            hash.update(wanted);
        }
        self.out.write_all(wanted)
    }

    pub fn zeros(&mut self, mut count: u64) -> io::Result<()> {
        let skipped = self.from.saturating_sub(self.position).min(count);
        self.position += skipped;
        count -= skipped;
        while count > 0 {
            if self.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(&ZEROS[..now])?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Zeros up to `position`, which is not behind the end of what was written.
    pub fn zeros_to(&mut self, position: u64) -> io::Result<()> {
        debug_assert!(position >= self.position, "a file is written in order");
        self.zeros(position.saturating_sub(self.position))
    }

    /// Zeros up to the next multiple of `unit`.
    pub fn align(&mut self, unit: u64) -> io::Result<()> {
        self.zeros_to(self.position.next_multiple_of(unit))
    }

    /// Bytes that were not even made, because they are before what is wanted.
    pub fn absent(&mut self, count: u64) {
        debug_assert!(
            self.position + count <= self.from,
            "only what is left out can be absent"
        );
        self.position += count;
    }

    pub fn finish(self) -> Exported {
        let sha256 = self.hash.map(|hash| {
            let sum = hash.finish();
            Sha256::from_bytes(sum.as_ref().try_into().expect("SHA-256 has 32 bytes"))
        });
        Exported {
            file_bytes: self.position,
            sha256,
        }
    }
}
