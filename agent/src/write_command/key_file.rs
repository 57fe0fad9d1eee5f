//! The data key of an encrypted image, from a file: never from the command line, which everybody on the machine can see.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use imprint_image::seal::{DataKey, ParseKeyError};
use zeroize::Zeroizing;

/// 64 digits and an end of line, and what editors add.
const MOST_BYTES: u64 = 128;

/// A file that gives no data key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("cannot read the key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("the key file {} can be read by others (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error("the key file {} holds no data key", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ParseKeyError,
    },
}

impl KeyFileError {
    /// What an operator can do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            KeyFileError::Read { .. } => "check the path and its permissions",
            KeyFileError::Open { .. } => "make it private first: chmod 600 FILE",
            KeyFileError::Content { .. } => "give the file that `imprint-controller image-key` wrote",
        }
    }
}

/// Reads the key.
pub(super) fn read(path: &Path) -> Result<DataKey, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mode = about.permissions().mode() & 0o777;
    if about.is_file() && mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeyFileError::Open { path, mode });
    }
    // Of its full size from the start, so that no copy of the key is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES as usize));
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed)?;
    text.parse().map_err(|source| KeyFileError::Content {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_key_is_read_from_a_private_file_only_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.key");
        let text = "a7".repeat(32);
        let write = |content: &str, mode| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        write(&format!("{text}\n"), 0o600);
        assert_eq!(read(&path).unwrap().id(), DataKey::from_bytes([0xA7; 32]).id());
        write(&text, 0o400);
        assert!(read(&path).is_ok());
        write(&text, 0o640);
        let open = read(&path).unwrap_err();
        assert!(matches!(open, KeyFileError::Open { mode: 0o640, .. }), "{open}");
        let mut errors = vec![open, read(&dir.path().join("none")).unwrap_err()];
        for content in [&text[1..], &text.repeat(2), "", "a7a7 is no key"] {
            write(content, 0o600);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Content { .. }), "{error}");
            errors.push(error);
        }
        for error in errors {
            assert!(!format!("{error:?} {error}").contains("a7"), "{error:?}");
            assert!(!error.remedy().is_empty());
        }
    }
}
