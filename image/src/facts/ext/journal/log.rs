//! The blocks of a journal. All numbers are big-endian.

use super::checksum::Checksums;
use crate::facts::fault::Fault;
use crate::numbers::{be16, be32, be64, join32};

pub(super) const MAGIC: u32 = 0xC03B_3998;
const HEADER_BYTES: usize = 12;
const UUID_BYTES: usize = 16;
/// The checksum at the end of a list.
const TAIL_BYTES: usize = 4;
/// What precedes the blocks of a list of revoked ones.
const REVOKE_HEADER_BYTES: usize = 16;

/// Features that a reader need not know.
const CHECKSUM: u32 = 0x1;
/// Features that a reader must know.
const REVOKE: u32 = 0x1;
const WIDE: u32 = 0x2;
const ASYNC_COMMIT: u32 = 0x4;
const CHECKSUM_2: u32 = 0x8;
const CHECKSUM_3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
const CRC32C: u8 = 4;
/// How many blocks fast commits have when the journal does not say, ...
const FAST_COMMIT_BLOCKS: u64 = 256;
/// ... if so many are left for transactions.
const MIN_BLOCKS: u64 = 1024;

/// Flags of a tag.
const ESCAPE: u16 = 1;
const SAME_UUID: u16 = 2;
const LAST: u16 = 8;

/// What a block of the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revoke,
    Other,
}

/// What every block of the journal that is no copy begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub sequence: u32,
}

impl Header {
    pub fn parse(block: &[u8]) -> Option<Self> {
        (be32(block, 0) == MAGIC).then(|| Self {
            kind: match be32(block, 4) {
                1 => Kind::Descriptor,
                2 => Kind::Commit,
                5 => Kind::Revoke,
                _ => Kind::Other,
            },
            sequence: be32(block, 8),
        })
    }
}

/// What the first block of the journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Superblock {
    /// All blocks, those of fast commits included.
    pub blocks: u64,
    /// The transactions lie from here ...
    pub first: u64,
    /// ... to before here.
    pub end: u64,
    /// Where fast commits begin, if there may be any.
    pub fast_commits: Option<u64>,
    /// Where the first transaction begins that is to be replayed; 0 when there is none.
    pub start: u64,
    /// Its number.
    pub sequence: u32,
    /// Block numbers have 64 bits.
    pub wide: bool,
    pub checksums: Checksums,
    pub uuid: [u8; UUID_BYTES],
}

impl Superblock {
    pub fn parse(block: &[u8], block_bytes: u64) -> Result<Self, Fault> {
        let contradiction = || Fault::damaged("the journal's superblock contradicts itself");
        if be32(block, 0) != MAGIC {
            return Err(Fault::damaged("the journal has no superblock"));
        }
        // The first version has no features.
        let (compatible, features, read_only) = match be32(block, 4) {
            3 => (0, 0, 0),
            4 => (be32(block, 0x24), be32(block, 0x28), be32(block, 0x2C)),
            _ => return Err(Fault::damaged("the journal has no superblock")),
        };
        let known = REVOKE | WIDE | ASYNC_COMMIT | CHECKSUM_2 | CHECKSUM_3 | FAST_COMMIT;
        if features & !known != 0 || read_only != 0 {
            return Err(Fault::unsupported(format!(
                "the journal uses unknown features ({:#x})",
                features & !known
            )));
        }
        let checksums = match (
            features & CHECKSUM_2,
            features & CHECKSUM_3,
            compatible & CHECKSUM,
        ) {
            (0, 0, 0) => Checksums::None,
            (0, 0, _) => Checksums::OfTransactions,
            (_, 0, 0) if block[0x50] == CRC32C => Checksums::Short,
            (0, _, 0) if block[0x50] == CRC32C => Checksums::Full,
            _ => return Err(contradiction()),
        };
        if features & ASYNC_COMMIT != 0 && checksums == Checksums::None {
            return Err(Fault::unsupported(
                "the journal commits before all is written, without checksums",
            ));
        }
        let blocks = u64::from(be32(block, 0x10));
        let end = match u64::from(be32(block, 0x54)) {
            _ if features & FAST_COMMIT == 0 => None,
            0 => blocks.checked_sub(FAST_COMMIT_BLOCKS),
            fast => blocks.checked_sub(fast),
        };
        let end = end.filter(|end| *end >= MIN_BLOCKS).unwrap_or(blocks);
        let superblock = Self {
            blocks,
            first: be32(block, 0x14).into(),
            end,
            // The kernel leaves one block free between the two.
            fast_commits: Some(end + 1).filter(|first| features & FAST_COMMIT != 0 && *first < blocks),
            start: be32(block, 0x1C).into(),
            sequence: be32(block, 0x18),
            wide: features & WIDE != 0,
            checksums,
            uuid: block[0x30..0x40].try_into().expect("sixteen bytes"),
        };
        let sound = u64::from(be32(block, 0xC)) == block_bytes
            && (1..superblock.end).contains(&superblock.first)
            && (superblock.start == 0 || (superblock.first..superblock.end).contains(&superblock.start));
        if !sound {
            return Err(contradiction());
        }
        if checksums.of_blocks() && !checksum_holds(block) {
            return Err(Fault::damaged("the journal's superblock has a wrong checksum"));
        }
        Ok(superblock)
    }

