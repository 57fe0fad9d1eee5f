//! Who this machine is to the controller: the boot identity from its initrd, a key pair made in RAM, and the
//! certificate that the one-time token was exchanged for.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use imprint_image::PublicKey;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use url::Url;

pub mod credentials;
pub mod enroll;
pub mod private_file;
pub mod tls;

pub use credentials::{Credentials, NodeKey};

/// Where the identity initrd puts it.
pub const IDENTITY_FILE: &str = "/etc/imprint/identity.json";
const MAX_BYTES: u64 = 1 << 20;
/// A clock that is off by more would make certificates invalid.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// The machine has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file of the identity initrd.
    #[error("cannot read the boot identity {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("the boot identity {path} is malformed")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A version this agent doesn't know.
    #[error("the boot identity has version {version}; this agent knows version 1")]
    Version {
        /// Its version.
        version: u32,
    },
    /// The controller's address.
    #[error("the boot identity names {url} as the controller, which is no https:// address")]
    NoHttps {
        /// What it says.
        url: Url,
    },
    /// No keys or a bad one.
    #[error("the boot identity names no usable manifest key")]
    Keys,
    /// Key pair or certificate.
    #[error("cannot make the key pair of this boot")]
    Key(#[source] Box<rcgen::Error>),
    /// A file in the state folder.
    #[error("cannot keep {path}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS material.
    #[error("the CA or the certificate cannot be used for TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the controller gave this machine on its way.
#[derive(Clone)]
pub struct BootIdentity {
    /// Base URL of the controller.
    pub controller_url: Url,
    /// The only CA that the agent trusts.
    pub ca_pem: String,
    /// Whose manifests the agent writes.
    pub manifest_keys: Vec<PublicKey>,
    /// Exchanged once for a certificate. A secret.
    pub boot_token: String,
    /// When it was made, by the controller's clock.
    pub issued_at: Timestamp,
}

impl fmt::Debug for BootIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootIdentity")
            .field("controller_url", &self.controller_url.as_str())
            .field("manifest_keys", &self.manifest_keys)
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct File {
    version: u32,
    controller_url: Url,
    ca_pem: String,
    manifest_keys: Vec<String>,
    boot_token: String,
    issued_at: Timestamp,
}

impl BootIdentity {
    /// Reads the file of the identity initrd.
    ///
    /// # Errors
    /// When it is missing or not to be trusted.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let read = || {
            if fs::metadata(path)?.len() > MAX_BYTES {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            fs::read(path)
        };
        let bytes = read().map_err(|source| IdentityError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let file: File = serde_json::from_slice(&bytes).map_err(|source| IdentityError::Parse {
            path: path.to_path_buf(),
            source,
        })?;
        if file.version != 1 {
            return Err(IdentityError::Version {
                version: file.version,
            });
        }
        if file.controller_url.scheme() != "https" || file.controller_url.host_str().is_none() {
            return Err(IdentityError::NoHttps {
                url: file.controller_url,
            });
        }
        let keys: Result<Vec<PublicKey>, _> = file.manifest_keys.iter().map(|key| key.parse()).collect();
        let manifest_keys = keys
            .ok()
            .filter(|keys| !keys.is_empty())
            .ok_or(IdentityError::Keys)?;
        Ok(Self {
            controller_url: file.controller_url,
            ca_pem: file.ca_pem,
            manifest_keys,
            boot_token: file.boot_token,
            issued_at: file.issued_at,
        })
    }

    /// What the clock should be set to, when it is off by more than certificates bear. The identity is minutes old at
    /// most when the machine has just started.
    #[must_use]
    pub fn better_clock(&self, now: Timestamp) -> Option<Timestamp> {
        (now.duration_since(self.issued_at).abs() > CLOCK_TOLERANCE).then_some(self.issued_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(change: &dyn Fn(&mut serde_json::Value)) -> Result<BootIdentity, IdentityError> {
        let mut value = serde_json::json!({
            "version": 1, "controller_url": "https://10.0.0.1:8443", "ca_pem": "PEM", "manifest_keys": ["ab".repeat(32)],
            "boot_token": "very-secret", "issued_at": "2026-01-02T03:04:05Z", "node_hint": "52:54:00:00:00:01",
        });
        change(&mut value);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), value.to_string()).unwrap();
        BootIdentity::load(file.path())
    }

    #[test]
    fn loads_and_keeps_its_secret() {
        let identity = load(&|_| {}).unwrap();
        assert_eq!(identity.boot_token, "very-secret");
        assert!(!format!("{identity:?}").contains("secret"));
        let issued = identity.issued_at;
        for (hours, set) in [
            (0, false),
            (23, false),
            (25, true),
            (-25, true),
            (24 * 9000, true),
        ] {
            let now = issued + SignedDuration::from_hours(hours);
            assert_eq!(identity.better_clock(now).is_some(), set, "{hours} h");
        }
    }

    #[test]
    fn refuses_what_is_not_to_be_trusted() {
        assert!(matches!(
            load(&|v| v["version"] = 2.into()),
            Err(IdentityError::Version { version: 2 })
        ));
        assert!(matches!(
            load(&|v| v["controller_url"] = "http://h".into()),
            Err(IdentityError::NoHttps { .. })
        ));
        assert!(matches!(
            load(&|v| v["manifest_keys"] = serde_json::json!([])),
            Err(IdentityError::Keys)
        ));
        assert!(matches!(
            load(&|v| v["manifest_keys"][0] = "xy".into()),
            Err(IdentityError::Keys)
        ));
        assert!(matches!(
            load(&|v| v["ca_pem"] = 1.into()),
            Err(IdentityError::Parse { .. })
        ));
        assert!(matches!(
            BootIdentity::load(Path::new("/nonexistent")),
            Err(IdentityError::Read { .. })
        ));
    }
}
