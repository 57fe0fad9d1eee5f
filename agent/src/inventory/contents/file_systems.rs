//! File systems, swap and encrypted volumes that are on one disk, by their published superblocks; groups of disks are in
//! [`super::members`].

use imprint_proto::agent::v1::DiskContent;

use super::{
    Extent, content, foreign,
    signatures::{Reader, le16, le32, le64, text, uuid},
};

/// Every reader of a kind.
pub(super) const READERS: [Reader; 25] = [
    ext,
    xfs,
    btrfs,
    fat,
    ntfs,
    exfat,
    swap,
    luks,
    mapped,
    f2fs,
    erofs,
    squashfs,
    nilfs2,
    jfs,
    reiserfs,
    vxfs,
    bcachefs,
    foreign::bitlocker,
    foreign::refs,
    foreign::iso9660,
    foreign::udf,
    foreign::hfs,
    foreign::hfs_plus,
    foreign::apfs,
    foreign::ufs,
];

/// A file system that is on one disk.
pub(super) fn data(kind: &str, label: &[u8], id: &[u8]) -> DiskContent {
    DiskContent {
        uuid: uuid(id),
        ..content(None, kind, "data", &text(label), "")
    }
}

/// The same with an id that is no UUID.
fn data_with_serial(kind: &str, label: &[u8], serial: String) -> DiskContent {
    DiskContent {
        uuid: serial,
        ..data(kind, label, &[])
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

/// `struct bch_sb` at 4 KiB. On several devices each is a member.
fn bcachefs(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGICS: [[u8; 16]; 2] = [
        [
            0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
        ],
        // Until 2023 that of bcache, whose superblock is of another version.
        [
            0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
        ],
    ];
    let block = extent.at(4096, 128)?;
    // A bcache has its own offset in sectors here, and no number of devices.
    if !MAGICS.iter().any(|magic| block[24..40] == *magic) || block[123] == 0 {
        return None;
    }
    if block[24..40] == MAGICS[1] && le16(&block, 16)? < 10 {
        return None;
    }
    let mut found = data("bcachefs", &block[72..104], &block[56..72]);
    if block[123] > 1 {
        found.role = "member".to_owned();
        found.group = format!("a bcachefs on several devices, {}", found.uuid);
    }
    Some(found)
}

/// The serial number of FAT and exFAT, as tools show it.
fn fat_serial(bytes: &[u8], at: usize) -> Option<String> {
    let serial = le32(bytes, at)?;
    Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF))
}

/// A FAT boot sector with its type as text, at 54 (FAT12, FAT16) or 82 (FAT32).
fn fat(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 512)?;
    if block[510..] != [0x55, 0xaa] || !matches!(block[0], 0xeb | 0xe9) {
        return None;
    }
    let (label, serial) = if block[82..87] == *b"FAT32" {
        (&block[71..82], 67)
    } else if block[54..57] == *b"FAT" {
        (&block[43..54], 39)
    } else {
        return None;
    };
    let label = if label == b"NO NAME    " { &[] } else { label };
    Some(data_with_serial("vfat", label, fat_serial(&block, serial)?))
}

fn ntfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 80)?;
    let serial = le64(&block, 72)?;
    (block[3..11] == *b"NTFS    ").then(|| data_with_serial("ntfs", &[], format!("{serial:016X}")))
}

fn exfat(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 104)?;
    let serial = fat_serial(&block, 100)?;
    (block[3..11] == *b"EXFAT   ").then(|| data_with_serial("exfat", &[], serial))
}

/// The mark stands at the end of the first page, whatever a page is where it was made; another one while a system sleeps
/// in it.
fn swap(extent: &Extent<'_>) -> Option<DiskContent> {
    const MARKS: [&[u8]; 5] = [
        b"SWAPSPACE2",
        b"S1SUSPEND\0",
        b"S2SUSPEND\0",
        b"ULSUSPEND\0",
        b"LINHIB0001",
    ];
    [4096, 8192, 16384, 65536]
        .into_iter()
        .any(|page| {
            extent
                .at(page - 10, 10)
                .is_some_and(|mark| MARKS.contains(&&mark[..]))
        })
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
    Some(data_with_serial("luks", label, text(&block[168..208])))
}

/// What the device mapper makes a device of: hashes of verity, integrity tags, VDO.
fn mapped(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 32)?;
    if block.starts_with(b"verity\0\0") {
        return Some(data("dm-verity", &[], &block[16..32]));
    }
    let kind = if block.starts_with(b"integrt\0") {
        "dm-integrity"
    } else if block.starts_with(b"dmvdo001") {
        "vdo"
    } else {
        return None;
    };
    Some(data(kind, &[], &[]))
}

/// Text in UTF-16 up to the first zero.
fn wide_text(bytes: &[u8]) -> String {
    let letters = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|letter| *letter != 0);
    char::decode_utf16(letters)
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// `struct f2fs_super_block` at 1024.
fn f2fs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 256)?;
    (le32(&block, 0)? == 0xf2f5_2010)
        .then(|| data("f2fs", wide_text(&block[124..252]).as_bytes(), &block[108..124]))
}

/// `struct erofs_super_block` at 1024.
fn erofs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 128)?;
    (le32(&block, 0)? == 0xe0f5_e1e2).then(|| data("erofs", &block[64..80], &block[48..64]))
}

fn squashfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 32)?;
    (block.starts_with(b"hsqs") && le16(&block, 28)? <= 4).then(|| data("squashfs", &[], &[]))
}

/// `struct nilfs_super_block` at 1024.
fn nilfs2(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(1024, 512)?;
    (le32(&block, 0)? == 2 && le16(&block, 6)? == 0x3434)
        .then(|| data("nilfs2", &block[168..248], &block[152..168]))
}

/// `struct jfs_superblock` at 32 KiB.
fn jfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(32 << 10, 192)?;
    block
        .starts_with(b"JFS1")
        .then(|| data("jfs", &block[152..168], &block[136..152]))
}

/// `struct reiserfs_super_block` at 64 KiB, before version 3.5.9 at 8 KiB.
fn reiserfs(extent: &Extent<'_>) -> Option<DiskContent> {
    [64 << 10, 8 << 10].into_iter().find_map(|offset| {
        let block = extent.at(offset, 128)?;
        [&b"ReIsErFs"[..], b"ReIsEr2Fs", b"ReIsEr3Fs"]
            .iter()
            .any(|magic| block[52..].starts_with(magic))
            .then(|| data("reiserfs", &block[100..116], &block[84..100]))
    })
}

/// Veritas, in the order of bytes of x86 and of others.
fn vxfs(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGIC: u32 = 0xa501_fcf5;
    [1024, 8192]
        .into_iter()
        .any(|offset| {
            let word = extent.at(offset, 4).and_then(|block| le32(&block, 0));
            word == Some(MAGIC) || word == Some(MAGIC.swap_bytes())
        })
        .then(|| data("vxfs", &[], &[]))
}
