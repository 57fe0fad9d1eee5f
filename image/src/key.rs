//! Ed25519 keys that sign manifests.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// A key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system's random source failed.
    #[error("cannot generate an ed25519 key")]
    Generate,
    /// The bytes are no PKCS#8 document with an ed25519 key.
    #[error("the signing key is not a valid ed25519 key in PKCS#8 form: {reason}; restore it from a backup")]
    Pkcs8 {
        /// What the crypto library said.
        reason: String,
    },
    /// A private key could not be written down.
    #[error("cannot encode the signing key")]
    Encode,
    /// A text is no public key.
    #[error("not an ed25519 public key: expected 64 hex digits, got {got} characters or no hex digits")]
    PublicKeyText {
        /// How many characters there were.
        got: usize,
    },
}

/// The private half: signs manifests. Never shown by `Debug`.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A fresh key from the system's random source.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate()
            .map(Self)
            .map_err(|_| KeyError::Generate)
    }

    /// Reads a key from the DER of a PKCS#8 document, version 1 or 2.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(Self)
            .map_err(|error| KeyError::Pkcs8 {
                reason: error.to_string(),
            })
    }

    /// The DER of a PKCS#8 document. Secret: the caller keeps it in a file of mode 0600.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let document = self.0.to_pkcs8().map_err(|_| KeyError::Encode)?;
        Ok(document.as_ref().to_vec())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let bytes = self
            .0
            .public_key()
            .as_ref()
            .try_into()
            .expect("an ed25519 public key has 32 bytes");
        PublicKey(bytes)
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0
            .sign(message)
            .as_ref()
            .try_into()
            .expect("an ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public: {})", self.public_key())
    }
}

/// The public half: proves manifests. Written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` over `message` was made with the private half of this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::PublicKeyText {
            got: text.chars().count(),
        })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pkcs8_and_its_signatures_hold_only_for_the_message() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let signature = again.sign(b"message");
        assert!(key.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"massage", &signature));
        assert!(
            !SigningKey::generate()
                .unwrap()
                .public_key()
                .verifies(b"message", &signature)
        );
        assert!(!key.public_key().verifies(b"message", &signature[..63]));
    }

    #[test]
    fn text_form_round_trips_and_debug_hides_the_secret() {
        let key = SigningKey::generate().unwrap();
        let public = key.public_key();
        assert_eq!(format!("{public}\n").parse::<PublicKey>().unwrap(), public);
        assert!("zz".parse::<PublicKey>().is_err());
        assert_eq!(format!("{key:?}"), format!("SigningKey(public: {public})"));
        assert!(SigningKey::from_pkcs8(b"nothing of the kind").is_err());
    }
}
