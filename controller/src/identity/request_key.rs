//! The key under which requests are remembered: they may hold passwords, and a plain digest of those can be guessed.

use std::{fmt, path::Path, sync::Arc};

use zeroize::Zeroizing;

use super::{IdentityError, authority, keyfile};

const FILE: &str = "request.key";
const BYTES: usize = 32;

/// Digests requests so that only this controller can compare them. Cheap to clone.
#[derive(Clone)]
pub struct RequestKey(Arc<Zeroizing<[u8; BYTES]>>);

impl RequestKey {
    /// The key of a data folder; made when it is not there.
    pub fn obtain(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = authority::folder(data_dir).join(FILE);
        let mut key = Zeroizing::new([0; BYTES]);
        if path.exists() {
            let bytes = Zeroizing::new(keyfile::read(&path)?);
            if bytes.len() != BYTES {
                return Err(IdentityError::Damaged {
                    path,
                    source: format!("{} bytes instead of {BYTES}", bytes.len()).into(),
                });
            }
            key.copy_from_slice(&bytes);
        } else {
            getrandom::fill(key.as_mut_slice()).map_err(|error| IdentityError::Write {
                path: path.clone(),
                source: std::io::Error::other(error),
            })?;
            keyfile::write(&path, 0o600, key.as_slice())?;
        }
        Ok(Self(Arc::new(key)))
    }

    /// The keyed digest of a request.
    #[must_use]
    pub fn digest(&self, request: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, request)
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("identity")).unwrap();
        let first = RequestKey::obtain(dir.path()).unwrap();
        let again = RequestKey::obtain(dir.path()).unwrap();
        assert_eq!(first.digest(b"a"), again.digest(b"a"));
        assert_ne!(first.digest(b"a"), blake3::hash(b"a"));
        let path = dir.path().join("identity").join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(
            RequestKey::obtain(dir.path()),
            Err(IdentityError::Damaged { .. })
        ));
    }
}
