//! Compressed blocks, each of which decompresses alone.

use std::io;

use flate2::{Decompress, FlushDecompress};

use super::{ContainerError, Input};

/// What is around the compressed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// None.
    Deflate,
    Zlib,
}

/// Decompresses one block at a time.
#[derive(Debug)]
pub(super) struct Inflater {
    wrapper: Wrapper,
    codec: Decompress,
    packed: Vec<u8>,
}

impl Inflater {
    pub fn new(wrapper: Wrapper) -> Self {
        Self {
            wrapper,
            codec: Decompress::new(wrapper == Wrapper::Zlib),
            packed: Vec::new(),
        }
    }

    /// Decompresses what lies in `bytes` at `offset` until `plain` is full. Less is an error; what follows is not
    /// looked at.
    pub fn inflate(
        &mut self,
        input: &Input,
        offset: u64,
        bytes: u64,
        plain: &mut [u8],
    ) -> Result<(), ContainerError> {
        const WHAT: &str = "a compressed block";
        input.within(WHAT, offset, bytes)?;
        self.packed.resize(
            usize::try_from(bytes).expect("the caller bounds it by the block"),
            0,
        );
        input.read(WHAT, offset, &mut self.packed)?;
        self.codec.reset(self.wrapper == Wrapper::Zlib);
        self.codec
            .decompress(&self.packed, plain, FlushDecompress::Finish)
            .map_err(|source| ContainerError::Decompress {
                format: input.format,
                offset,
                source: io::Error::other(source),
            })?;
        let got = usize::try_from(self.codec.total_out()).expect("not longer than the buffer");
        if got == plain.len() {
            Ok(())
        } else {
            Err(ContainerError::ShortBlock {
                format: input.format,
                offset,
                expected: plain.len(),
                got,
            })
        }
    }
}