    fn tag_bytes(&self) -> usize {
        match self.checksums {
            Checksums::Full => 16,
            // The short checksum came into the middle; the structure grew at its end all the same.
            Checksums::Short => 10 + self.wide_bytes(),
            Checksums::None | Checksums::OfTransactions => 8 + self.wide_bytes(),
        }
    }

    fn wide_bytes(&self) -> usize {
        if self.wide { 4 } else { 0 }
    }

    fn tail_bytes(&self) -> usize {
        if self.checksums.of_blocks() { TAIL_BYTES } else { 0 }
    }
}

fn checksum_holds(block: &[u8]) -> bool {
    super::checksum::crc32c(u32::MAX, &[&block[..0xFC], &[0; 4], &block[0x100..1024]]) == be32(block, 0xFC)
}

/// Names the block that a copy in the journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub block: u64,
    pub escaped: bool,
    /// It has flags that nobody sets.
    pub is_odd: bool,
    pub checksum: u32,
}

/// The tags of a list of blocks, in the order of the copies behind it.
pub(super) fn tags(block: &[u8], superblock: &Superblock) -> Vec<Tag> {
    let end = block.len() - superblock.tail_bytes();
    let bytes = superblock.tag_bytes();
    let mut tags = Vec::new();
    let mut at = HEADER_BYTES;
    while at + bytes <= end {
        // With a full checksum the flags have 32 bits, of which the kernel looks at these.
        let flags = be16(block, at + 6);
        let checksum = match superblock.checksums {
            Checksums::Full => be32(block, at + 12),
            _ => be16(block, at + 4).into(),
        };
        let high = if superblock.wide { be32(block, at + 8) } else { 0 };
        tags.push(Tag {
            block: join32(high, be32(block, at)),
            escaped: flags & ESCAPE != 0,
            is_odd: flags & !(ESCAPE | SAME_UUID | LAST) != 0,
            checksum,
        });
        if flags & LAST != 0 {
            break;
        }
        at += bytes;
        if flags & SAME_UUID == 0 {
            at += UUID_BYTES;
        }
    }
    tags
}

/// The blocks of a list of revoked ones, unless its length cannot be.
pub(super) fn revoked(block: &[u8], superblock: &Superblock) -> Option<Vec<u64>> {
    let end = usize::try_from(be32(block, HEADER_BYTES)).ok()?;
    if end > block.len() - superblock.tail_bytes() {
        return None;
    }
    let list = block.get(REVOKE_HEADER_BYTES..end)?;
    Some(if superblock.wide {
        list.chunks_exact(8).map(|entry| be64(entry, 0)).collect()
    } else {
        list.chunks_exact(4).map(|entry| be32(entry, 0).into()).collect()
    })
}
