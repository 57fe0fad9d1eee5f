//! Compressed clusters: each decompresses alone into exactly one cluster.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::Qcow2Error;
use super::header::Compression;

/// Clusters have at most 2 MiB, so no honest one needs a longer window than 16 MiB.
const ZSTD_WINDOW_LOG: u32 = 24;

enum Codec {
    Zlib(Decompress),
    Zstd(Box<Decoder<'static>>),
}

/// Decompresses one cluster at a time.
pub(super) struct Inflater {
    codec: Codec,
    input: Vec<u8>,
}

impl Inflater {
    pub fn new(compression: Compression) -> io::Result<Self> {
        let codec = match compression {
            Compression::Zlib => Codec::Zlib(Decompress::new(false)),
            Compression::Zstd => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                Codec::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            codec,
            input: Vec::new(),
        })
    }

    pub fn compression(&self) -> Compression {
        match self.codec {
            Codec::Zlib(_) => Compression::Zlib,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }

    /// Decompresses what lies in `bytes` at `offset` into `plain`, which has a cluster's length. Fewer bytes than a cluster are an error; what the sectors
    /// hold behind them is not looked at.
    pub fn inflate(
        &mut self,
        file: &File,
        offset: u64,
        bytes: u64,
        plain: &mut [u8],
    ) -> Result<(), Qcow2Error> {
        self.input.resize(
            usize::try_from(bytes).expect("a compressed cluster has few sectors"),
            0,
        );
        file.read_exact_at(&mut self.input, offset)
            .map_err(|source| Qcow2Error::Io { offset, source })?;
        let expected = plain.len();
        let got = match &mut self.codec {
            Codec::Zlib(codec) => {
                codec.reset(false);
                codec
                    .decompress(&self.input, plain, FlushDecompress::Finish)
                    .map(|_| usize::try_from(codec.total_out()).expect("not longer than the buffer"))
                    .map_err(io::Error::other)
            }
            Codec::Zstd(codec) => unzstd(codec, &self.input, plain),
        }
        .map_err(|source| Qcow2Error::Decompress { offset, source })?;
        if got != expected {
            return Err(Qcow2Error::ShortCluster {
                offset,
                expected,
                got,
            });
        }
        Ok(())
    }
}

fn unzstd(codec: &mut Decoder<'static>, input: &[u8], plain: &mut [u8]) -> io::Result<usize> {
    codec.reinit()?;
    let mut input = InBuffer::around(input);
    let mut output = OutBuffer::around(plain);
    loop {
        let before = (input.pos(), output.pos());
        let finished = codec.run(&mut input, &mut output)? == 0;
        if finished || output.pos() == output.capacity() || (input.pos(), output.pos()) == before {
            return Ok(output.pos());
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}
