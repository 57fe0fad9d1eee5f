//! `/etc/imprint/guest-identity.json`: the key that the plugin made on its first boot, and the certificate that the
//! controller answered the first-boot report with.

use std::{
    io,
    path::{Path, PathBuf},
};

use pem::Pem;
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::file;

/// Larger than any file of this kind; a bound before parsing.
const MAX_BYTES: u64 = 256 << 10;
const FILE: &str = "guest-identity.json";

/// The identity cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file.
    #[error("cannot read or write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The crypto library.
    #[error("cannot make a key or a certificate request")]
    Key(#[source] rcgen::Error),
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// An identity is good for the deployment it was made for, and no other.
    deployment_id: String,
    key_pem: String,
    #[serde(default)]
    node_id: String,
    /// The leaf first.
    #[serde(default)]
    certificates_pem: String,
}

/// Who this system is to the controller.
pub struct Identity {
    path: PathBuf,
    kept: Kept,
    key: KeyPair,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("path", &self.path)
            .field("node_id", &self.kept.node_id)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Where it lies, beside the configuration.
    #[must_use]
    pub fn path_beside(config: &Path) -> PathBuf {
        config.with_file_name(FILE)
    }

    /// The identity of this deployment; a new key when there is none yet, or one of another deployment.
    ///
    /// # Errors
    /// When the file cannot be read or written. A damaged one is replaced: all it had was a key that nobody has to know.
    pub fn obtain(path: &Path, deployment_id: &str) -> Result<Self, IdentityError> {
        match Self::load(path, deployment_id) {
            Ok(Some(identity)) => return Ok(identity),
            Ok(None) => {}
            Err(IdentityError::Damaged { path, reason }) => {
                tracing::warn!(file = %path.display(), reason, "the plugin's identity is damaged; a new key is made");
            }
            Err(error) => return Err(error),
        }
        let key = KeyPair::generate().map_err(IdentityError::Key)?;
        let identity = Self {
            path: path.to_owned(),
            kept: Kept {
                version: 1,
                deployment_id: deployment_id.to_owned(),
                key_pem: key.serialize_pem(),
                node_id: String::new(),
                certificates_pem: String::new(),
            },
            key,
        };
        identity.keep()?;
        Ok(identity)
    }

    /// The identity of this deployment, if it has one.
    ///
    /// # Errors
    /// When the file is there and cannot be read or used.
    pub fn load(path: &Path, deployment_id: &str) -> Result<Option<Self>, IdentityError> {
        let bytes = match file::read_bounded(path, MAX_BYTES) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(IdentityError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let damaged = |reason: String| IdentityError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if kept.deployment_id != deployment_id {
            return Ok(None);
        }
        let key = KeyPair::from_pem(&kept.key_pem).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(Self {
            path: path.to_owned(),
            kept,
            key,
        }))
    }

    /// A PKCS#10 request for its key, DER.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn request_der(&self) -> Result<Vec<u8>, IdentityError> {
        let request =
            CertificateParams::new(Vec::new()).and_then(|params| params.serialize_request(&self.key));
        Ok(request.map_err(IdentityError::Key)?.der().to_vec())
    }

    /// Keeps the certificate that the controller has answered with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn adopt(&mut self, node_id: &str, chain_der: &[Vec<u8>]) -> Result<(), IdentityError> {
        if !node_id.is_empty() {
            node_id.clone_into(&mut self.kept.node_id);
        }
        self.kept.certificates_pem = chain_der
            .iter()
            .map(|der| pem::encode(&Pem::new("CERTIFICATE", der.as_slice())))
            .collect();
        self.keep()
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.kept.certificates_pem.is_empty() && !self.kept.node_id.is_empty()
    }

    /// The controller's id of this node; empty before the certificate is there.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.kept.node_id
    }

    /// Certificates and key for TLS.
    #[must_use]
    pub fn for_tls(&self) -> tonic::transport::Identity {
        tonic::transport::Identity::from_pem(&self.kept.certificates_pem, &self.kept.key_pem)
    }

    fn keep(&self) -> Result<(), IdentityError> {
        let failed = |source| IdentityError::File {
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_vec_pretty(&self.kept).map_err(|error| failed(error.into()))?;
        file::write_secret(&self.path, &Zeroizing::new(text)).map_err(failed)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_key_is_made_once_for_each_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let path = Identity::path_beside(&folder.path().join("guest.json"));
        assert!(Identity::load(&path, "D1").unwrap().is_none());
        let first = Identity::obtain(&path, "D1").unwrap();
        assert!(!first.is_complete());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let request = first.request_der().unwrap();
        let mut again = Identity::obtain(&path, "D1").unwrap();
        assert_eq!(again.kept.key_pem, first.kept.key_pem);
        again.adopt("NODE", &[vec![1, 2, 3]]).unwrap();
        let loaded = Identity::load(&path, "D1").unwrap().unwrap();
        assert!(loaded.is_complete() && loaded.node_id() == "NODE" && !request.is_empty());
        assert!(loaded.kept.certificates_pem.contains("BEGIN CERTIFICATE"));
        assert!(!format!("{loaded:?}").contains("PRIVATE"));
        // A disk that was captured and deployed again carries the identity of somebody else.
        assert!(Identity::load(&path, "D2").unwrap().is_none());
        let other = Identity::obtain(&path, "D2").unwrap();
        assert!(other.kept.key_pem != first.kept.key_pem && !other.is_complete());
    }

    #[test]
    fn a_damaged_file_is_said_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in ["", "{", r#"{"version":1,"deployment_id":"D","key_pem":"x"}"#] {
            fs::write(&path, text).unwrap();
            assert!(matches!(
                Identity::load(&path, "D"),
                Err(IdentityError::Damaged { .. })
            ));
            assert!(!Identity::obtain(&path, "D").unwrap().is_complete());
            assert!(Identity::load(&path, "D").unwrap().is_some());
        }
    }
}
