//! Reads FAT12, FAT16 and FAT32, the file systems of EFI system partitions.
//!
//! Ours rather than a library: the ones that there are want to write, and trust what the boot sector says.

mod directory;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use super::fault::Fault;
use super::volume::{Entry, Extent, Kind, Node, Place, Volume};
use crate::numbers::{le16, le32};

/// FAT12 below this many clusters, FAT16 below the next, FAT32 from there.
const FAT16_FROM: u32 = 4085;
const FAT32_FROM: u32 = 65525;
const MAX_CLUSTERS: u32 = 0x0FFF_FFF5;
/// A cluster number that ends a chain, whatever the width.
const END: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// What the boot sector says.
#[derive(Debug)]
pub(super) struct Fat<'a> {
    part: Extent<'a>,
    width: Width,
    /// Where the first table begins, and its size.
    table: u64,
    table_bytes: u64,
    /// Where the root directory of FAT12 and FAT16 is, and its size.
    fixed_root: u64,
    fixed_root_bytes: u64,
    /// Where FAT32 has its root directory.
    root_cluster: u32,
    data: u64,
    cluster_bytes: u64,
    clusters: u32,
    /// The last step of a walk: first cluster of the chain, number in it, cluster.
    last: Cell<(u32, u64, u32)>,
    pub label: String,
    /// The serial number as tools show it: `1234-ABCD`.
    pub serial: String,
}

impl<'a> Fat<'a> {
    /// Whether the boot sector of `part` is one of this family.
    pub fn probe(part: Extent<'_>) -> Result<bool, Fault> {
        if part.size < 512 {
            return Ok(false);
        }
        let mut boot = [0; 512];
        part.read(0, &mut boot)?;
        let jump = matches!(boot[0], 0xEB | 0xE9);
        let sector = le16(&boot, 11);
        Ok(boot[510..] == [0x55, 0xAA]
            && jump
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && boot[13].is_power_of_two()
            && le16(&boot, 14) > 0
            && matches!(boot[16], 1 | 2))
    }

    /// Reads the boot sector.
    pub fn open(part: Extent<'a>) -> Result<Self, Fault> {
        let mut boot = [0; 512];
        part.read(0, &mut boot)?;
        let sector = u64::from(le16(&boot, 11));
        let cluster_sectors = u64::from(boot[13]);
        let or_wide = |short: usize, wide: usize| match le16(&boot, short) {
            0 => u64::from(le32(&boot, wide)),
            short => u64::from(short),
        };
        let sectors = or_wide(19, 32);
        let table_sectors = or_wide(22, 36);
        let wide = le16(&boot, 22) == 0;
        let reserved = u64::from(le16(&boot, 14));
        let root_entries = u64::from(le16(&boot, 17));
        let contradiction = || Fault::damaged("the boot sector contradicts itself");
        if !matches!(sector, 512 | 1024 | 2048 | 4096) || !cluster_sectors.is_power_of_two() {
            return Err(contradiction());
        }
        if sectors * sector > part.size {
            return Err(Fault::damaged("it is larger than its partition"));
        }
        let fixed_root = reserved + u64::from(boot[16]) * table_sectors;
        let root_sectors = (root_entries * 32).div_ceil(sector);
        let data = fixed_root + root_sectors;
        let left = sectors.checked_sub(data).ok_or_else(contradiction)?;
        let clusters = u32::try_from(left / cluster_sectors).map_err(|_| contradiction())?;
        let width = match clusters {
            _ if wide => Width::ThirtyTwo,
            0..FAT16_FROM => Width::Twelve,
            FAT16_FROM..FAT32_FROM => Width::Sixteen,
            _ => return Err(contradiction()),
        };
        let extended = if wide { 64 } else { 36 };
        let signed = boot[extended + 2] == 0x29;
        let fat = Self {
            part,
            width,
            table: reserved * sector,
            table_bytes: table_sectors * sector,
            fixed_root: fixed_root * sector,
            fixed_root_bytes: root_sectors * sector,
            root_cluster: if wide { le32(&boot, 44) } else { 0 },
            data: data * sector,
            cluster_bytes: cluster_sectors * sector,
            clusters,
            last: Cell::new((0, 0, 0)),
            label: match &boot[extended + 7..extended + 18] {
                label if signed && label != b"NO NAME    " => {
                    String::from_utf8_lossy(label).trim_end().to_owned()
                }
                _ => String::new(),
            },
            serial: if signed {
                let serial = le32(&boot, extended + 3);
                format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)
            } else {
                String::new()
            },
        };
        if clusters == 0 || clusters > MAX_CLUSTERS || fat.entry_end(clusters + 1) > fat.table_bytes {
            return Err(contradiction());
        }
        Ok(fat)
    }

    /// `fat12`, `fat16` or `fat32`.
    pub fn name(&self) -> &'static str {
        match self.width {
            Width::Twelve => "fat12",
            Width::Sixteen => "fat16",
            Width::ThirtyTwo => "fat32",
        }
    }

    /// Where the table's entry of a cluster begins and ends, from the table's first byte.
    fn entry_start(&self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self.width {
            Width::Twelve => cluster + cluster / 2,
            Width::Sixteen => cluster * 2,
            Width::ThirtyTwo => cluster * 4,
        }
    }

    fn entry_end(&self, cluster: u32) -> u64 {
        self.entry_start(cluster) + if self.width == Width::ThirtyTwo { 4 } else { 2 }
    }

    /// The table's entry out of `bytes`, which begin where the entry does.
    fn entry(&self, cluster: u32, bytes: &[u8]) -> u32 {
        let (value, end) = match self.width {
            Width::Twelve if cluster % 2 == 1 => (u32::from(le16(bytes, 0) >> 4), 0xFF7),
            Width::Twelve => (u32::from(le16(bytes, 0) & 0xFFF), 0xFF7),
            Width::Sixteen => (le16(bytes, 0).into(), 0xFFF7),
            Width::ThirtyTwo => (le32(bytes, 0) & 0x0FFF_FFFF, 0x0FFF_FFF7),
        };
        if value >= end { END } else { value }
    }

    /// The cluster after `cluster`, nothing at the end of the chain.
    fn next(&self, cluster: u32) -> Result<Option<u32>, Fault> {
        let start = self.entry_start(cluster);
        let mut bytes = [0; 4];
        let length = usize::try_from(self.entry_end(cluster) - start).expect("two or four bytes");
        self.part.read(self.table + start, &mut bytes[..length])?;
        match self.entry(cluster, &bytes) {
            END => Ok(None),
            next => self.check(next).map(Some),
        }
    }

    fn check(&self, cluster: u32) -> Result<u32, Fault> {
        if (2..self.clusters + 2).contains(&cluster) {
            Ok(cluster)
        } else {
            Err(Fault::damaged(format!("there is no cluster {cluster}")))
        }
    }

    fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - 2) * self.cluster_bytes
    }

    /// The cluster that is number `index` of the chain that begins with `first`.
    fn walk(&self, first: u32, index: u64) -> Result<Option<u32>, Fault> {
        if index > self.clusters.into() {
            return Err(Fault::damaged("a chain of clusters that goes in circles"));
        }
        // A damaged entry can begin with cluster 0, which is also what `last` holds before the first walk.
        let first = self.check(first)?;
        let (mut cluster, mut at) = match self.last.get() {
            (chain, at, cluster) if chain == first && at <= index => (cluster, at),
            _ => (first, 0),
        };
        while at < index {
            match self.next(cluster)? {
                Some(next) => cluster = next,
                None => return Ok(None),
            }
            at += 1;
        }
        self.last.set((first, at, cluster));
        Ok(Some(cluster))
    }
}

