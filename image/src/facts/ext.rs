//! Reads ext2, ext3 and ext4.
//!
//! Ours rather than a library: those that there are follow extent trees and directories as far as the tables say,
//! which a hostile image can make practically endless. Here every step is charged to the image's measure of work.
//! Checksums are not checked, but those of the journal: the bytes were proven by the artifact's digests, and nothing is
//! ever written. What the journal holds of a file system that was in use is read as if it were in its place.

mod directory;
mod journal;
mod map;
#[cfg(test)]
mod tests;

use self::journal::Overlay;
use super::fault::Fault;
use super::volume::{Entry, Extent, Kind, Node, Place, Volume};
use crate::numbers::{join32, le16, le32};

const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u16 = 0xEF53;
const ROOT_INODE: u32 = 2;

/// What changes the layout, and how it is called.
const RECOVERY: u32 = 0x4;
const BIGALLOC: u32 = 0x200;
const WIDE: u32 = 0x80;
const REFUSED: [(u32, &str); 4] = [
    (0x1, "compression"),
    (0x8, "an external journal"),
    (0x10, "meta_bg"),
    (0x1000, "dirdata"),
];
const KNOWN: u32 =
    0x2 | RECOVERY | 0x40 | WIDE | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;

/// Flags of an inode.
const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;

/// What the superblock says.
#[derive(Debug)]
pub(super) struct Ext<'a> {
    part: Extent<'a>,
    block_bytes: u64,
    blocks: u64,
    free_blocks: u64,
    first_block: u64,
    inode_bytes: u64,
    inodes: u32,
    inodes_per_group: u32,
    blocks_per_group: u32,
    descriptor_bytes: u64,
    wide: bool,
    bigalloc: bool,
    overlay: Overlay,
    /// It was not unmounted cleanly.
    pub unclean: bool,
    /// ext2, ext3 or ext4, by what it uses.
    pub generation: &'static str,
    pub label: String,
    pub uuid: String,
}

impl<'a> Ext<'a> {
    /// Whether a file system of this family begins in `part`.
    pub fn probe(part: Extent<'_>) -> Result<bool, Fault> {
        let mut magic = [0; 2];
        if part.size < SUPERBLOCK_OFFSET + 1024 {
            return Ok(false);
        }
        part.read(SUPERBLOCK_OFFSET + 56, &mut magic)?;
        Ok(u16::from_le_bytes(magic) == MAGIC)
    }

    /// Reads the superblock. What cannot be read whole and for certain is refused.
    pub fn open(part: Extent<'a>) -> Result<Self, Fault> {
        let mut sb = [0; 1024];
        part.read(SUPERBLOCK_OFFSET, &mut sb)?;
        let mut ext = Self::parse(part, &sb)?;
        if le32(&sb, 0x60) & RECOVERY != 0 {
            let replayed = journal::replay(&ext, le32(&sb, 0xE0)).and_then(|overlay| {
                ext.overlay = overlay;
                ext.read_disk(SUPERBLOCK_OFFSET, &mut sb)?;
                Self::parse(part, &sb)
            });
            let replayed = replayed.map_err(|fault| {
                Fault::unsupported(format!(
                    "it was not unmounted cleanly, and its journal cannot be replayed: {}",
                    fault.reason()
                ))
            })?;
            ext = Self {
                overlay: ext.overlay,
                unclean: true,
                ..replayed
            };
        }
        Ok(ext)
    }

