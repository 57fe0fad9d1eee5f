//! One chunk's frame: made, proven and decoded.

use std::io;

use zstd::zstd_safe;

use crate::seal::{OpenError, Seal};
use crate::{CHUNK_BYTES, Chunk, Digest, MAX_SEALED_FRAME_BYTES, Manifest};

/// A frame that must not be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is shorter or longer than the manifest says.
    #[error("chunk {index}: the frame has {got} bytes, expected {expected}")]
    FrameLength {
        /// Which chunk.
        index: u64,
        /// Length by the manifest.
        expected: u32,
        /// Length found.
        got: usize,
    },
    /// The frame's bytes are not those that the manifest names.
    #[error("chunk {index}: the frame's digest is {got}, expected {expected}")]
    FrameDigest {
        /// Which chunk.
        index: u64,
        /// Digest by the manifest.
        expected: Digest,
        /// Digest found.
        got: Digest,
    },
    /// The frame is the one that the manifest names, and the image's key does not open it for this chunk.
    #[error("chunk {index}: the frame cannot be decrypted")]
    Open {
        /// Which chunk.
        index: u64,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The caller's buffer cannot hold the chunk.
    #[error("chunk {index}: a buffer of {got} bytes cannot hold its {expected} bytes")]
    Buffer {
        /// Which chunk.
        index: u64,
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        got: usize,
    },
    /// The frame is the right one, but does not decode into the chunk's length.
    #[error("chunk {index}: the frame does not decompress into {expected} bytes")]
    Decode {
        /// Which chunk.
        index: u64,
        /// Bytes wanted.
        expected: usize,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// The frame decodes, into fewer bytes than the chunk has.
    #[error("chunk {index}: the frame holds {got} bytes, expected {expected}")]
    PlainLength {
        /// Which chunk.
        index: u64,
        /// Bytes wanted.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
    /// The frame decodes, and is not of the form that artifacts have.
    #[error("chunk {index}: the frame has {reason}, which the format does not allow")]
    Form {
        /// Which chunk.
        index: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The plain bytes are not those that the manifest names.
    #[error("chunk {index}: the digest of the plain bytes is {got}, expected {expected}")]
    PlainDigest {
        /// Which chunk.
        index: u64,
        /// Digest by the manifest.
        expected: Digest,
        /// Digest found.
        got: Digest,
    },
}

/// A reusable decoder of the frames of one image; one per thread.
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    seal: Option<Seal>,
}

impl Decoder {
    /// For frames that are not encrypted.
    pub fn new() -> io::Result<Self> {
        Self::with(None)
    }

    /// For the frames of an image, encrypted or not.
    pub fn of(manifest: &Manifest) -> io::Result<Self> {
        Self::with(manifest.seal.clone())
    }

    /// For frames that are sealed with `seal`.
    pub fn with(seal: Option<Seal>) -> io::Result<Self> {
        let zstd = zstd::bulk::Decompressor::new()?;
        Ok(Self { zstd, seal })
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({:?})", self.seal)
    }
}

/// Checks `frame` against `chunk` and decodes it into the first `plain_len` bytes of `out`.
///
/// The order is the point: the frame's length and digest first, so that only bytes that the manifest vouches for are
/// ever decrypted or decoded; then the frame is decrypted where it is, if it is encrypted; then a decode that can write
/// no more than `plain_len` bytes; then the plain digest. On an error the content of `out`, and that of `frame`, is
/// unspecified and must not be used.
pub fn verify_and_decode(
    frame: &mut [u8],
    chunk: &Chunk,
    plain_len: usize,
    out: &mut [u8],
    decoder: &mut Decoder,
) -> Result<(), FrameError> {
    verify_frame_and_decode(frame, chunk, plain_len, out, decoder)?;
    let got = Digest::of(&out[..plain_len]);
    if got != chunk.plain {
        return Err(FrameError::PlainDigest {
            index: chunk.index,
            expected: chunk.plain,
            got,
        });
    }
    Ok(())
}

/// As [`verify_and_decode`], without hashing the plain bytes, which costs about 0.14 s of a core for each GB.
///
/// That the frame is the one that the manifest names is proven all the same, and that it decodes into exactly the
/// chunk's length. What is not found is a manifest whose two digests belong to different content, which only its
/// signer can make, and memory or a decoder that corrupts bytes on the way. So this is for whoever has a signed
/// manifest, and looks at the plain bytes again (a read-back) or need not.
pub fn verify_frame_and_decode(
    frame: &mut [u8],
    chunk: &Chunk,
    plain_len: usize,
    out: &mut [u8],
    decoder: &mut Decoder,
) -> Result<(), FrameError> {
    let index = chunk.index;
    if frame.len() != chunk.frame_bytes as usize {
        return Err(FrameError::FrameLength {
            index,
            expected: chunk.frame_bytes,
            got: frame.len(),
        });
    }
    let got = Digest::of(frame);
    if got != chunk.frame {
        return Err(FrameError::FrameDigest {
            index,
            expected: chunk.frame,
            got,
        });
    }
    let available = out.len();
    let Some(out) = out.get_mut(..plain_len) else {
        return Err(FrameError::Buffer {
            index,
            expected: plain_len,
            got: available,
        });
    };
    let frame: &[u8] = match &decoder.seal {
        None => &*frame,
        Some(seal) => {
            // A length that is no chunk's is not one that anything was sealed for.
            let plain_bytes = u32::try_from(plain_len).unwrap_or(u32::MAX);
            seal.open_frame(frame, &chunk.plain, plain_bytes)
                .map_err(|source| FrameError::Open { index, source })?
        }
    };
    // One call from frame to the caller's buffer: no streaming window, no copy, no state but the context's tables.
    let decoded = decoder
        .zstd
        .decompress_to_buffer(frame, out)
        .map_err(|source| FrameError::Decode {
            index,
            expected: plain_len,
            source,
        })?;
    if decoded != plain_len {
        return Err(FrameError::PlainLength {
            index,
            expected: plain_len,
            got: decoded,
        });
    }
    one_frame(frame, plain_len).map_err(|reason| FrameError::Form { index, reason })
}

/// The decoder takes several frames for one, skips skippable ones, and does without a content size. The format
/// allows none of that, so that a second reader need not either. Looks at headers only.
fn one_frame(frame: &[u8], plain_len: usize) -> Result<(), &'static str> {
    if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err("more than one zstd frame");
    }
    match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(bytes)) if bytes == plain_len as u64 => Ok(()),
        _ => Err("a header without the content's size"),
    }
}

