//! Bytes that compress as those of a file system do.

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = imprint_image::CHUNK_BYTES as usize;

/// A chunk that zstd makes about a third of, at level 3: words of many lengths, and binary records between them.
pub(crate) fn chunk(seed: u64) -> Vec<u8> {
    let mut noise = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut draw = [0; 4];
    let mut bytes = Vec::with_capacity(CHUNK + 64);
    while bytes.len() < CHUNK {
        noise.fill(&mut draw);
        let [kind, a, b, c] = draw;
        if kind < 40 {
            bytes.extend_from_slice(&[a, b, c, kind, 0, 0, 0, 1]);
        } else {
            let word = u16::from_le_bytes([a, b]) % (64 << (kind % 6));
            bytes.extend_from_slice(format!("{:x} ", u32::from(word) * 40_503).as_bytes());
        }
    }
    bytes.truncate(CHUNK);
    bytes
}
