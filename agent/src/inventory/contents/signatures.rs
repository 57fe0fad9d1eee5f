//! All signatures of an extent, and how bytes of them are read. What they are is in [`super::file_systems`] and
//! [`super::members`].

use imprint_proto::agent::v1::DiskContent;

use super::{Extent, file_systems, members};

/// One kind of signature.
pub(super) type Reader = fn(&Extent<'_>) -> Option<DiskContent>;

/// Longest label that is kept.
const MAX_LABEL: usize = 64;

/// Every signature of an extent.
pub(super) fn all_of(extent: &Extent<'_>) -> Vec<DiskContent> {
    let mut found = members_of(extent);
    found.extend(file_systems::READERS.iter().filter_map(|read| read(extent)));
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

pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