    fn parse(part: Extent<'a>, sb: &[u8; 1024]) -> Result<Self, Fault> {
        let (compat, incompat, read_only) = (le32(sb, 0x5C), le32(sb, 0x60), le32(sb, 0x64));
        for (bit, name) in REFUSED {
            if incompat & bit != 0 {
                return Err(Fault::unsupported(format!("it uses {name}")));
            }
        }
        if incompat & !KNOWN != 0 {
            let unknown = incompat & !KNOWN;
            return Err(Fault::unsupported(format!(
                "it uses unknown features ({unknown:#x})"
            )));
        }
        let wide = incompat & WIDE != 0;
        let high = |at| if wide { le32(sb, at) } else { 0 };
        let shift = le32(sb, 0x18);
        let (inode_bytes, descriptor_bytes) = match le32(sb, 0x4C) {
            0 => (128, 32),
            _ => (le16(sb, 0x58), if wide { le16(sb, 0xFE) } else { 32 }),
        };
        let ext = Self {
            part,
            block_bytes: 1024 << shift.min(7),
            blocks: join32(high(0x150), le32(sb, 4)),
            free_blocks: join32(high(0x158), le32(sb, 0xC)),
            first_block: le32(sb, 0x14).into(),
            inode_bytes: inode_bytes.into(),
            inodes: le32(sb, 0),
            inodes_per_group: le32(sb, 0x28),
            blocks_per_group: le32(sb, 0x20),
            descriptor_bytes: descriptor_bytes.into(),
            wide,
            bigalloc: read_only & BIGALLOC != 0,
            overlay: Overlay::default(),
            unclean: false,
            generation: match (incompat & !(0x2 | RECOVERY), compat & 0x4) {
                (0, 0) if read_only & 0x78 == 0 => "ext2",
                (0, _) if read_only & 0x78 == 0 => "ext3",
                _ => "ext4",
            },
            label: text(&sb[0x78..0x88]),
            uuid: uuid(&sb[0x68..0x78]),
        };
        let sound = le16(sb, 0x38) == MAGIC
            && shift <= 6
            && ext.inodes_per_group > 0
            && ext.inode_bytes.is_power_of_two()
            && (128..=ext.block_bytes).contains(&ext.inode_bytes)
            && ext.descriptor_bytes.is_power_of_two()
            && (32..=1024).contains(&ext.descriptor_bytes)
            && (!wide || ext.descriptor_bytes >= 64)
            && ext.free_blocks <= ext.blocks
            && ext.first_block == u64::from(shift == 0);
        if !sound {
            return Err(Fault::damaged("the superblock contradicts itself"));
        }
        let size = ext.blocks.checked_mul(ext.block_bytes);
        if size.is_none_or(|size| size > part.size) {
            return Err(Fault::damaged("it is larger than its partition"));
        }
        Ok(ext)
    }

    fn inode(&self, number: u32) -> Result<Node, Fault> {
        if number == 0 || number > self.inodes {
            return Err(Fault::damaged(format!("there is no inode {number}")));
        }
        let group = (number - 1) / self.inodes_per_group;
        let index = u64::from((number - 1) % self.inodes_per_group);
        let mut descriptor = [0; 64];
        let descriptor = &mut descriptor[..if self.wide { 64 } else { 32 }];
        let table = (self.first_block + 1) * self.block_bytes;
        self.read_disk(table + u64::from(group) * self.descriptor_bytes, descriptor)?;
        let high = if self.wide { le32(descriptor, 0x28) } else { 0 };
        let first = join32(high, le32(descriptor, 8));
        let offset = first
            .checked_mul(self.block_bytes)
            .and_then(|at| at.checked_add(index * self.inode_bytes))
            .filter(|_| first < self.blocks)
            .ok_or_else(|| Fault::damaged(format!("inode {number} lies nowhere")))?;
        let mut inode = [0; 128];
        self.read_disk(offset, &mut inode)?;
        let kind = match le16(&inode, 0) & 0xF000 {
            0x8000 => Kind::File,
            0x4000 => Kind::Directory,
            0xA000 => Kind::Link,
            _ => Kind::Other,
        };
        Ok(Node {
            kind,
            size: join32(le32(&inode, 0x6C), le32(&inode, 4)),
            place: Place::Inode {
                number,
                flags: le32(&inode, 0x20),
                map: inode[0x28..0x64].try_into().expect("60 bytes"),
            },
        })
    }

    /// The block of `file` that is number `logical`: where it is on the disk, or nothing for a hole; and how many
    /// blocks lie there in one piece.
    fn locate(&self, file: &Node, logical: u64) -> Result<(Option<u64>, u64), Fault> {
        let Place::Inode { flags, map, .. } = &file.place else {
            return Err(Fault::damaged("not an inode"));
        };
        let (block, run) = if flags & EXTENTS != 0 {
            map::by_extents(self, map, logical)?
        } else {
            map::by_blocks(self, map, logical)?
        };
        if block.is_some_and(|block| block.checked_add(run).is_none_or(|end| end > self.blocks)) {
            return Err(Fault::damaged("a block behind the end of the file system"));
        }
        Ok((block, run))
    }

