//! Takes chunks from a source in disk order.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use super::ImportError;
use crate::partition::DiskSketch;
use crate::source::ImageSource;
use crate::zero::is_zero;
use crate::{CHUNK_BYTES, PartitionSummary};

const VHD_COOKIE: &[u8] = b"conectix";
const SECTOR: usize = 512;

/// A chunk that holds data. `plain` has its bytes, whole sectors.
#[derive(Debug)]
pub(super) struct Filled {
    pub index: u64,
    pub plain: Vec<u8>,
}

/// What of the import's options concerns the reader.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadOptions<'a> {
    pub max_disk_bytes: u64,
    pub cancel: Option<&'a AtomicBool>,
    pub logical_sector_bytes: Option<u32>,
}

/// What is known about the disk once all of it was read.
#[derive(Debug)]
pub(super) struct DiskFacts {
    /// A multiple of the sector size.
    pub disk_size_bytes: u64,
    pub logical_sector_bytes: u32,
    pub partitions: PartitionSummary,
}

/// Reads all of `source` and hands on every chunk that is not all zero.
///
/// `take` gives an empty buffer of a chunk's capacity, or `None` when the import ends early; `put` takes it filled.
/// The chunks that are not handed on are holes.
pub(super) fn read_all(
    source: &mut dyn ImageSource,
    options: &ReadOptions<'_>,
    mut take: impl FnMut() -> Option<Vec<u8>>,
    mut put: impl FnMut(Filled) -> bool,
) -> Result<DiskFacts, ImportError> {
    let ReadOptions {
        max_disk_bytes,
        cancel,
        logical_sector_bytes,
    } = *options;
    let mut sketch = DiskSketch::default();
    let chunk_bytes = CHUNK_BYTES as usize;
    let expected = source.disk_size_bytes();
    if expected.is_some_and(|size| size > max_disk_bytes) {
        return Err(ImportError::TooLarge {
            limit: max_disk_bytes,
        });
    }
    let mut offset = 0u64;
    let mut spare = None;
    loop {
        if cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(ImportError::Cancelled);
        }
        let skipped = source
            .skip_zeros()
            .map_err(|source| ImportError::Read { offset, source })?;
        offset = offset.saturating_add(skipped);
        if offset > max_disk_bytes {
            return Err(ImportError::TooLarge {
                limit: max_disk_bytes,
            });
        }
        let Some(mut plain) = spare.take().or_else(&mut take) else {
            return Err(ImportError::Cancelled);
        };
        // A buffer that was filled before keeps its length, so that nothing is cleared only to be overwritten.
        plain.resize(chunk_bytes, 0);
        let got = fill(source, &mut plain).map_err(|(got, source)| ImportError::Read {
            offset: offset + got as u64,
            source,
        })?;
        plain[got..].fill(0);
        let last = got < chunk_bytes;
        if last && let Some(expected) = expected.filter(|size| *size != offset + got as u64) {
            return Err(ImportError::Truncated {
                expected,
                got: offset + got as u64,
            });
        }
        if last && has_vhd_footer(&plain[..got]) {
            return Err(ImportError::VhdFooter);
        }
        if (offset + got as u64) > max_disk_bytes {
            return Err(ImportError::TooLarge {
                limit: max_disk_bytes,
            });
        }
        let hole = is_zero(&plain[..got]);
        if !hole {
            sketch.observe(offset, &plain[..got]);
        }
        let mut end = offset + got as u64;
        let mut sector = None;
        if last {
            let bytes = match logical_sector_bytes {
                Some(bytes) => bytes,
                None => sketch
                    .sector_bytes(end)
                    .map_err(|source| ImportError::Read { offset: 0, source })?,
            };
            end = end.next_multiple_of(bytes.into());
            sector = Some(bytes);
        }
        if hole {
            spare = Some(plain);
        } else {
            // What is beyond the source's last byte is still zero: the padding of the last sector.
            plain.truncate(usize::try_from(end - offset).expect("not longer than a chunk"));
            let index = offset / u64::from(CHUNK_BYTES);
            if !put(Filled { index, plain }) {
                return Err(ImportError::Cancelled);
            }
        }
        if let Some(logical_sector_bytes) = sector {
            if end == 0 {
                return Err(ImportError::Empty);
            }
            let partitions = sketch
                .summarise(end, logical_sector_bytes)
                .map_err(|source| ImportError::Read { offset: 0, source })?;
            return Ok(DiskFacts {
                disk_size_bytes: end,
                logical_sector_bytes,
                partitions,
            });
        }
        offset = end;
    }
}

fn fill(source: &mut dyn ImageSource, out: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut got = 0;
    while got < out.len() {
        match Read::read(source, &mut out[got..]) {
            Ok(0) => break,
            Ok(now) => got += now,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((got, error)),
        }
    }
    Ok(got)
}

/// A fixed VHD has its only mark in its last sector. Found here for streams whose end could not be looked at before;
/// a footer that begins a chunk of its own is found too, because it is then all of the last one.
fn has_vhd_footer(last: &[u8]) -> bool {
    last.len() >= SECTOR && last[last.len() - SECTOR..].starts_with(VHD_COOKIE)
}
