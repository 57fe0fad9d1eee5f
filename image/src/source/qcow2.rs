//! QEMU's qcow2, versions 2 and 3: read in disk order from one file.
//!
//! The file is untrusted. What would make it depend on other files or keys is refused by name. Every offset is
//! checked against the file's length, and every cluster that is used gets one owner: a table that is met twice, a
//! data cluster that lies in a table or belongs to two places of the disk is refused, so that neither a cycle nor a
//! small file that pretends to be a huge one gets through.

mod ahead;
mod claims;
mod cluster;
mod error;
mod header;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ahead::{Ahead, Place};
use claims::Claims;
pub use error::Qcow2Error;
use header::Header;

use super::ratio::RatioGuard;
use super::{ImageSource, Limits, SourceError};
use crate::CHUNK_BYTES;
use crate::numbers::be64_table;

/// Bits 9 to 55 of a table's entry: an offset in the file.
const OFFSET_MASK: u64 = 0x00FF_FFFF_FFFF_FE00;
/// Bit 63 of a table's entry: the cluster has one user. Not needed to read.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an entry of version 3: reads as zeros.
const ZERO: u64 = 1;

/// What the tables say about one cluster of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapping {
    Zero,
    Data(u64),
    Compressed { offset: u64, bytes: u64 },
}

/// Reads the disk in a qcow2 file, beginning at its first byte.
#[derive(Debug)]
pub struct Qcow2Reader {
    file: Arc<File>,
    file_bytes: u64,
    header: Header,
    /// Where the L2 tables lie; 0 for none.
    l1: Vec<u64>,
    l2: Vec<u64>,
    /// Which of the L2 tables `l2` holds.
    l2_loaded: Option<u64>,
    claims: Claims,
    /// Clusters of the disk below this one have been claimed.
    claimed_below: u64,
    ahead: Ahead,
    /// The compressed cluster that was read last, and its content.
    inflated: Option<(u64, Vec<u8>)>,
    /// Clusters of the disk below this one have been asked for, as far as they are compressed.
    asked_below: u64,
    guard: RatioGuard,
    position: u64,
}

impl Qcow2Reader {
    /// Opens a qcow2 file; refuses what cannot be read from this file alone.
    pub fn new(file: File, limits: &Limits) -> Result<Self, SourceError> {
        let file_bytes = file.metadata()?.len();
        let header = Header::read(&file, file_bytes)?;
        limits.admit(header.size)?;
        let mut claims = Claims::new(file_bytes, header.cluster_bytes())?;
        claims.claim("the header", 0, header.cluster_bytes())?;
        let refcount_bytes = u64::from(header.refcount_table_clusters) * header.cluster_bytes();
        if refcount_bytes > 0 {
            claims.claim("the refcount table", header.refcount_table_offset, refcount_bytes)?;
        }
        let l1 = read_l1(&file, file_bytes, &header, &mut claims)?;
        let file = Arc::new(file);
        let ahead = Ahead::new(Arc::clone(&file), header.compression, header.cluster_bytes())?;
        Ok(Self {
            file,
            file_bytes,
            header,
            l1,
            l2: Vec::new(),
            l2_loaded: None,
            claims,
            claimed_below: 0,
            ahead,
            inflated: None,
            asked_below: 0,
            guard: RatioGuard::new(limits.max_ratio),
            position: 0,
        })
    }

    fn l2_entries(&self) -> u64 {
        self.header.cluster_bytes() / 8
    }

    fn mapping(&mut self, cluster: u64) -> Result<Mapping, Qcow2Error> {
        let table = cluster / self.l2_entries();
        let offset =
            self.l1[usize::try_from(table).expect("the disk's clusters are covered by the L1 table")];
        if offset == 0 {
            return Ok(Mapping::Zero);
        }
        if self.l2_loaded != Some(table) {
            let bytes = self.header.cluster_bytes();
            self.l2 = read_table(&self.file, self.file_bytes, "an L2 table", offset, bytes)?;
            self.l2_loaded = Some(table);
        }
        let at = usize::try_from(cluster % self.l2_entries()).expect("less than a cluster");
        self.parse(self.l2[at])
    }