/// A reusable encoder; one per thread.
pub struct Encoder(zstd::bulk::Compressor<'static>);

impl Encoder {
    /// An encoder at zstd level `level`.
    pub fn new(level: i32) -> io::Result<Self> {
        zstd::bulk::Compressor::new(level).map(Self)
    }

    /// Replaces the content of `frame` by one zstd frame that holds `plain`, at most one chunk.
    pub fn encode(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
        if plain.len() > CHUNK_BYTES as usize {
            return Err(io::Error::other("more bytes than a chunk holds"));
        }
        frame.clear();
        frame.reserve(MAX_SEALED_FRAME_BYTES as usize);
        self.0.compress_to_buffer(plain, frame)?;
        Ok(())
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_FRAME_BYTES;
    use crate::seal::{Algorithm, DataKey};

    fn sample(plain: &[u8]) -> (Vec<u8>, Chunk) {
        let mut frame = Vec::new();
        Encoder::new(3).unwrap().encode(plain, &mut frame).unwrap();
        let frame_bytes = u32::try_from(frame.len()).unwrap();
        let (plain, digest) = (Digest::of(plain), Digest::of(&frame));
        (
            frame,
            Chunk {
                index: 7,
                plain,
                frame: digest,
                pack: 0,
                offset: 0,
                frame_bytes,
            },
        )
    }

    fn decode(frame: &[u8], chunk: &Chunk, len: usize, room: usize) -> Result<Vec<u8>, FrameError> {
        let (mut out, mut frame) = (vec![0xEE; room], frame.to_vec());
        verify_and_decode(&mut frame, chunk, len, &mut out, &mut Decoder::new().unwrap())?;
        Ok(out)
    }

    #[test]
    fn a_good_frame_fills_exactly_the_chunk() {
        let plain = b"some bytes".repeat(1000);
        let (frame, chunk) = sample(&plain);
        let out = decode(&frame, &chunk, plain.len(), plain.len() + 8).unwrap();
        assert_eq!(out[..plain.len()], plain);
        assert_eq!(out[plain.len()..], [0xEE; 8]);
    }

    #[test]
    fn every_flipped_bit_is_caught_before_the_decoder() {
        let plain = b"some bytes".repeat(20);
        let (frame, chunk) = sample(&plain);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&bad, &chunk, plain.len(), plain.len()).unwrap_err();
            assert!(
                matches!(error, FrameError::FrameDigest { index: 7, .. }),
                "{error}"
            );
        }
        let error = decode(&frame[1..], &chunk, plain.len(), plain.len()).unwrap_err();
        assert!(matches!(error, FrameError::FrameLength { .. }), "{error}");
    }

    #[test]
    fn a_frame_that_lies_about_its_plain_bytes_is_refused() {
        let plain = b"some bytes".repeat(20);
        let (frame, chunk) = sample(&plain);
        let mut wrong = chunk.clone();
        wrong.plain = Digest::of(b"something else");
        let error = decode(&frame, &wrong, plain.len(), plain.len()).unwrap_err();
        assert!(matches!(error, FrameError::PlainDigest { .. }), "{error}");
        // A frame that would decode into more than the chunk: the decoder stops, whatever room the caller has.
        let error = decode(&frame, &chunk, plain.len() - 1, plain.len()).unwrap_err();
        assert!(matches!(error, FrameError::Decode { .. }), "{error}");
        let error = decode(&frame, &chunk, plain.len() + 1, plain.len() + 1).unwrap_err();
        assert!(matches!(error, FrameError::PlainLength { .. }), "{error}");
        let error = decode(&frame, &chunk, plain.len(), plain.len() - 1).unwrap_err();
        assert!(matches!(error, FrameError::Buffer { .. }), "{error}");
        // Right digest, but no zstd at all.
        let junk = b"junk that is no frame".to_vec();
        let bytes = u32::try_from(junk.len()).unwrap();
        let lying = Chunk {
            frame: Digest::of(&junk),
            frame_bytes: bytes,
            ..chunk
        };
        let error = decode(&junk, &lying, plain.len(), plain.len()).unwrap_err();
        assert!(matches!(error, FrameError::Decode { .. }), "{error}");
    }

    #[test]
    fn without_the_plain_digest_all_else_is_still_checked() {
        let plain = b"some bytes".repeat(20);
        let (frame, mut chunk) = sample(&plain);
        let mut decoder = Decoder::new().unwrap();
        let mut run = |frame: &[u8], chunk: &Chunk, len: usize| {
            let mut out = vec![0; plain.len() + 8];
            verify_frame_and_decode(&mut frame.to_vec(), chunk, len, &mut out, &mut decoder).map(|()| out)
        };
        chunk.plain = Digest::of(b"something else");
        assert_eq!(run(&frame, &chunk, plain.len()).unwrap()[..plain.len()], plain);
        let error = run(&frame, &chunk, plain.len() + 1).unwrap_err();
        assert!(matches!(error, FrameError::PlainLength { .. }), "{error}");
        let mut bad = frame.clone();
        bad[3] ^= 1;
        let error = run(&bad, &chunk, plain.len()).unwrap_err();
        assert!(matches!(error, FrameError::FrameDigest { .. }), "{error}");
    }

    #[test]
    fn a_chunk_is_exactly_one_frame_that_says_its_size() {
        let plain = b"some bytes".repeat(20);
        let (one, two) = plain.split_at(70);
        let level = 3;
        let half = |bytes: &[u8]| zstd::bulk::compress(bytes, level).unwrap();
        let skippable = [0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 9].to_vec();
        let streamed = zstd::stream::encode_all(&plain[..], level).unwrap();
        for (what, frame) in [
            ("two frames", [half(one), half(two)].concat()),
            ("a skippable frame", [half(&plain), skippable].concat()),
            ("no content size", streamed),
        ] {
            let (_, mut chunk) = sample(&plain);
            chunk.frame = Digest::of(&frame);
            chunk.frame_bytes = u32::try_from(frame.len()).unwrap();
            let error = decode(&frame, &chunk, plain.len(), plain.len()).unwrap_err();
            assert!(matches!(error, FrameError::Form { .. }), "{what}: {error}");
        }
    }

    #[test]
    fn a_sealed_frame_opens_for_its_own_chunk_only() {
        let plain = b"some bytes".repeat(20);
        for algorithm in Algorithm::ALL {
            let seal = Seal::new(&DataKey::from_bytes([7; 32]), algorithm);
            let (mut frame, mut chunk) = sample(&plain);
            seal.seal_frame(&mut frame, &chunk.plain, 200);
            chunk.frame = Digest::of(&frame);
            chunk.frame_bytes = u32::try_from(frame.len()).unwrap();
            let run = |chunk: &Chunk, len: usize, seal: Option<&Seal>| {
                let (mut frame, mut out) = (frame.clone(), vec![0; 300]);
                let mut decoder = Decoder::with(seal.cloned()).unwrap();
                verify_frame_and_decode(&mut frame, chunk, len, &mut out, &mut decoder).map(|()| out)
            };
            assert_eq!(run(&chunk, 200, Some(&seal)).unwrap()[..200], plain);
            // It does not lie where the manifest says: the chunk there has another content, or another length.
            let mut swapped = chunk.clone();
            swapped.plain = Digest::of(b"what lies elsewhere");
            let strange = Seal::new(&DataKey::from_bytes([8; 32]), algorithm);
            for error in [
                run(&swapped, 200, Some(&seal)).unwrap_err(),
                run(&chunk, 201, Some(&seal)).unwrap_err(),
                run(&chunk, 200, Some(&strange)).unwrap_err(),
            ] {
                assert!(matches!(error, FrameError::Open { index: 7, .. }), "{error}");
            }
            let error = run(&chunk, 200, None).unwrap_err();
            assert!(matches!(error, FrameError::Decode { .. }), "{error}");
            // The digest is looked at first: what is damaged is told as damaged.
            let mut bad = frame.clone();
            bad[0] ^= 1;
            let error = decode(&bad, &chunk, 200, 200).unwrap_err();
            assert!(matches!(error, FrameError::FrameDigest { .. }), "{error}");
        }
    }

    #[test]
    fn incompressible_chunks_fit_the_bound() {
        let mut noise = vec![0u8; CHUNK_BYTES as usize];
        blake3::Hasher::new()
            .update(b"noise")
            .finalize_xof()
            .fill(&mut noise);
        let (frame, _) = sample(&noise);
        assert!(frame.len() <= MAX_FRAME_BYTES as usize);
        assert_eq!(
            zstd::zstd_safe::compress_bound(noise.len()),
            MAX_FRAME_BYTES as usize
        );
    }
}
