//! Members of arrays, groups and pools, and file systems that several machines write: what a lost disk takes more with it
//! than its own bytes. Offsets are those of the published on-disk formats.

use imprint_proto::agent::v1::DiskContent;

use super::{
    Extent, content,
    signatures::{Reader, be32, le32, le64, text, uuid},
};

/// Every reader of a kind.
pub(super) const READERS: [Reader; 17] = [
    lvm, md_1_0, md_1_1, md_1_2, md_0_90, ddf, imsm, zfs, ceph, bcache, drbd, stratis, vmfs, gfs2, ocfs2,
    gpfs, oracle_asm,
];

fn member(kind: &str, group: &str, id: String) -> DiskContent {
    DiskContent {
        uuid: id,
        ..content(None, kind, "member", "", group)
    }
}

/// The label stands in one of the first four sectors; the metadata area behind it begins with the group's name.
fn lvm(extent: &Extent<'_>) -> Option<DiskContent> {
    let head = extent.at(0, 4 * 512)?;
    let label = head
        .chunks_exact(512)
        .position(|sector| sector.starts_with(b"LABELONE") && sector[24..32] == *b"LVM2 001")?
        * 512;
    let header = label + usize::try_from(le32(&head, label + 20)?).ok()?;
    let id = head.get(header..header + 32).map(lvm_id).unwrap_or_default();
    let group = lvm_group(extent, &head, header).unwrap_or_default();
    Some(member("lvm-pv", &group, id))
}

/// 32 letters, as LVM shows them.
fn lvm_id(letters: &[u8]) -> String {
    let letters = text(letters);
    let mut shown = String::new();
    for (at, letter) in letters.chars().enumerate() {
        if [6, 10, 14, 18, 22, 26].contains(&at) {
            shown.push('-');
        }
        shown.push(letter);
    }
    shown
}

fn lvm_group(extent: &Extent<'_>, head: &[u8], header: usize) -> Option<String> {
    // Behind id and size: data areas up to a pair of zeroes, then metadata areas.
    let mut pairs = (0..).map(|index| {
        let at = header + 40 + index * 16;
        Some((le64(head, at)?, le64(head, at + 8)?))
    });
    for pair in pairs.by_ref() {
        if pair? == (0, 0) {
            break;
        }
    }
    let (area, _) = pairs.next()??;
    let start = extent.at(area, 512)?;
    if start[4..20] != *b" LVM2 x[5A%r0N*>" {
        return None;
    }
    let metadata = extent.at(area.checked_add(le64(&start, 40)?)?, 256)?;
    let end = metadata.windows(2).position(|pair| pair == b" {")?;
    let name = &metadata[..end];
    name.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(byte))
        .then(|| text(name))
}

const MD_MAGIC: u32 = 0xa92b_4efc;

fn md_1(extent: &Extent<'_>, offset: u64) -> Option<DiskContent> {
    let block = extent.at(offset, 256)?;
    if le32(&block, 0)? != MD_MAGIC || le32(&block, 4)? != 1 {
        return None;
    }
    Some(member("md-raid", &text(&block[32..64]), uuid(&block[16..32])))
}

fn md_1_0(extent: &Extent<'_>) -> Option<DiskContent> {
    // In sectors: 16 from the end, on a boundary of 8.
    md_1(extent, ((extent.size / 512).checked_sub(16)? & !7) * 512)
}

fn md_1_1(extent: &Extent<'_>) -> Option<DiskContent> {
    md_1(extent, 0)
}

fn md_1_2(extent: &Extent<'_>) -> Option<DiskContent> {
    md_1(extent, 4096)
}

fn md_0_90(extent: &Extent<'_>) -> Option<DiskContent> {
    let reserved = 64 << 10;
    let offset = (extent.size & !(reserved - 1)).checked_sub(reserved)?;
    let block = extent.at(offset, 128)?;
    // Written in the order of bytes of the machine that made it; so are the words of the array's id.
    let word = [le32, be32].into_iter().find(|word| {
        let version = [word(&block, 0), word(&block, 4), word(&block, 8)];
        matches!(version, [Some(MD_MAGIC), Some(0), Some(90 | 91)])
    })?;
    let id: Vec<u8> = [20, 52, 56, 60]
        .into_iter()
        .filter_map(|at| word(&block, at))
        .flat_map(u32::to_be_bytes)
        .collect();
    Some(member("md-raid", "", uuid(&id)))
}

/// The anchor stands in the last sector; some controllers keep more behind it.
fn ddf(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGIC: u32 = 0xde11_de11;
    [1, 257].into_iter().find_map(|sectors| {
        let block = extent.at(extent.size.checked_sub(sectors * 512)?, 32)?;
        (be32(&block, 0) == Some(MAGIC) || le32(&block, 0) == Some(MAGIC))
            .then(|| member("ddf", "", ddf_id(&block[8..32])))
    })
}

/// A vendor's eight letters, then what it likes.
fn ddf_id(bytes: &[u8]) -> String {
    let (vendor, rest) = bytes.split_at(8);
    match text(vendor) {
        vendor if vendor.is_empty() => String::new(),
        vendor => format!("{vendor}-{}", hex::encode(rest)),
    }
}

