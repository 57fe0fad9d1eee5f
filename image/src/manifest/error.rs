//! Why a manifest is refused.

use crate::seal::{KeyId, OpenError};
use crate::{Digest, PublicKey};

/// A manifest that must not be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than any manifest may be.
    #[error("the manifest has {got} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its length.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes around the manifest are not a signed manifest.
    #[error("not a signed manifest: {reason}; is the address that of a manifest of an image store?")]
    Envelope {
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no key to check against.
    #[error("no trusted manifest key is known; name at least one public key")]
    NoTrustedKey,
    /// Signed, but by nobody who is trusted.
    #[error("the manifest is signed by {}, which is not a trusted key", list(.signers))]
    UnknownSigner {
        /// The keys that it names.
        signers: Vec<PublicKey>,
    },
    /// Names a trusted key, but that key did not sign these bytes.
    #[error("the manifest's signature by the trusted key {key} is wrong: it was changed after it was signed")]
    BadSignature {
        /// The key.
        key: PublicKey,
    },
    /// The bytes are no protobuf message of the manifest's type.
    #[error("the manifest cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// Written by a version of Imprint that is newer than this one.
    #[error(
        "the manifest has format version {got}; this program reads versions up to {supported}, a newer one is needed"
    )]
    UnsupportedVersion {
        /// The version found.
        got: u32,
        /// The last version that this crate reads.
        supported: u32,
    },
    /// It is encrypted, and no key was given.
    #[error("the image is encrypted; the data key {key_id} is needed to read it")]
    Encrypted {
        /// Which key opens it.
        key_id: KeyId,
    },
    /// There is a key for what is not encrypted.
    #[error("a data key was given, and the image is not encrypted")]
    NotEncrypted,
    /// It is encrypted with another key.
    #[error("the image is encrypted with the data key {expected}, and {got} was given")]
    WrongKey {
        /// The key that it names.
        expected: KeyId,
        /// The key that was given.
        got: KeyId,
    },
    /// It names the key that was given, and that does not open it.
    #[error("the manifest cannot be opened with the data key {key_id}")]
    Open {
        /// The key.
        key_id: KeyId,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// A field has a value that it must not have.
    #[error("the manifest is not valid: {field} is {got}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value, or its length.
        got: u64,
        /// What would be right.
        expected: String,
    },
    /// A chunk or hole is not where the one before it ends.
    #[error("the manifest is not valid: chunk {expected} of the disk is missing or listed twice")]
    Tiling {
        /// The first chunk that is not covered exactly once.
        expected: u64,
    },
    /// A chunk names a frame that cannot be.
    #[error("the manifest is not valid: chunk {index} has {what}")]
    Chunk {
        /// Which chunk.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A pack cannot be.
    #[error("the manifest is not valid: pack {digest} has {what}")]
    Pack {
        /// Which pack.
        digest: Digest,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The identity is not that of the content.
    #[error("the manifest's content has the identity {got}, but it claims {expected}")]
    Identity {
        /// What it claims.
        expected: Digest,
        /// What it is.
        got: Digest,
    },
}

fn list(keys: &[PublicKey]) -> String {
    keys.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
