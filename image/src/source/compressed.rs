//! A raw disk in a compressed file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream as XzStream};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::detect::{HEAD_BYTES, detect, io_truncated};
use super::ratio::RatioGuard;
use super::{Format, ImageSource, Limits, SourceError};

const BUFFER_BYTES: usize = 256 << 10;
/// `xz -9` needs 65 MiB; a file that wants much more is made to exhaust memory.
const XZ_MEMORY_BYTES: u64 = 512 << 20;
/// Window of 128 MiB, what `zstd` itself accepts without being told to.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Decompresses a file while it is read. A file of several members or frames is one disk.
pub struct CompressedReader {
    decoder: Box<dyn Read + Send>,
    format: Format,
    file_bytes: u64,
    taken: Arc<AtomicU64>,
    given: u64,
    max_disk_bytes: u64,
    guard: RatioGuard,
    /// What was read to look at the content, and how much of it was given out.
    head: Vec<u8>,
    head_given: usize,
}

impl CompressedReader {
    /// Reads `file` from its beginning as `format`, one of the compressed ones. Decompresses the first bytes to see
    /// that there is a raw disk inside.
    pub fn new(file: File, format: Format, limits: &Limits) -> Result<Self, SourceError> {
        let file_bytes = file.metadata()?.len();
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file,
            position: 0,
            taken: Arc::clone(&taken),
        };
        let input = BufReader::with_capacity(BUFFER_BYTES, counted);
        let decoder: Box<dyn Read + Send> = match format {
            Format::RawGzip => Box::new(MultiGzDecoder::new(input)),
            Format::RawBzip2 => Box::new(MultiBzDecoder::new(input)),
            Format::RawXz => {
                let stream =
                    XzStream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED).map_err(io::Error::other)?;
                Box::new(XzDecoder::new_stream(input, stream))
            }
            Format::RawZstd => {
                let mut decoder = ZstdDecoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            other => return Err(SourceError::unsupported(other)),
        };
        let mut reader = Self {
            decoder,
            format,
            file_bytes,
            taken,
            given: 0,
            max_disk_bytes: limits.max_disk_bytes,
            guard: RatioGuard::new(limits.max_ratio),
            head: Vec::new(),
            head_given: 0,
        };
        reader.look_inside()?;
        Ok(reader)
    }

    fn look_inside(&mut self) -> Result<(), SourceError> {
        let mut head = vec![0; HEAD_BYTES];
        let mut got = 0;
        while got < head.len() {
            match self.decompress(&mut head[got..])? {
                0 => break,
                now => got += now,
            }
        }
        head.truncate(got);
        match detect(&head) {
            Format::Raw => {}
            inner => {
                return Err(SourceError::Nested {
                    outer: self.format,
                    inner,
                });
            }
        }
        if head.is_empty() {
            return Err(SourceError::Empty);
        }
        self.head = head;
        Ok(())
    }

    fn decompress(&mut self, out: &mut [u8]) -> Result<usize, SourceError> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = self.decoder.read(out).map_err(|source| self.fault(source))?;
        self.given += got as u64;
        if self.given > self.max_disk_bytes {
            return Err(SourceError::TooLarge {
                got: self.given,
                limit: self.max_disk_bytes,
            });
        }
        self.guard
            .admit(&out[..got], self.taken.load(Ordering::Relaxed))?;
        Ok(got)
    }

    fn fault(&self, source: io::Error) -> SourceError {
        if source.kind() == io::ErrorKind::Interrupted {
            return source.into();
        }
        let near = self.taken.load(Ordering::Relaxed);
        if io_truncated(&source) && near == self.file_bytes {
            return SourceError::Truncated {
                format: self.format,
                got: self.file_bytes,
            };
        }
        SourceError::Damaged {
            format: self.format,
            near,
            source,
        }
    }
}

impl fmt::Debug for CompressedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressedReader")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Read for CompressedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let head = &self.head[self.head_given..];
        if head.is_empty() {
            return self.decompress(out).map_err(SourceError::into_io);
        }
        let now = head.len().min(out.len());
        out[..now].copy_from_slice(&head[..now]);
        self.head_given += now;
        Ok(now)
    }
}

impl ImageSource for CompressedReader {}

/// Counts what a decompressor takes in.
struct Counted {
    file: File,
    position: u64,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = std::os::unix::fs::FileExt::read_at(&self.file, out, self.position)?;
        self.position += got as u64;
        self.taken.store(self.position, Ordering::Relaxed);
        Ok(got)
    }
}
