//! Remembers the few sectors of a disk that its partition table is made of, while the disk streams by.

use std::io::{self, Read, Seek, SeekFrom};

use super::{PartitionSummary, detect_sector_bytes, mbr, read_summary};

const SECTOR: u64 = 512;
const HEAD_BYTES: usize = 1 << 20;
/// The backup GPT takes 33 sectors of 512 bytes or five of 4096.
const TAIL_BYTES: usize = 64 << 10;
const MAX_LINKS: usize = 128;

/// A disk of which only head, tail and the boot records of logical partitions are kept; the rest reads as zeros.
#[derive(Debug, Default)]
pub(crate) struct DiskSketch {
    head: Vec<u8>,
    tail_offset: u64,
    tail: Vec<u8>,
    links: Vec<(u64, [u8; 512])>,
    /// Where the boot record of the next logical partition is expected.
    next_link: Option<mbr::Link>,
    size: u64,
    position: u64,
}

impl DiskSketch {
    /// Takes note of `bytes` at `offset`. Called in disk order, with all but holes, in pieces of whole chunks.
    pub fn observe(&mut self, offset: u64, bytes: &[u8]) {
        if offset == 0 {
            self.head = bytes[..bytes.len().min(HEAD_BYTES)].to_vec();
            let sector = self.sector_bytes(bytes.len() as u64).unwrap_or(512);
            self.next_link = self
                .head
                .first_chunk()
                .and_then(|boot| mbr::first_link(boot, sector));
        }
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        self.tail_offset = offset + (bytes.len() - tail.len()) as u64;
        self.tail.clear();
        self.tail.extend_from_slice(tail);
        while let Some(link) = self.next_link.filter(|_| self.links.len() < MAX_LINKS) {
            let Some(at) = link
                .offset
                .checked_sub(offset)
                .and_then(|at| usize::try_from(at).ok())
            else {
                break;
            };
            let Some(record) = bytes.get(at..).and_then(<[u8]>::first_chunk::<512>) else {
                break;
            };
            self.links.push((link.offset, *record));
            self.next_link = link.next(record).filter(|next| next.offset > link.offset);
        }
    }

    /// The sector size that the partition table was made for.
    pub fn sector_bytes(&mut self, size: u64) -> io::Result<u32> {
        self.size = size;
        detect_sector_bytes(self)
    }

    /// The summary of a disk of `size` bytes.
    pub fn summarise(&mut self, size: u64, sector_bytes: u32) -> io::Result<PartitionSummary> {
        self.size = size;
        read_summary(self, sector_bytes)
    }

    fn piece(&self, position: u64) -> Option<&[u8]> {
        let within = |offset: u64, bytes: &[u8]| {
            let at = usize::try_from(position.checked_sub(offset)?).ok()?;
            (at < bytes.len()).then_some(at)
        };
        if let Some(at) = within(0, &self.head) {
            return Some(&self.head[at..]);
        }
        if let Some(at) = within(self.tail_offset, &self.tail) {
            return Some(&self.tail[at..]);
        }
        self.links
            .iter()
            .find_map(|(offset, record)| within(*offset, record).map(|at| &record[at..]))
    }
}

impl Read for DiskSketch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let limit = left.min(out.len());
        let now = match self.piece(self.position) {
            Some(piece) => {
                let now = piece.len().min(limit);
                out[..now].copy_from_slice(&piece[..now]);
                now
            }
            None => {
                let to_boundary = SECTOR - self.position % SECTOR;
                let now = usize::try_from(to_boundary)
                    .expect("a sector is short")
                    .min(limit);
                out[..now].fill(0);
                now
            }
        };
        self.position += now as u64;
        Ok(now)
    }
}

impl Seek for DiskSketch {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
