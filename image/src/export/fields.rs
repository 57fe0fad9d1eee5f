//! Fields of headers, put where they belong.

/// Puts `bytes` at `at` of a header.
pub(super) fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A random-looking id (RFC 9562, version 8) that is always the same for the same content.
pub(super) fn uuid(manifest: &crate::Manifest) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&manifest.image_digest.as_bytes()[..16]);
    id[6] = id[6] & 0x0F | 0x80;
    id[8] = id[8] & 0x3F | 0x80;
    id
}