    fn read_block(&self, block: u64) -> Result<Vec<u8>, Fault> {
        if block == 0 || block >= self.blocks {
            return Err(Fault::damaged("a block behind the end of the file system"));
        }
        let mut bytes = vec![0; usize::try_from(self.block_bytes).expect("at most 64 KiB")];
        self.read_disk(block * self.block_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` from `offset` of the partition, with what the journal holds of it.
    fn read_disk(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        if self.overlay.is_empty() {
            return self.part.read(offset, out);
        }
        let (mut offset, mut out) = (offset, out);
        while !out.is_empty() {
            let (block, within) = (offset / self.block_bytes, offset % self.block_bytes);
            let left = usize::try_from(self.block_bytes - within).expect("at most 64 KiB");
            let (now, later) = out.split_at_mut(left.min(out.len()));
            match self.overlay.get(block) {
                None => self.part.read(offset, now)?,
                Some(copied) => {
                    self.part.read(copied.block * self.block_bytes + within, now)?;
                    let start = usize::try_from(within).expect("at most 64 KiB");
                    if copied.escaped
                        && let Some(magic) = journal::ESCAPED.get(start..)
                    {
                        let bytes = magic.len().min(now.len());
                        now[..bytes].copy_from_slice(&magic[..bytes]);
                    }
                }
            }
            offset += now.len() as u64;
            out = later;
        }
        Ok(())
    }

    /// The blocks that all groups say to be free. The superblock says so too, but only when it was unmounted.
    fn free_in_groups(&self) -> Result<u64, Fault> {
        if self.bigalloc {
            return Err(Fault::unsupported(
                "how much is free in a file system with bigalloc that was not unmounted cleanly",
            ));
        }
        let groups = self
            .blocks
            .saturating_sub(self.first_block)
            .div_ceil(u64::from(self.blocks_per_group).max(1));
        let table = (self.first_block + 1) * self.block_bytes;
        let mut descriptor = [0; 64];
        let descriptor = &mut descriptor[..if self.wide { 64 } else { 32 }];
        let mut free = 0_u64;
        for group in 0..groups {
            self.read_disk(table + group * self.descriptor_bytes, descriptor)?;
            let high = if self.wide { le16(descriptor, 0x2C) } else { 0 };
            free += u64::from(high) << 16 | u64::from(le16(descriptor, 0xC));
        }
        Ok(free)
    }
}

impl Volume for Ext<'_> {
    fn root(&self) -> Result<Node, Fault> {
        let root = self.inode(ROOT_INODE)?;
        if root.kind == Kind::Directory {
            Ok(root)
        } else {
            Err(Fault::damaged("the root is no directory"))
        }
    }

    fn entries(&self, directory: &Node) -> Result<Vec<Entry>, Fault> {
        directory::entries(self, directory)
    }

    fn lookup(&self, directory: &Node, name: &str) -> Result<Option<Node>, Fault> {
        match directory::find(self, directory, name)? {
            Some(number) => self.inode(number).map(Some),
            None => Ok(None),
        }
    }

    fn read(&self, file: &Node, offset: u64, out: &mut [u8]) -> Result<usize, Fault> {
        let Place::Inode { flags, map, .. } = &file.place else {
            return Err(Fault::damaged("not an inode"));
        };
        if flags & ENCRYPTED != 0 {
            return Err(Fault::unsupported("it is encrypted"));
        }
        let left = usize::try_from(file.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(out.len());
        if wanted == 0 {
            return Ok(0);
        }
        let short_link = file.kind == Kind::Link && file.size < 60 && flags & EXTENTS == 0;
        if short_link || flags & INLINE != 0 {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let bytes = map
                .get(start..start.saturating_add(wanted))
                .ok_or_else(|| Fault::unsupported("its data lies in its attributes"))?;
            out[..wanted].copy_from_slice(bytes);
            return Ok(wanted);
        }
        let within = offset % self.block_bytes;
        let (block, run) = self.locate(file, offset / self.block_bytes)?;
        let piece = (run * self.block_bytes).saturating_sub(within);
        let now = usize::try_from(piece).unwrap_or(usize::MAX).min(wanted);
        match block {
            Some(block) => self.read_disk(block * self.block_bytes + within, &mut out[..now])?,
            None => {
                self.part.work.charge(now as u64)?;
                out[..now].fill(0);
            }
        }
        Ok(now)
    }

    fn used_bytes(&self) -> Result<u64, Fault> {
        let free = if self.unclean {
            self.free_in_groups()?
        } else {
            self.free_blocks
        };
        let used = self.blocks.checked_sub(free);
        let used = used.ok_or_else(|| Fault::damaged("more is free than there is"))?;
        Ok(used * self.block_bytes)
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(super) fn uuid(bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
