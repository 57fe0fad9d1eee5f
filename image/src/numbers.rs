//! Numbers in headers and tables of either byte order. The caller knows that the places are there.

pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

/// A number of 64 bits whose halves lie apart.
pub(crate) fn join32(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The little-endian numbers of four bytes in a table.
pub(crate) fn le32_table(bytes: &[u8]) -> Vec<u64> {
    let (entries, _) = bytes.as_chunks::<4>();
    entries
        .iter()
        .map(|entry| u32::from_le_bytes(*entry).into())
        .collect()
}

/// The little-endian numbers of eight bytes in a table.
pub(crate) fn le64_table(bytes: &[u8]) -> Vec<u64> {
    let (entries, _) = bytes.as_chunks::<8>();
    entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect()
}

/// The big-endian numbers of eight bytes in a table.
pub(crate) fn be64_table(bytes: &[u8]) -> Vec<u64> {
    let (entries, _) = bytes.as_chunks::<8>();
    entries.iter().map(|entry| u64::from_be_bytes(*entry)).collect()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}
