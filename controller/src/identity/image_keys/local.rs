//! Wraps data keys with a key of the data folder: AES-256-GCM, in `identity/image-keys`, mode 0600.
//!
//! The file has one key a line, the newest first: its id and 64 hex digits. New data keys are wrapped with the first one;
//! the others are there while `rewrap-keys` replaces what they have wrapped.

use std::path::{Path, PathBuf};

use futures::future::{BoxFuture, ready};
use imprint_image::seal::{Algorithm, DataKey, Seal};
use zeroize::Zeroizing;

use super::{KeyWrapper, WrapError};
use crate::identity::{IdentityError, authority, keyfile};

const FILE: &str = "image-keys";
const HEAD: &str = "imprint image keys 1";
const NAME: &str = "local";
/// Enough to tell a handful of keys apart.
const ID_DIGITS: usize = 16;

/// Wraps with the newest key of the file, unwraps with all of them.
#[derive(Debug)]
pub struct LocalWrapper {
    path: PathBuf,
    keys: Vec<Wrapping>,
}

/// One key of the file.
#[derive(Debug)]
struct Wrapping {
    id: String,
    key: DataKey,
    seal: Seal,
}

impl Wrapping {
    fn of(key: DataKey) -> Self {
        let digits = key.id().to_string();
        Self {
            id: format!("{NAME}:{}", &digits[..ID_DIGITS]),
            seal: Seal::new(&key, Algorithm::Aes256Gcm),
            key,
        }
    }
}

impl LocalWrapper {
    /// The keys of a data folder; one is made when there is none.
    pub fn obtain(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = authority::folder(data_dir).join(FILE);
        if path.exists() {
            return Self::read(path);
        }
        let made = Self {
            path,
            keys: vec![Wrapping::of(DataKey::generate())],
        };
        made.write()?;
        Ok(made)
    }

    fn read(path: PathBuf) -> Result<Self, IdentityError> {
        let text = Zeroizing::new(keyfile::read_text(&path)?);
        let mut lines = text.lines();
        let is_known = lines.next() == Some(HEAD);
        let keys: Option<Vec<Wrapping>> = lines
            .map(|line| {
                let (id, key) = line.split_once(' ')?;
                let wrapping = Wrapping::of(key.parse().ok()?);
                (wrapping.id == id).then_some(wrapping)
            })
            .collect();
        match keys.filter(|keys| is_known && !keys.is_empty()) {
            Some(keys) => Ok(Self { path, keys }),
            None => Err(IdentityError::Damaged {
                path,
                source: "it is no list of keys, or of a newer version".into(),
            }),
        }
    }

    /// Replaces the file as a whole.
    fn write(&self) -> Result<(), IdentityError> {
        let lines = self.keys.len() + 1;
        // Of its full size from the start, so that no copy of a key is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(lines * 128));
        text.push_str(HEAD);
        text.push('\n');
        for Wrapping { id, key, .. } in &self.keys {
            let digits = Zeroizing::new(hex::encode(key.expose()));
            text.push_str(id);
            text.push(' ');
            text.push_str(&digits);
            text.push('\n');
        }
        keyfile::write(&self.path, 0o600, text.as_bytes())
    }

    /// Makes another key, which wraps from now on.
    pub(super) fn renew(&mut self) -> Result<(), IdentityError> {
        self.keys.insert(0, Wrapping::of(DataKey::generate()));
        self.write()
    }

    /// Forgets all keys but the newest.
    pub(super) fn forget_older(&mut self) -> Result<(), IdentityError> {
        self.keys.truncate(1);
        self.write()
    }

    fn newest(&self) -> &Wrapping {
        self.keys.first().expect("there is one at least")
    }

    fn open(&self, by: &str, wrapped: &[u8], context: &[u8]) -> Result<DataKey, WrapError> {
        let unknown = || WrapError::Unknown { by: by.to_owned() };
        let key = self.keys.iter().find(|key| key.id == by).ok_or_else(unknown)?;
        key.seal
            .unwrap(wrapped, context)
            .map_err(|source| WrapError::Open {
                by: by.to_owned(),
                source,
            })
    }
}

impl KeyWrapper for LocalWrapper {
    fn id(&self) -> String {
        self.newest().id.clone()
    }

    fn knows(&self, by: &str) -> bool {
        self.keys.iter().any(|key| key.id == by)
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, WrapError>> {
        Box::pin(ready(Ok(self.newest().seal.wrap(key, context))))
    }

    fn unwrap_key<'a>(
        &'a self,
        by: &'a str,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, WrapError>> {
        Box::pin(ready(self.open(by, wrapped, context)))
    }
}
