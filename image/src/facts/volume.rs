//! What the readers of file systems have in common: nodes, entries, and bytes of files.

use std::fmt;

use super::disk::ReadAt;
use super::fault::{Fault, Work};

/// Most entries that one directory may have.
pub(super) const MAX_ENTRIES: usize = 100_000;
/// Most bytes that one directory may have.
pub(super) const MAX_DIRECTORY_BYTES: u64 = 32 << 20;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// A file, directory or link, with what its reader needs to find its bytes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: Kind,
    pub size: u64,
    pub place: Place,
}

/// Where the bytes of a node are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// An inode: its number, flags and the 60 bytes of its block map, extent tree or short link.
    Inode { number: u32, flags: u32, map: [u8; 60] },
    /// The first cluster; 0 is the fixed root directory or an empty file.
    Cluster(u32),
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub kind: Kind,
}

/// A file system inside a partition.
pub(super) trait Volume: std::fmt::Debug {
    fn root(&self) -> Result<Node, Fault>;
    /// The entries of a directory without `.` and `..`, in the order in which they stand there.
    fn entries(&self, directory: &Node) -> Result<Vec<Entry>, Fault>;
    fn lookup(&self, directory: &Node, name: &str) -> Result<Option<Node>, Fault>;
    /// Fills the front of `out` from `offset`; says how much, 0 at the end of the file.
    fn read(&self, file: &Node, offset: u64, out: &mut [u8]) -> Result<usize, Fault>;
    /// Bytes in use.
    fn used_bytes(&self) -> Result<u64, Fault>;
}

/// The part of a disk that a file system lies in.
#[derive(Clone, Copy)]
pub(super) struct Extent<'a> {
    pub disk: &'a dyn ReadAt,
    pub first_byte: u64,
    pub size: u64,
    pub work: &'a Work,
}

impl fmt::Debug for Extent<'_> {
    /// Without the disk, which may be one in memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extent")
            .field("first_byte", &self.first_byte)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Extent<'_> {
    /// Fills `out` from `offset` of this part, and counts it.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(Fault::damaged("it points behind the end of its partition"));
        }
        let offset = self.first_byte + offset;
        self.work.charge_at(offset, out.len() as u64)?;
        self.disk.read_at(offset, out).map_err(|source| Fault::Disk {
            offset,
            bytes: out.len(),
            source,
        })
    }
}
