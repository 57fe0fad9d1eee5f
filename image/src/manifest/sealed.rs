//! The form of a manifest whose image is encrypted: what it says is sealed, and around it is only what is needed to open
//! it. A reader that knows version 1 alone refuses it by its version.

use prost::Message;

use super::{Manifest, ManifestError, SEALED_FORMAT_VERSION, wire};
use crate::seal::{Algorithm, DataKey, KeyId, OVERHEAD_BYTES, Part, Seal};

#[derive(Clone, PartialEq, Message)]
struct SealedMessage {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(enumeration = "AlgorithmNumber", tag = "15")]
    algorithm: i32,
    #[prost(bytes = "vec", tag = "16")]
    key_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "17")]
    sealed: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum AlgorithmNumber {
    Unspecified = 0,
    Aes256Gcm = 1,
    ChaCha20Poly1305 = 2,
}

/// What opens the manifest, and what it is sealed with.
struct Envelope {
    algorithm: Algorithm,
    key_id: KeyId,
    sealed: Vec<u8>,
}

pub(super) fn encode(manifest: &Manifest, seal: &Seal) -> Vec<u8> {
    let mut content = wire::encode(manifest);
    content.reserve_exact(OVERHEAD_BYTES as usize);
    seal.seal_from(&mut content, 0, Part::Manifest);
    let algorithm = match seal.algorithm() {
        Algorithm::Aes256Gcm => AlgorithmNumber::Aes256Gcm,
        Algorithm::ChaCha20Poly1305 => AlgorithmNumber::ChaCha20Poly1305,
    };
    SealedMessage {
        format_version: SEALED_FORMAT_VERSION,
        algorithm: algorithm as i32,
        key_id: seal.key_id().as_bytes().to_vec(),
        sealed: content,
    }
    .encode_to_vec()
}

/// The id of the key that opens the manifest.
pub(super) fn key_id(bytes: &[u8]) -> Result<KeyId, ManifestError> {
    Ok(envelope(bytes)?.key_id)
}

/// Opens the manifest, whose content is still to be proven valid.
pub(super) fn open(bytes: &[u8], key: &DataKey) -> Result<Manifest, ManifestError> {
    let Envelope {
        algorithm,
        key_id,
        mut sealed,
    } = envelope(bytes)?;
    if key.id() != key_id {
        return Err(ManifestError::WrongKey {
            expected: key_id,
            got: key.id(),
        });
    }
    let seal = Seal::new(key, algorithm);
    let content = seal
        .open(&mut sealed, Part::Manifest)
        .map_err(|source| ManifestError::Open { key_id, source })?;
    wire::decode(content, Some(seal))
}

fn envelope(bytes: &[u8]) -> Result<Envelope, ManifestError> {
    let message = SealedMessage::decode(bytes)?;
    let algorithm = match message.algorithm() {
        AlgorithmNumber::Aes256Gcm => Algorithm::Aes256Gcm,
        AlgorithmNumber::ChaCha20Poly1305 => Algorithm::ChaCha20Poly1305,
        AlgorithmNumber::Unspecified => {
            return Err(ManifestError::Field {
                field: "the algorithm of the encryption",
                got: u64::from(message.algorithm.unsigned_abs()),
                expected: "1 or 2".to_owned(),
            });
        }
    };
    let key_id = KeyId::try_from(&message.key_id[..]).map_err(|_| ManifestError::Field {
        field: "the length of the key's id",
        got: message.key_id.len() as u64,
        expected: "32".to_owned(),
    })?;
    Ok(Envelope {
        algorithm,
        key_id,
        sealed: message.sealed,
    })
}
