//! The system's network files.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use imprint_network::{File, kept::Kept};

use super::state::read_bounded;
use crate::file::write;

/// Where files are kept that stood in the way.
pub const ASIDE: &str = "var/lib/imprint/aside";
/// Most files of one folder that are looked at.
const MAX_FILES: usize = 4096;

/// A file can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct FilesError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A file that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root, without the first slash.
    pub path: String,
    /// What it is to say; unset for a file that is not to be there.
    pub wanted: Option<String>,
    /// What it says; unset when it is gone.
    pub found: Option<String>,
    /// It says what it is to say, and others may read or write it who must not.
    pub mode_only: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.wanted, &self.found) {
            (Some(_), None) => "is gone",
            (None, _) => "was added",
            _ if self.mode_only => "has other permissions",
            _ => "was changed",
        };
        write!(f, "/{} {what}", self.path)
    }
}

impl Change {
    /// Lines that differ, as `diff -u` writes them.
    #[must_use]
    pub fn lines(&self) -> String {
        let (old, new) = (
            self.wanted.as_deref().unwrap_or_default(),
            self.found.as_deref().unwrap_or_default(),
        );
        similar::TextDiff::from_lines(old, new)
            .unified_diff()
            .context_radius(2)
            .header("as it is to be", "as it is")
            .to_string()
    }
}

/// Files that differ from what is to be.
///
/// # Errors
/// When one can't be read.
pub fn changes(root: &Path, kept: &Kept) -> Result<Vec<Change>, FilesError> {
    let mut changes = Vec::new();
    let wanted = kept.files();
    for file in &wanted {
        let (found, mode) = match read(root, &file.path)? {
            Some((text, mode)) => (Some(text), mode),
            None => (None, file.mode),
        };
        let same = found.as_deref() == Some(file.content.as_str());
        if !same || mode != file.mode {
            changes.push(Change {
                path: file.path.clone(),
                wanted: Some(file.content.clone()),
                found,
                mode_only: same,
            });
        }
    }
    for (path, text) in others(root, kept)? {
        if !wanted.iter().any(|file| file.path == path) {
            changes.push(Change {
                path,
                wanted: None,
                found: Some(text),
                mode_only: false,
            });
        }
    }
    Ok(changes)
}

/// Puts everything back that differs.
///
/// # Errors
/// When a file can't be written.
pub fn restore(root: &Path, kept: &Kept) -> Result<Vec<Change>, FilesError> {
    let changes = changes(root, kept)?;
    let modes: BTreeMap<String, u32> = kept
        .files()
        .into_iter()
        .map(|file| (file.path, file.mode))
        .collect();
    for change in &changes {
        let path = root.join(&change.path);
        if let (Some(found), false) = (&change.found, change.mode_only) {
            let aside = root.join(ASIDE).join(&change.path);
            write(&aside, found.as_bytes(), 0o600).map_err(failed("keep", &aside))?;
        }
        match &change.wanted {
            Some(text) => {
                let mode = modes.get(&change.path).copied().unwrap_or(0o600);
                write(&path, text.as_bytes(), mode).map_err(failed("write", &path))?;
            }
            None => fs::remove_file(&path).map_err(failed("remove", &path))?,
        }
    }
    Ok(changes)
}

/// The files as they are.
///
/// # Errors
/// When one can't be read.
pub fn present(root: &Path, kept: &Kept) -> Result<Vec<File>, FilesError> {
    let mut paths: Vec<String> = kept.files().into_iter().map(|file| file.path).collect();
    paths.extend(others(root, kept)?.into_iter().map(|(path, _)| path));
    paths.sort();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        if let Some((content, mode)) = read(root, &path)? {
            files.push(File { path, mode, content });
        }
    }
    Ok(files)
}

/// Files in the places that the system reads, with their text.
fn others(root: &Path, kept: &Kept) -> Result<Vec<(String, String)>, FilesError> {
    let mut found = Vec::new();
    for place in kept
        .system
        .map(imprint_network::Format::places)
        .unwrap_or_default()
    {
        // Names of interfaces are no opinion about their addresses.
        if place.suffix == ".link" {
            continue;
        }
        let folder = root.join(place.folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("list", &folder)(error)),
        };
        for entry in entries.take(MAX_FILES) {
            let entry = entry.map_err(failed("list", &folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let counts = name.starts_with(place.prefix)
                && name.ends_with(place.suffix)
                && !name.starts_with('.')
                && name != "ifcfg-lo";
            if !counts || !entry.path().is_file() {
                continue;
            }
            let path = format!("{}/{name}", place.folder);
            if let Some((text, _)) = read(root, &path)? {
                found.push((path, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(root: &Path, path: &str) -> Result<Option<(String, u32)>, FilesError> {
    let path = root.join(path);
    let read = || -> io::Result<(String, u32)> {
        let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
        Ok((String::from_utf8_lossy(&read_bounded(&path)?).into_owned(), mode))
    };
    match read() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError {
        operation,
        path: path.to_owned(),
        source,
    }
}
