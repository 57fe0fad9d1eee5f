//! The key pair of this boot and its certificate. Both live in RAM only; a restarted agent takes them up again.

use std::{fmt, path::Path};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use super::{IdentityError, private_file};

/// An ECDSA P-256 key pair.
pub struct NodeKey(KeyPair);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

impl NodeKey {
    /// The key pair of this boot: the kept one, or a new one that is kept.
    ///
    /// # Errors
    /// When none can be made or kept.
    pub fn load_or_make(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join("key.pem");
        let keep = |source| IdentityError::Keep {
            path: path.clone(),
            source,
        };
        let kept = private_file::read(&path)
            .map_err(keep)?
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(key) = kept.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            return Ok(Self(key));
        }
        let key = KeyPair::generate().map_err(|error| IdentityError::Key(Box::new(error)))?;
        private_file::write(&path, key.serialize_pem().as_bytes()).map_err(keep)?;
        Ok(Self(key))
    }

    /// A certificate request; the controller decides on the name.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        let request = CertificateParams::new(Vec::new()).and_then(|params| params.serialize_request(&self.0));
        Ok(request
            .map_err(|error| IdentityError::Key(Box::new(error)))?
            .der()
            .to_vec())
    }

    /// The private key, for TLS.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The private key as PKCS#8, for TLS.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }
}

/// The certificate of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The controller's id of this node.
    pub node_id: String,
    /// Leaf first, DER in hex.
    chain: Vec<String>,
    /// When it was taken, by this machine's clock.
    pub taken_at: Timestamp,
    /// The end of its life.
    pub expires_at: Timestamp,
}

impl Credentials {
    /// As the controller answered.
    #[must_use]
    pub fn new(node_id: &str, chain_der: &[Vec<u8>], taken_at: Timestamp, expires_at: Timestamp) -> Self {
        let chain = chain_der.iter().map(hex::encode).collect();
        Self {
            node_id: node_id.to_owned(),
            chain,
            taken_at,
            expires_at,
        }
    }

    /// The certificates, leaf first.
    #[must_use]
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        self.chain
            .iter()
            .filter_map(|der| hex::decode(der).ok())
            .collect()
    }

    /// When to ask for the next: at two thirds of its life.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let life = self.expires_at.duration_since(self.taken_at);
        self.taken_at.checked_add(life / 3 * 2).unwrap_or(self.expires_at)
    }

    /// The kept certificate, when it is still good.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn load(state: &Path, now: Timestamp) -> Result<Option<Self>, IdentityError> {
        let path = state.join("certificate.json");
        let bytes = private_file::read(&path).map_err(|source| IdentityError::Keep { path, source })?;
        let kept: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(kept.filter(|kept| kept.expires_at > now && !kept.chain.is_empty()))
    }

    /// Keeps it for a restarted agent.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, state: &Path) -> Result<(), IdentityError> {
        let path = state.join("certificate.json");
        let bytes = serde_json::to_vec(self).expect("plain fields are always JSON");
        private_file::write(&path, &bytes).map_err(|source| IdentityError::Keep { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_restarted_agent_has_the_same_key_and_certificate() {
        let state = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_make(state.path()).unwrap();
        assert_eq!(NodeKey::load_or_make(state.path()).unwrap().pem(), key.pem());
        assert_eq!(
            fs::metadata(state.path().join("key.pem")).unwrap().mode() & 0o777,
            0o600
        );
        assert!(!key.request().unwrap().is_empty());

        let now = Timestamp::from_second(1_000_000).unwrap();
        let credentials = Credentials::new("N", &[vec![1, 2]], now, now + SignedDuration::from_hours(24));
        credentials.save(state.path()).unwrap();
        assert_eq!(
            Credentials::load(state.path(), now).unwrap(),
            Some(credentials.clone())
        );
        assert_eq!(
            Credentials::load(state.path(), now + SignedDuration::from_hours(25)).unwrap(),
            None
        );
        assert_eq!(credentials.renew_at(), now + SignedDuration::from_hours(16));
        assert_eq!(credentials.chain_der(), [[1, 2]]);
    }
}
