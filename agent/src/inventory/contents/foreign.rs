//! File systems and volumes of other worlds: Windows, macOS, the BSDs, optical discs. No server keeps its Linux on them, and
//! somebody may miss what is there all the same.

use imprint_proto::agent::v1::DiskContent;

use super::{
    Extent,
    file_systems::data,
    signatures::{be32, le32},
};

/// A volume that BitLocker has encrypted; it has replaced the name of the file system.
pub(super) fn bitlocker(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 16)?;
    (block[3..11] == *b"-FVE-FS-").then(|| data("bitlocker", &[], &[]))
}

pub(super) fn refs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 16)?;
    (block[3..8] == *b"ReFS\0").then(|| data("refs", &[], &[]))
}

/// The first volume descriptor, at the 16th block of 2 KiB.
pub(super) fn iso9660(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(32 << 10, 128)?;
    (block[1..6] == *b"CD001").then(|| data("iso9660", &block[40..72], &[]))
}

/// One of the first descriptors from 32 KiB on.
pub(super) fn udf(extent: &Extent<'_>) -> Option<DiskContent> {
    (0..16)
        .any(|number| {
            extent
                .at((32 << 10) + number * 2048, 8)
                .is_some_and(|block| matches!(&block[1..6], b"NSR02" | b"NSR03"))
        })
        .then(|| data("udf", &[], &[]))
}

/// Its master directory block is the third sector; blocks are whole sectors.
pub(super) fn hfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 128)?;
    let bytes = be32(&block, 20)?;
    if !block.starts_with(b"BD") || bytes == 0 || !bytes.is_multiple_of(512) {
        return None;
    }
    let length = usize::from(block[36]).min(27);
    Some(data("hfs", &block[37..37 + length], &[]))
}

pub(super) fn hfs_plus(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 4)?;
    matches!(block[..], [b'H', b'+', 0, 4] | [b'H', b'X', 0, 5]).then(|| data("hfsplus", &[], &[]))
}

/// A container's superblock, behind its checksum and head.
pub(super) fn apfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(32, 4)?;
    (block == b"NXSB").then(|| data("apfs", &[], &[]))
}

/// `struct fs` of UFS 1 and 2, at the places where it may stand, in either order of bytes.
pub(super) fn ufs(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGICS: [u32; 2] = [0x0001_1954, 0x1954_0119];
    [8 << 10, 64 << 10, 256 << 10].into_iter().find_map(|offset| {
        let block = extent.at(offset, 1376)?;
        let words = [le32(&block, 1372)?, be32(&block, 1372)?];
        words
            .iter()
            .any(|word| MAGICS.contains(word))
            .then(|| data("ufs", &block[680..712], &[]))
    })
}