    fn parse(&self, entry: u64) -> Result<Mapping, Qcow2Error> {
        if entry & COMPRESSED != 0 {
            // The higher the clusters, the more bits count sectors and the fewer are left for the offset.
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = ((entry & !COPIED & !COMPRESSED) >> offset_bits) + 1;
            return Ok(Mapping::Compressed {
                offset,
                bytes: sectors * 512 - (offset & 511),
            });
        }
        let zero = if self.header.version >= 3 { ZERO } else { 0 };
        if entry & !(OFFSET_MASK | COPIED | zero) != 0 {
            return Err(Qcow2Error::Reserved {
                what: "an L2 table",
                entry,
            });
        }
        let offset = entry & OFFSET_MASK;
        if entry & zero != 0 || offset == 0 {
            return Ok(Mapping::Zero);
        }
        if !offset.is_multiple_of(self.header.cluster_bytes()) {
            return Err(Qcow2Error::Misaligned {
                what: "a data cluster",
                offset,
            });
        }
        Ok(Mapping::Data(offset))
    }

    /// Bytes of a cluster that belong to the disk: all but those behind its end.
    fn used_bytes(&self, cluster: u64) -> u64 {
        self.header
            .cluster_bytes()
            .min(self.header.size - cluster * self.header.cluster_bytes())
    }

    /// Makes sure that a data cluster lies in the file and belongs to no other place.
    fn claim_data(&mut self, cluster: u64, offset: u64) -> Result<(), Qcow2Error> {
        if cluster < self.claimed_below {
            return Ok(());
        }
        // What is behind the end of the disk need not be in the file.
        within(
            self.file_bytes,
            "a data cluster",
            offset,
            self.used_bytes(cluster),
        )?;
        self.claims.claim("a data cluster", offset, 1)?;
        self.claimed_below = cluster + 1;
        Ok(())
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize, SourceError> {
        let cluster_bytes = self.header.cluster_bytes();
        let cluster = self.position / cluster_bytes;
        let skip = self.position % cluster_bytes;
        let clamp = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(out.len());
        match self.mapping(cluster)? {
            Mapping::Zero => {
                let now = clamp(self.used_bytes(cluster) - skip);
                out[..now].fill(0);
                Ok(now)
            }
            Mapping::Data(offset) => {
                self.claim_data(cluster, offset)?;
                let mut bytes = self.used_bytes(cluster) - skip;
                // Neighbours on the disk that are neighbours in the file too are one read.
                let last_of_table = (cluster / self.l2_entries() + 1) * self.l2_entries();
                let mut next = cluster + 1;
                while bytes < out.len() as u64
                    && next < last_of_table
                    && next * cluster_bytes < self.header.size
                {
                    let wanted = Mapping::Data(offset + (next - cluster) * cluster_bytes);
                    let follows = self.mapping(next).is_ok_and(|mapping| mapping == wanted);
                    if !follows
                        || self
                            .claim_data(next, offset + (next - cluster) * cluster_bytes)
                            .is_err()
                    {
                        break;
                    }
                    bytes += self.used_bytes(next);
                    next += 1;
                }
                let now = clamp(bytes);
                self.file
                    .read_exact_at(&mut out[..now], offset + skip)
                    .map_err(|source| Qcow2Error::Io {
                        offset: offset + skip,
                        source,
                    })?;
                Ok(now)
            }
            Mapping::Compressed { offset, bytes } => {
                let now = clamp(self.used_bytes(cluster) - skip);
                let skip = usize::try_from(skip).expect("less than a cluster");
                let plain = self.inflate(cluster, offset, bytes)?;
                out[..now].copy_from_slice(&plain[skip..skip + now]);
                Ok(now)
            }
        }
    }

    fn inflate(&mut self, cluster: u64, offset: u64, bytes: u64) -> Result<&[u8], SourceError> {
        if self.inflated.as_ref().is_none_or(|(held, _)| *held != cluster) {
            if let Some((_, plain)) = self.inflated.take() {
                self.ahead.give_back(plain);
            }
            let place = self.place(cluster, offset, bytes)?;
            self.ask_ahead(cluster)?;
            let plain = self.ahead.take(place)?;
            self.guard.admit(&plain, self.file_bytes)?;
            self.inflated = Some((cluster, plain));
        }
        let (_, plain) = self.inflated.as_ref().expect("it was put there above");
        Ok(plain)
    }

    fn place(&self, cluster: u64, offset: u64, bytes: u64) -> Result<Place, Qcow2Error> {
        within(self.file_bytes, "a compressed cluster", offset, 1)?;
        // The length counts whole sectors, of which the last one of the file may be short.
        let bytes = bytes.min(self.file_bytes - offset);
        Ok(Place {
            cluster,
            offset,
            bytes,
        })
    }

    /// Has the next compressed clusters inflated, as far as one L2 table reaches. What is wrong with them is told
    /// when the reader comes to them.
    fn ask_ahead(&mut self, cluster: u64) -> Result<(), SourceError> {
        let last_of_table = (cluster / self.l2_entries() + 1) * self.l2_entries();
        let end = last_of_table.min(self.header.size.div_ceil(self.header.cluster_bytes()));
        self.asked_below = self.asked_below.max(cluster);
        while self.ahead.room() > 0 && self.asked_below < end {
            let next = self.asked_below;
            self.asked_below += 1;
            if let Ok(Mapping::Compressed { offset, bytes }) = self.mapping(next)
                && let Ok(place) = self.place(next, offset, bytes)
            {
                self.ahead.ask(place)?;
            }
        }
        Ok(())
    }

    /// How many clusters from `cluster` on read as zeros, as far as one L2 table reaches.
    fn zero_run(&mut self, cluster: u64) -> Result<u64, Qcow2Error> {
        let end = (cluster / self.l2_entries() + 1) * self.l2_entries();
        let table = usize::try_from(cluster / self.l2_entries()).expect("an index of the L1 table");
        if self.l1[table] == 0 {
            return Ok(end - cluster);
        }
        let mut next = cluster;
        while next < end && self.mapping(next)? == Mapping::Zero {
            next += 1;
        }
        Ok(next - cluster)
    }

    fn skip(&mut self) -> Result<u64, Qcow2Error> {
        let cluster_bytes = self.header.cluster_bytes();
        let mut end = self.position;
        while end < self.header.size {
            let run = self.zero_run(end / cluster_bytes)?;
            if run == 0 {
                break;
            }
            end = (end / cluster_bytes + run) * cluster_bytes;
        }
        if end >= self.header.size {
            end = self.header.size;
        } else {
            end -= end % u64::from(CHUNK_BYTES);
        }
        let skipped = end.saturating_sub(self.position);
        self.position += skipped;
        Ok(skipped)
    }
}

impl Read for Qcow2Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.header.size || out.is_empty() {
            return Ok(0);
        }
        let now = self.read_some(out).map_err(SourceError::into_io)?;
        self.position += now as u64;
        Ok(now)
    }
}

