//! File systems, swap and encrypted volumes by their published superblocks; groups of disks are in [`super::members`].

use imprint_proto::agent::v1::DiskContent;

use super::{Extent, content, members};

/// Longest label that is kept.
const MAX_LABEL: usize = 64;

/// Every signature of an extent.
pub(super) fn all_of(extent: &Extent<'_>) -> Vec<DiskContent> {
    const READERS: [fn(&Extent<'_>) -> Option<DiskContent>; 8] =
        [ext, xfs, btrfs, fat, ntfs, exfat, swap, luks];
    let mut found = members_of(extent);
    found.extend(READERS.iter().filter_map(|read| read(extent)));
    found
}

/// Signatures of groups of disks and of shared file systems only.
pub(super) fn members_of(extent: &Extent<'_>) -> Vec<DiskContent> {
    let mut found: Vec<DiskContent> = Vec::new();
    for member in members::READERS.iter().filter_map(|read| read(extent)) {
        // One array may have left its mark in two places.
        if !found.contains(&member) {
            found.push(member);
        }
    }
    found
}

/// Text up to the first NUL, without what would disturb a terminal.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let clean = text.chars().filter(|c| !c.is_control()).take(MAX_LABEL);
    clean.collect::<String>().trim().to_owned()
}

/// 16 bytes as "8-4-4-4-12"; empty for zeroes.
pub(super) fn uuid(bytes: &[u8]) -> String {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) if bytes != [0; 16] => uuid::Uuid::from_bytes(bytes).to_string(),
        _ => String::new(),
    }
}

pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A file system that is on one disk.
fn data(kind: &str, label: &[u8], id: &[u8]) -> DiskContent {
    DiskContent {
        uuid: uuid(id),
        ..content(None, kind, "data", &text(label), "")
    }
}

/// `struct ext4_super_block` at 1024.
fn ext(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 256)?;
    if block[56..58] != [0x53, 0xef] {
        return None;
    }
    const JOURNAL: u32 = 0x4;
    // Extents, 64 bits, flexible groups: what no ext3 has.
    const OF_EXT4: u32 = 0x40 | 0x80 | 0x200;
    let kind = if le32(&block, 96)? & OF_EXT4 != 0 {
        "ext4"
    } else if le32(&block, 92)? & JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Some(data(kind, &block[120..136], &block[104..120]))
}

/// `struct xfs_dsb` at 0.
fn xfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 128)?;
    block
        .starts_with(b"XFSB")
        .then(|| data("xfs", &block[108..120], &block[32..48]))
}

/// `struct btrfs_super_block` at 64 KiB. On several devices each is a member.
fn btrfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(64 << 10, 4096)?;
    if block[64..72] != *b"_BHRfS_M" {
        return None;
    }
    let mut found = data("btrfs", &block[299..555], &block[32..48]);
    if le64(&block, 136)? > 1 {
        found.role = "member".to_owned();
        found.group = format!("a btrfs on several devices, {}", found.uuid);
    }
    Some(found)
}

/// A FAT boot sector with its type as text, at 54 (FAT12, FAT16) or 82 (FAT32).
fn fat(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 512)?;
    if block[510..] != [0x55, 0xaa] || !matches!(block[0], 0xeb | 0xe9) {
        return None;
    }
    let label = if block[82..87] == *b"FAT32" {
        &block[71..82]
    } else if block[54..57] == *b"FAT" {
        &block[43..54]
    } else {
        return None;
    };
    let label = if label == b"NO NAME    " { &[] } else { label };
    Some(data("vfat", label, &[]))
}

fn ntfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 16)?;
    (block[3..11] == *b"NTFS    ").then(|| data("ntfs", &[], &[]))
}

fn exfat(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 16)?;
    (block[3..11] == *b"EXFAT   ").then(|| data("exfat", &[], &[]))
}

/// The mark stands at the end of the first page, whatever a page is where it was made.
fn swap(extent: &Extent<'_>) -> Option<DiskContent> {
    [4096, 8192, 16384, 65536]
        .into_iter()
        .any(|page| extent.at(page - 10, 10).is_some_and(|mark| mark == b"SWAPSPACE2"))
        .then_some(())?;
    let head = extent.at(1024, 64)?;
    Some(data("swap", &head[28..44], &head[12..28]))
}

/// The header of LUKS 1 and 2; the second has a label.
fn luks(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 208)?;
    if !block.starts_with(b"LUKS\xba\xbe") {
        return None;
    }
    let label = if block[6..8] == [0, 2] {
        &block[24..72]
    } else {
        &[][..]
    };
    Some(DiskContent {
        uuid: text(&block[168..208]),
        ..data("luks", label, &[])
    })
}
