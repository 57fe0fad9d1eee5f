//! The envelope of a manifest: signatures in front, the manifest behind them.
//!
//! The layout is fixed, so that nothing is parsed before a signature of a trusted key holds:
//! magic, count of signatures, for each one key and signature, then the manifest to the end of the file.

use crate::seal::{DataKey, KeyId};
use crate::{Digest, MAX_MANIFEST_BYTES, Manifest, ManifestError, PublicKey, SigningKey};

const MAGIC: &[u8; 8] = b"IMPRMAN1";
/// Magic, count, seven reserved zeros.
const HEADER_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const ENTRY_BYTES: usize = KEY_BYTES + SIGNATURE_BYTES;
const MAX_SIGNATURES: u8 = 16;
/// What signatures add to a manifest at most.
pub(crate) const MAX_ENVELOPE_BYTES: u64 = HEADER_BYTES as u64 + MAX_SIGNATURES as u64 * ENTRY_BYTES as u64;
/// Keeps a signature made here from meaning anything anywhere else.
const DOMAIN: &[u8] = b"imprint.manifest.signature.v1\0";

/// A manifest with the signatures of those who vouch for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    signatures: Vec<(PublicKey, [u8; SIGNATURE_BYTES])>,
    manifest: Vec<u8>,
}

impl SignedManifest {
    /// Encodes and signs `manifest`; what is signed of an encrypted image is the sealed form.
    #[must_use]
    pub fn sign(manifest: &Manifest, key: &SigningKey) -> Self {
        let manifest = manifest.encode();
        let signature = key.sign(&message(&manifest));
        Self {
            signatures: vec![(key.public_key(), signature)],
            manifest,
        }
    }

    /// The file that a store holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let head = HEADER_BYTES + self.signatures.len() * ENTRY_BYTES;
        let mut bytes = Vec::with_capacity(head + self.manifest.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(u8::try_from(self.signatures.len()).expect("made with one signature"));
        bytes.resize(HEADER_BYTES, 0);
        for (key, signature) in &self.signatures {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(signature);
        }
        bytes.extend_from_slice(&self.manifest);
        bytes
    }

    /// BLAKE3 of the manifest inside, without the signatures.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Opens the file that a store holds, for whoever trusts `keys`: at least one of them must have signed it, and
    /// no signature that names one of them may be wrong. Nothing of the manifest is parsed before that.
    pub fn open(bytes: &[u8], keys: &[PublicKey]) -> Result<Manifest, ManifestError> {
        Self::open_with(bytes, keys, None)
    }

    /// As [`SignedManifest::open`], with the data key of an encrypted image: see [`Manifest::decode_with`].
    pub fn open_with(
        bytes: &[u8],
        keys: &[PublicKey],
        data_key: Option<&DataKey>,
    ) -> Result<Manifest, ManifestError> {
        Manifest::decode_with(Self::verified(bytes, keys)?, data_key)
    }

    /// The manifest inside, once its signature is proven.
    fn verified<'a>(bytes: &'a [u8], keys: &[PublicKey]) -> Result<&'a [u8], ManifestError> {
        let envelope = Envelope::split(bytes)?;
        if keys.is_empty() {
            return Err(ManifestError::NoTrustedKey);
        }
        let message = message(envelope.manifest);
        let mut proven = false;
        for (key, signature) in envelope.signatures() {
            if keys.contains(&key) {
                if !key.verifies(&message, signature) {
                    return Err(ManifestError::BadSignature { key });
                }
                proven = true;
            }
        }
        if !proven {
            return Err(ManifestError::UnknownSigner {
                signers: envelope.signatures().map(|(key, _)| key).collect(),
            });
        }
        Ok(envelope.manifest)
    }

    /// Opens the file without any trust: for tools that show it. Never for what will be booted.
    pub fn open_unverified(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        Self::open_unverified_with(bytes, None)
    }

    /// As [`SignedManifest::open_unverified`], with the data key of an encrypted image.
    pub fn open_unverified_with(bytes: &[u8], data_key: Option<&DataKey>) -> Result<Manifest, ManifestError> {
        Manifest::decode_with(Envelope::split(bytes)?.manifest, data_key)
    }

    /// The id of the data key that opens the file; none when the image is not encrypted. Nothing is trusted for that.
    pub fn key_id(bytes: &[u8]) -> Result<Option<KeyId>, ManifestError> {
        Manifest::key_id(Envelope::split(bytes)?.manifest)
    }
}