impl ImageSource for Qcow2Reader {
    fn disk_size_bytes(&self) -> Option<u64> {
        Some(self.header.size)
    }

    fn skip_zeros(&mut self) -> io::Result<u64> {
        self.skip().map_err(|error| SourceError::from(error).into_io())
    }
}

/// Reads the L1 table and claims the L2 tables that it names.
fn read_l1(
    file: &File,
    file_bytes: u64,
    header: &Header,
    claims: &mut Claims,
) -> Result<Vec<u64>, Qcow2Error> {
    let bytes = header.l1_entries() * 8;
    claims.claim("the L1 table", header.l1_offset, bytes)?;
    let mut l1 = read_table(file, file_bytes, "the L1 table", header.l1_offset, bytes)?;
    for entry in &mut l1 {
        if *entry & !(OFFSET_MASK | COPIED) != 0 {
            return Err(Qcow2Error::Reserved {
                what: "the L1 table",
                entry: *entry,
            });
        }
        let offset = *entry & OFFSET_MASK;
        if offset != 0 {
            if !offset.is_multiple_of(header.cluster_bytes()) {
                return Err(Qcow2Error::Misaligned {
                    what: "an L2 table",
                    offset,
                });
            }
            within(file_bytes, "an L2 table", offset, header.cluster_bytes())?;
            claims.claim("an L2 table", offset, header.cluster_bytes())?;
        }
        *entry = offset;
    }
    Ok(l1)
}

fn read_table(
    file: &File,
    file_bytes: u64,
    what: &'static str,
    offset: u64,
    bytes: u64,
) -> Result<Vec<u64>, Qcow2Error> {
    within(file_bytes, what, offset, bytes)?;
    let mut table = vec![0; usize::try_from(bytes).expect("tables are bounded by the header's check")];
    file.read_exact_at(&mut table, offset)
        .map_err(|source| Qcow2Error::Io { offset, source })?;
    Ok(be64_table(&table))
}

fn within(file_bytes: u64, what: &'static str, offset: u64, bytes: u64) -> Result<(), Qcow2Error> {
    match offset.checked_add(bytes) {
        Some(end) if end <= file_bytes => Ok(()),
        end => Err(Qcow2Error::Truncated {
            what,
            expected: end.unwrap_or(u64::MAX),
            got: file_bytes,
        }),
    }
}
