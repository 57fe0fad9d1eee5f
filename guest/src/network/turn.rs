//! Only one at a time brings the network up: an operator's command and the watch would take it down under each other's hands.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

const LOCK: &str = "run/imprint/network.lock";

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "what is held is the lock of the file")] File);

/// Waits until nobody else is at it.
pub(super) fn take(root: &Path) -> io::Result<Turn> {
    let file = open(root)?;
    file.lock()?;
    Ok(Turn(file))
}

/// Whether somebody is at it.
pub(super) fn is_taken(root: &Path) -> bool {
    open(root).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn open(root: &Path) -> io::Result<File> {
    let path = root.join(LOCK);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_taken(root.path()));
        let turn = take(root.path()).unwrap();
        assert!(is_taken(root.path()));
        drop(turn);
        assert!(!is_taken(root.path()));
    }
}