fn imsm(extent: &Extent<'_>) -> Option<DiskContent> {
    [512, 4096].into_iter().find_map(|sector| {
        let block = extent.at(extent.size.checked_sub(2 * sector)?, 64)?;
        block
            .starts_with(b"Intel Raid ISM Cfg Sig. ")
            .then(|| member("imsm", "", String::new()))
    })
}

/// Two labels of 256 KiB at the front: uberblocks in the second half of each, before them the pool's name.
fn zfs(extent: &Extent<'_>) -> Option<DiskContent> {
    const LABEL: u64 = 256 << 10;
    const HALF: u64 = 128 << 10;
    const MAGIC: u64 = 0x00ba_b10c;
    [0, LABEL].into_iter().find_map(|label| {
        let uberblocks = extent.at(label + HALF, usize::try_from(HALF).ok()?)?;
        uberblocks
            .chunks_exact(1024)
            .any(|block| {
                let word = le64(block, 0);
                word == Some(MAGIC) || word == Some(MAGIC.swap_bytes())
            })
            .then_some(())?;
        let pairs = extent.at(label + (16 << 10), 112 << 10).unwrap_or_default();
        Some(member(
            "zfs",
            &pool_name(&pairs).unwrap_or_default(),
            String::new(),
        ))
    })
}

/// The pair "name" of a list in XDR: length and letters of the key, type "string", one of it, length and letters.
fn pool_name(pairs: &[u8]) -> Option<String> {
    const KEY: [u8; 16] = *b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01";
    let at = pairs.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = usize::try_from(be32(pairs, at)?).ok()?.min(255);
    pairs.get(at + 4..at + 4 + length).map(text)
}

fn ceph(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 60)?;
    block
        .starts_with(b"bluestore block device\n")
        .then(|| member("ceph-osd", "", text(&block[23..59])))
}

fn bcache(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGIC: [u8; 16] = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
    ];
    // Later versions of the superblock with this magic are those of bcachefs.
    const VERSIONS: std::ops::Range<u64> = 0..10;
    let block = extent.at(4096, 64)?;
    (block[24..40] == MAGIC && VERSIONS.contains(&le64(&block, 16)?))
        .then(|| member("bcache", "", uuid(&block[40..56])))
}

/// Metadata in the last 4 KiB of a replicated disk: versions 8 (clean and not) and 9.
fn drbd(extent: &Extent<'_>) -> Option<DiskContent> {
    const MAGICS: [u32; 3] = [0x8374_026b, 0x8374_026c, 0x8374_026d];
    let block = extent.at((extent.size & !4095).checked_sub(4096)?, 512)?;
    MAGICS
        .contains(&be32(&block, 60)?)
        .then(|| member("drbd", "", String::new()))
}

/// The second and the tenth sector have the same.
fn stratis(extent: &Extent<'_>) -> Option<DiskContent> {
    [512, 9 * 512].into_iter().find_map(|offset| {
        let block = extent.at(offset, 128)?;
        (block[4..20] == *b"!Stra0tis\x86\xff\x02^\x41rh")
            .then(|| member("stratis", "", text(&block[32..64])))
    })
}

/// A disk of Oracle ASM, whose groups several machines write.
fn oracle_asm(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(0, 64)?;
    (block[32..40] == *b"ORCLDISK").then(|| member("oracle-asm", &text(&block[40..64]), String::new()))
}

/// The volume's header at 1 MiB, the file system's at 2 MiB.
fn vmfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let volume = extent.at(1 << 20, 4)?;
    let system = extent.at(2 << 20, 256).unwrap_or_default();
    let has_system = system.starts_with(&0x2fab_f15e_u32.to_le_bytes());
    if !has_system && volume != 0xc001_d00d_u32.to_le_bytes() {
        return None;
    }
    let label = if has_system {
        text(&system[29..157])
    } else {
        String::new()
    };
    Some(member("vmfs", &label, String::new()))
}

fn gfs2(extent: &Extent<'_>) -> Option<DiskContent> {
    let block = extent.at(64 << 10, 512)?;
    if be32(&block, 0)? != 0x0116_1970 || be32(&block, 4)? != 1 {
        return None;
    }
    Some(member("gfs2", &text(&block[160..224]), uuid(&block[256..272])))
}

/// The superblock is the third block, of 512 bytes to 4 KiB.
fn ocfs2(extent: &Extent<'_>) -> Option<DiskContent> {
    [1024, 2048, 4096, 8192].into_iter().find_map(|offset| {
        let block = extent.at(offset, 512)?;
        block
            .starts_with(b"OCFSV2")
            .then(|| member("ocfs2", &text(&block[272..336]), uuid(&block[336..352])))
    })
}

/// What `mmcrnsd` writes into the first sectors, as text.
fn gpfs(extent: &Extent<'_>) -> Option<DiskContent> {
    let head = extent.at(0, 32 << 10)?;
    let has = |words: &[u8]| head.windows(words.len()).any(|window| window == words);
    (has(b"NSD descriptor") && has(b"created by GPFS")).then(|| member("gpfs", "", String::new()))
}
