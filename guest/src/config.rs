//! `/etc/imprint/guest.json`: how the installed system finds its controller, and the token for its one report.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::file;

/// The version of the file that this plugin understands.
const VERSION: u64 = 1;
/// Larger than any file the agent writes; a bound before parsing.
const MAX_BYTES: u64 = 1 << 20;
const TOKEN_KEY: &str = "report_token";
const ORDER_KEYS: &str = "order_keys";

/// The configuration as the agent left it.
pub struct GuestConfig {
    /// The deployment that put this system here.
    pub deployment_id: String,
    /// Base URL of the controller, always https.
    pub controller_url: String,
    /// PEM of the only CA to trust.
    pub ca_pem: String,
    /// The one-time token; `None` once the report has been made.
    pub report_token: Option<Zeroizing<String>>,
    /// Ed25519 public keys that orders to this system are signed with; without any, no order is taken.
    pub order_keys: Vec<Vec<u8>>,
}

impl fmt::Debug for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestConfig")
            .field("deployment_id", &self.deployment_id)
            .field("controller_url", &self.controller_url)
            .field("report_token", &self.report_token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// Why the configuration cannot be used or rewritten.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not valid JSON", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The file is JSON, but not what this plugin needs.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be replaced.
    #[error("cannot take the used token out of {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl GuestConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let object = read(path)?;
        let content = |what: String| ConfigError::Content {
            path: path.to_owned(),
            what,
        };
        let text = |key: &str| match object.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(_) => Err(content(format!("`{key}` is not a text or is empty"))),
            None => Err(content(format!("`{key}` is missing"))),
        };
        match object.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => {
                return Err(content(format!(
                    "version {other}, this plugin understands {VERSION}"
                )));
            }
            None => return Err(content("`version` is missing".into())),
        }
        let config = Self {
            deployment_id: text("deployment_id")?,
            controller_url: text("controller_url")?,
            ca_pem: text("ca_pem")?,
            report_token: match object.get(TOKEN_KEY) {
                None | Some(Value::Null) => None,
                Some(_) => Some(Zeroizing::new(text(TOKEN_KEY)?)),
            },
            order_keys: order_keys(object.get(ORDER_KEYS))
                .ok_or_else(|| content(format!("`{ORDER_KEYS}` is not a list of 64 hex digits each")))?,
        };
        // Without one, every connection would fail with a reason that leads elsewhere.
        if !matches!(
            CertificateDer::pem_slice_iter(config.ca_pem.as_bytes()).next(),
            Some(Ok(_))
        ) {
            return Err(content("`ca_pem` holds no certificate in PEM form".into()));
        }
        // The token would be readable on the wire, and no CA would be asked.
        if !config.controller_url.starts_with("https://") {
            return Err(content(format!(
                "`controller_url` is {}, not https",
                config.controller_url
            )));
        }
        Ok(config)
    }

    /// Takes the token out of the file: atomically, so that a crash leaves the old file or the new one, and with mode
    /// 0600. Keys that this version does not know are kept.
    pub fn forget_token(path: &Path) -> Result<(), ConfigError> {
        let mut object = read(path)?;
        object.remove(TOKEN_KEY);
        let failed = |source| ConfigError::Write {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec_pretty(&object).map_err(|error| failed(error.into()))?;
        file::write_secret(path, &text).map_err(failed)
    }
}

/// Keys of 32 bytes as hex; none when they are not given.
fn order_keys(value: Option<&Value>) -> Option<Vec<Vec<u8>>> {
    let Some(value) = value else {
        return Some(Vec::new());
    };
    let key = |value: &Value| hex::decode(value.as_str()?).ok().filter(|key| key.len() == 32);
    value.as_array()?.iter().take(16).map(key).collect()
}

fn read(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let text = match file::read_bounded(path, MAX_BYTES) {
        Err(long) if long.kind() == io::ErrorKind::FileTooLarge => {
            return Err(ConfigError::Content {
                path: path.to_owned(),
                what: format!("more than the {MAX_BYTES} bytes expected at most"),
            });
        }
        other => Zeroizing::new(other.map_err(failed)?),
    };
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ConfigError::Content {
            path: path.to_owned(),
            what: "not a JSON object".into(),
        }),
        Err(source) => Err(ConfigError::Syntax {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const GOOD: &str = r#"{"version":1,"deployment_id":"01D","controller_url":"https://10.0.0.1:8443",
        "ca_pem":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n","report_token":"s3cret",
        "order_keys":["0101010101010101010101010101010101010101010101010101010101010101"],"later":{"a":1}}"#;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.json");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_token_is_read_forgotten_and_never_shown() {
        let (folder, path) = file(GOOD);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let config = GuestConfig::load(&path).unwrap();
        assert_eq!(
            config.report_token.as_ref().map(|token| token.as_str()),
            Some("s3cret")
        );
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.order_keys, [[1; 32]]);

        // What a crash in the middle left behind must not be in the way.
        fs::write(folder.path().join(".guest.json.imprint-new"), "half").unwrap();
        GuestConfig::forget_token(&path).unwrap();
        let config = GuestConfig::load(&path).unwrap();
        assert!(config.report_token.is_none());
        assert_eq!(config.deployment_id, "01D");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("s3cret") && text.contains("later"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn bad_files_are_named_with_what_is_wrong() {
        for (text, expected) in [
            ("", "not valid JSON"),
            ("[]", "not a JSON object"),
            ("{}", "`version` is missing"),
            (r#"{"version":2}"#, "version 2, this plugin understands 1"),
            (r#"{"version":1}"#, "`deployment_id` is missing"),
            (
                r#"{"version":1,"deployment_id":5}"#,
                "`deployment_id` is not a text",
            ),
            (
                r#"{"version":1,"deployment_id":"d","controller_url":"http://c","ca_pem":"CA","report_token":"t"}"#,
                "not https",
            ),
            (
                r#"{"version":1,"deployment_id":"d","controller_url":"https://c","ca_pem":"CA","report_token":""}"#,
                "`report_token` is not a text or is empty",
            ),
            (
                r#"{"version":1,"deployment_id":"d","controller_url":"https://c","ca_pem":"p"}"#,
                "no certificate",
            ),
            (
                r#"{"version":1,"deployment_id":"d","controller_url":"https://c","ca_pem":"CA","order_keys":["01"]}"#,
                "`order_keys` is not a list",
            ),
        ] {
            let pem = r"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
            let (_folder, path) = file(&text.replace("\"CA\"", &format!("\"{pem}\"")));
            let said = GuestConfig::load(&path).unwrap_err().to_string();
            assert!(
                said.contains(expected) && said.contains("guest.json"),
                "{text}: {said}"
            );
        }
    }
}
