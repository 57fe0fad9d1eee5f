//! Encryption at rest: each image has a data key of its own, and every part of its artifact is sealed with it.
//!
//! What is sealed is encrypted and authenticated with an AEAD, in place, and carries its tag and its nonce behind it:
//! [`OVERHEAD_BYTES`] more than before. Parts are sealed for their place: a frame for the plain digest and the length of
//! its chunk, so that a frame of another chunk, or of another image, does not open in its stead.
//!
//! Nonces are random, of 96 bits. A manifest names fewer than 2^21 frames, so that two of an image have the same nonce
//! with a chance of less than 2^-54; how many times frames may be made anew under one key is in
//! `docs/image-format.md`. They are not counted or derived, because a second frame of the same chunk, at another level of
//! compression, must not get the first one's.
//!
//! Data keys are of 256 bits, made here, and never shown or written: what stores them is not in this crate. The keys of
//! the algorithms and the [`KeyId`] are derived from them, each in a context of its own, by BLAKE3. So the id of a key
//! commits to it: a wrong key is told before anything is decrypted.

mod key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
pub use key::{DataKey, KeyId, ParseKeyError};
use zeroize::Zeroizing;

use crate::Digest;

const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = NONCE_LEN;

/// What sealing adds to a part: its tag and its nonce.
pub const OVERHEAD_BYTES: u32 = 28;

/// What a part is sealed for. Each has a domain of its own, so that none opens as another one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    /// The frame of a chunk.
    Frame { plain: &'a Digest, plain_bytes: u32 },
    /// The index of a pack.
    Index,
    /// A manifest.
    Manifest,
    /// A data key, for whatever `context` says.
    Key { context: &'a [u8] },
}

/// How parts are encrypted and authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// AES-256 in Galois/Counter Mode. For processors with instructions for it, as all servers have.
    #[default]
    Aes256Gcm,
    /// ChaCha20 with Poly1305. For those without.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// As it is written in configurations and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The context in which its key is derived.
    const fn context(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "imprint.data-key.aes-256-gcm.v1",
            Self::ChaCha20Poly1305 => "imprint.data-key.chacha20-poly1305.v1",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no algorithm to encrypt with: expected aes-256-gcm or chacha20-poly1305")]
pub struct ParseAlgorithmError;

impl FromStr for Algorithm {
    type Err = ParseAlgorithmError;

    fn from_str(text: &str) -> Result<Self, ParseAlgorithmError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        found.ok_or(ParseAlgorithmError)
    }
}

/// What was sealed does not open: it was changed, belongs elsewhere, or is sealed with another key. Nothing more can be
/// told, and none of its bytes may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was changed, belongs to another place, or is encrypted with another key")]
pub struct OpenError;

/// Seals and opens the parts of one image. Cheap to clone; the key is overwritten when the last one is dropped.
#[derive(Clone)]
pub struct Seal(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    key_id: KeyId,
    key: LessSafeKey,
}

impl Seal {
    /// With the data key of an image.
    #[must_use]
    pub fn new(key: &DataKey, algorithm: Algorithm) -> Self {
        let derived = Zeroizing::new(blake3::derive_key(algorithm.context(), key.expose()));
        let aead = match algorithm {
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let unbound =
            UnboundKey::new(aead, derived.as_slice()).expect("both algorithms have keys of 32 bytes");
        Self(Arc::new(Inner {
            algorithm,
            key_id: key.id(),
            key: LessSafeKey::new(unbound),
        }))
    }

    /// How.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// With which key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// Seals the frame of a chunk, in place.
    pub fn seal_frame(&self, frame: &mut Vec<u8>, plain: &Digest, plain_bytes: u32) {
        self.seal_from(frame, 0, Part::Frame { plain, plain_bytes });
    }

    /// Opens the frame of a chunk, in place; gives the frame. After an error the content of `sealed` is unspecified.
    pub fn open_frame<'a>(
        &self,
        sealed: &'a mut [u8],
        plain: &Digest,
        plain_bytes: u32,
    ) -> Result<&'a mut [u8], OpenError> {
        self.open(sealed, Part::Frame { plain, plain_bytes })
    }

    /// Wraps the data key of an image, to be kept by whoever cannot keep secrets. It is unwrapped with the same
    /// `context` only.
    #[must_use]
    pub fn wrap(&self, key: &DataKey, context: &[u8]) -> Vec<u8> {
        let mut wrapped = Vec::with_capacity(key.expose().len() + OVERHEAD_BYTES as usize);
        wrapped.extend_from_slice(key.expose());
        self.seal_from(&mut wrapped, 0, Part::Key { context });
        wrapped
    }

    /// Unwraps a data key.
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<DataKey, OpenError> {
        let mut bytes = Zeroizing::new(wrapped.to_vec());
        let key = self.open(&mut bytes, Part::Key { context })?;
        DataKey::try_from(&*key).map_err(|_| OpenError)
    }

    /// Seals the bytes from `begin` on, in place.
    pub(crate) fn seal_from(&self, bytes: &mut Vec<u8>, begin: usize, part: Part<'_>) {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).expect("AWS-LC ends the process when it gets no random bytes");
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.bound_to(part)),
                &mut bytes[begin..],
            )
            .expect("no part is nearly as long as the algorithms allow");
        bytes.extend_from_slice(tag.as_ref());
        bytes.extend_from_slice(&nonce);
    }

    /// Opens a part, in place; gives what was sealed.
    pub(crate) fn open<'a>(&self, sealed: &'a mut [u8], part: Part<'_>) -> Result<&'a mut [u8], OpenError> {
        let (rest, nonce) = sealed.split_last_chunk_mut::<NONCE_BYTES>().ok_or(OpenError)?;
        let (content, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(OpenError)?;
        let (nonce, bound_to) = (Nonce::assume_unique_for_key(*nonce), self.bound_to(part));
        self.0
            .key
            .open_in_place_separate_tag(nonce, Aad::from(bound_to), &*tag, content)
            .map_err(|_| OpenError)
    }

    /// What is authenticated beside the content.
    fn bound_to(&self, part: Part<'_>) -> Vec<u8> {
        let domain: &[u8] = match part {
            Part::Frame { .. } => b"imprint.sealed.frame.v1\0",
            Part::Index => b"imprint.sealed.index.v1\0",
            Part::Manifest => b"imprint.sealed.manifest.v1\0",
            Part::Key { .. } => b"imprint.sealed.data-key.v1\0",
        };
        let mut bound_to = Vec::with_capacity(96);
        bound_to.extend_from_slice(domain);
        bound_to.extend_from_slice(self.0.key_id.as_bytes());
        match part {
            Part::Frame { plain, plain_bytes } => {
                bound_to.extend_from_slice(plain.as_bytes());
                bound_to.extend_from_slice(&plain_bytes.to_le_bytes());
            }
            Part::Key { context } => bound_to.extend_from_slice(context),
            Part::Index | Part::Manifest => {}
        }
        bound_to
    }
}

/// The same key, used in the same way.
impl PartialEq for Seal {
    fn eq(&self, other: &Self) -> bool {
        (self.algorithm(), self.key_id()) == (other.algorithm(), other.key_id())
    }
}

impl Eq for Seal {}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({}, key {})", self.algorithm(), self.key_id())
    }
}
