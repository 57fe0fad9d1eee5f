//! The store as a folder of the data folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use object_store::local::LocalFileSystem;

use super::StoreError;

const FOLDER: &str = "store";
const PARTS: [&str; 2] = ["manifests", "packs"];
/// Kept free, so that the database and the log can still be written when images have filled the disk.
const RESERVE_BYTES: u64 = 128 << 20;

pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

pub(super) fn create(data_dir: &Path) -> Result<(), StoreError> {
    for folder in PARTS.map(|part| path(data_dir).join(part)) {
        fs::create_dir_all(&folder).map_err(|source| StoreError::Unreachable {
            path: folder.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Tries that it can be written to, and removes what a crash left half written.
pub(super) fn open(folder: &Path) -> Result<LocalFileSystem, StoreError> {
    let unreachable = |source| StoreError::Unreachable {
        path: folder.to_owned(),
        source,
    };
    for part in PARTS.map(|part| folder.join(part)) {
        tempfile::tempfile_in(&part).map_err(unreachable)?;
        remove_drafts(&part).map_err(unreachable)?;
    }
    let objects = LocalFileSystem::new_with_prefix(folder).map_err(|e| unreachable(io::Error::other(e)))?;
    Ok(objects.with_fsync(true))
}

/// An object is written as `<name>#<number>` before it gets its name.
fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Refuses when less than `needed` bytes and the reserve are free.
pub(super) fn require_space(folder: &Path, needed: u64) -> Result<(), StoreError> {
    let free = free_bytes(folder)?;
    let needed = needed.saturating_add(RESERVE_BYTES);
    if free < needed {
        Err(StoreError::NoSpace { needed, free })
    } else {
        Ok(())
    }
}

pub(super) fn free_bytes(folder: &Path) -> Result<u64, StoreError> {
    let stat = nix::sys::statvfs::statvfs(folder).map_err(|e| StoreError::Unreachable {
        path: folder.to_owned(),
        source: e.into(),
    })?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}