/// What is signed: the digest of the manifest, under a domain of its own.
fn message(manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, Digest::of(manifest).as_bytes()].concat()
}

struct Envelope<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
    manifest: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, ManifestError> {
        let fault = |reason| Err(ManifestError::Envelope { reason });
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge {
                got: bytes.len() as u64,
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return fault("it is too short");
        };
        let [magic @ .., _, _, _, _, _, _, _, _] = header;
        if magic != MAGIC {
            return fault("it does not begin with the magic of one");
        }
        let count = header[MAGIC.len()];
        if count == 0 || count > MAX_SIGNATURES {
            return fault("it has no signature or more than 16");
        }
        if header[MAGIC.len() + 1..] != [0; 7] {
            return fault("its reserved bytes are not zero");
        }
        let Some((entries, manifest)) = rest.split_at_checked(usize::from(count) * ENTRY_BYTES) else {
            return fault("it ends inside of its signatures");
        };
        Ok(Self {
            entries: entries.as_chunks().0,
            manifest,
        })
    }

    fn signatures(&self) -> impl Iterator<Item = (PublicKey, &'a [u8])> + use<'a> {
        self.entries.iter().map(|entry| {
            let (key, signature) = entry
                .split_first_chunk::<KEY_BYTES>()
                .expect("an entry begins with a key");
            (PublicKey::from_bytes(*key), signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hole, HoleKind, PartitionSummary};

    fn manifest() -> Manifest {
        let hole = Hole {
            first_chunk: 0,
            chunk_count: 3,
            kind: HoleKind::MustBeZero,
        };
        Manifest::assemble(
            3 << 20,
            512,
            vec![],
            vec![],
            vec![hole],
            PartitionSummary::default(),
        )
        .unwrap()
    }

    #[test]
    fn opens_for_the_signer_only() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let bytes = SignedManifest::sign(&manifest(), &key).encode();
        assert_eq!(
            SignedManifest::open(&bytes, &[other.public_key(), key.public_key()]).unwrap(),
            manifest()
        );
        assert_eq!(SignedManifest::open_unverified(&bytes).unwrap(), manifest());
        let error = SignedManifest::open(&bytes, &[other.public_key()]).unwrap_err();
        assert!(matches!(&error, ManifestError::UnknownSigner { signers } if signers == &[key.public_key()]));
        assert!(error.to_string().contains(&key.public_key().to_string()));
        assert!(matches!(
            SignedManifest::open(&bytes, &[]),
            Err(ManifestError::NoTrustedKey)
        ));
    }

    #[test]
    fn no_bit_can_be_changed() {
        let key = SigningKey::generate().unwrap();
        let bytes = SignedManifest::sign(&manifest(), &key).encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                SignedManifest::open(&bad, &[key.public_key()]).is_err(),
                "bit {bit}"
            );
        }
        for len in 0..bytes.len() {
            assert!(
                SignedManifest::open(&bytes[..len], &[key.public_key()]).is_err(),
                "length {len}"
            );
        }
    }

    #[test]
    fn a_wrong_signature_is_found_before_the_manifest_is_parsed() {
        let key = SigningKey::generate().unwrap();
        let mut bytes = SignedManifest::sign(&manifest(), &key).encode();
        // What follows the signatures is no protobuf any more; the signature must be what is complained about.
        bytes.truncate(HEADER_BYTES + ENTRY_BYTES);
        bytes.extend_from_slice(&[0xFF; 64]);
        let error = SignedManifest::open(&bytes, &[key.public_key()]).unwrap_err();
        assert!(matches!(error, ManifestError::BadSignature { .. }), "{error}");
        assert!(matches!(
            SignedManifest::open_unverified(&bytes),
            Err(ManifestError::Decode(_))
        ));
    }
}