impl Volume for Fat<'_> {
    fn root(&self) -> Result<Node, Fault> {
        Ok(Node {
            kind: Kind::Directory,
            size: 0,
            place: Place::Cluster(self.root_cluster),
        })
    }

    fn entries(&self, directory: &Node) -> Result<Vec<Entry>, Fault> {
        let found = directory::read(self, directory)?;
        Ok(found
            .into_iter()
            .map(|(name, node)| Entry {
                name,
                kind: node.kind,
            })
            .collect())
    }

    fn lookup(&self, directory: &Node, name: &str) -> Result<Option<Node>, Fault> {
        let found = directory::read(self, directory)?;
        Ok(found
            .into_iter()
            .find(|(entry, _)| entry.eq_ignore_ascii_case(name))
            .map(|(_, node)| node))
    }

    fn read(&self, file: &Node, offset: u64, out: &mut [u8]) -> Result<usize, Fault> {
        let Place::Cluster(first) = file.place else {
            return Err(Fault::damaged("not a chain of clusters"));
        };
        let left = usize::try_from(file.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let within = offset % self.cluster_bytes;
        let piece = usize::try_from(self.cluster_bytes - within).expect("at most 512 KiB");
        let now = left.min(out.len()).min(piece);
        if now == 0 {
            return Ok(0);
        }
        let Some(cluster) = self.walk(first, offset / self.cluster_bytes)? else {
            return Err(Fault::damaged("a file that is longer than its chain of clusters"));
        };
        self.part.read(self.offset(cluster) + within, &mut out[..now])?;
        Ok(now)
    }

    fn used_bytes(&self) -> Result<u64, Fault> {
        // In pieces that hold whole entries of each width.
        const PIECE: u32 = 12 << 10;
        let mut used = 0_u64;
        let mut first = 0;
        let mut bytes = Vec::new();
        while first < self.clusters + 2 {
            let last = (first + PIECE).min(self.clusters + 2) - 1;
            let start = self.entry_start(first);
            bytes.resize(
                usize::try_from(self.entry_end(last) - start).expect("a small piece"),
                0,
            );
            self.part.read(self.table + start, &mut bytes)?;
            for cluster in first.max(2)..=last {
                let at = usize::try_from(self.entry_start(cluster) - start).expect("within the piece");
                used += u64::from(self.entry(cluster, &bytes[at..]) != 0);
            }
            first = last + 1;
        }
        Ok(used * self.cluster_bytes)
    }
}
