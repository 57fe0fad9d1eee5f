//! What was given, in two places.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use imprint_network::kept::{BadKept, Kept, MAX_KEPT, PLACES};

use crate::file;

/// What was given cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There never was any.
    #[error("neither {} nor {} is there", PLACES[0], PLACES[1])]
    None,
    /// All copies are damaged.
    #[error("both copies are damaged: {0}")]
    Damaged(String),
    /// A file can't be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was given, and which copies had to be written again.
#[derive(Debug)]
pub struct Loaded {
    /// What was given.
    pub kept: Kept,
    /// Copies that were missing or damaged.
    pub repaired: Vec<String>,
}

/// Reads the first copy that is whole, and writes the other one again if it is not. A copy that can't be written, because
/// the caller may not, stays as it is.
///
/// # Errors
/// When there is no whole copy.
pub fn load(root: &Path) -> Result<Loaded, StateError> {
    let mut damages = Vec::new();
    let mut bad = Vec::new();
    let mut good = None;
    for place in PLACES {
        match read(&root.join(place))? {
            None => bad.push(place),
            Some(Ok(kept)) => {
                // A change is written to the first one first.
                good.get_or_insert(kept);
            }
            Some(Err(damage)) => {
                damages.push(format!("{place}: {damage}"));
                bad.push(place);
            }
        }
    }
    let Some(kept) = good else {
        return Err(if damages.is_empty() {
            StateError::None
        } else {
            StateError::Damaged(damages.join("; "))
        });
    };
    if bad.is_empty() {
        return Ok(Loaded {
            kept,
            repaired: Vec::new(),
        });
    }
    let text = kept.to_text();
    let repaired = bad
        .into_iter()
        .filter(|place| file::write_secret(&root.join(place), text.as_bytes()).is_ok());
    let repaired = repaired.map(str::to_owned).collect();
    Ok(Loaded { kept, repaired })
}

/// Writes both copies, the first one first: whatever breaks, one of them is whole.
///
/// # Errors
/// When one can't be written.
pub fn save(root: &Path, kept: &Kept) -> Result<(), StateError> {
    let text = kept.to_text();
    for place in PLACES {
        let path = root.join(place);
        file::write_secret(&path, text.as_bytes()).map_err(|source| StateError::File { path, source })?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Result<Kept, BadKept>>, StateError> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StateError::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(Kept::from_text(&text)))
}

/// A file of at most [`MAX_KEPT`] bytes; a longer one is cut, and its digest does not fit then.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Non-blocking, so that a pipe in its place holds nobody.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    file.take(MAX_KEPT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
