//! Data keys and what they are called.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use zeroize::{Zeroize, ZeroizeOnDrop};

const BYTES: usize = 32;
/// The context in which the id of a key is derived.
const ID_CONTEXT: &str = "imprint.data-key.id.v1";

/// The secret that one image is encrypted with. Overwritten when it is dropped; shown by nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; BYTES]);

/// What a data key is called. Tells nothing of the key, and no two keys have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; BYTES]);

/// Bytes or a text that are no data key, or no id of one. Does not show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected {BYTES} bytes, or 64 hex digits as text")]
pub struct ParseKeyError;

impl DataKey {
    /// A fresh key from the system's random source.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = Self([0; BYTES]);
        rand::fill(&mut key.0).expect("AWS-LC ends the process when it gets no random bytes");
        key
    }

    /// The key with these bytes. The caller overwrites its own copy of them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The secret itself, to be wrapped or handed to a machine over a connection that keeps it.
    #[must_use]
    pub const fn expose(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(blake3::derive_key(ID_CONTEXT, &self.0))
    }
}

impl TryFrom<&[u8]> for DataKey {
    type Error = ParseKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, ParseKeyError> {
        bytes.try_into().map(Self).map_err(|_| ParseKeyError)
    }
}

impl FromStr for DataKey {
    type Err = ParseKeyError;

    /// From 64 hex digits, as an operator keeps it in a file.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut key = Self([0; BYTES]);
        hex::decode_to_slice(text.trim(), &mut key.0).map_err(|_| ParseKeyError)?;
        Ok(key)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey(id {})", self.id())
    }
}

impl KeyId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl TryFrom<&[u8]> for KeyId {
    type Error = ParseKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, ParseKeyError> {
        bytes.try_into().map(Self).map_err(|_| ParseKeyError)
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseKeyError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
