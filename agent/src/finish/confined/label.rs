//! SELinux labels of what is written: that of what it replaces, else that of its folder, as a running system does it where
//! its policy says nothing else. Nothing of this happens on systems without labels.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use crate::sys;

/// Of a name in a folder that is open; links are not followed.
fn path(folder: &OwnedFd, name: &OsStr) -> io::Result<String> {
    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// The label of a name in a folder; none when it is not there.
pub(super) fn of(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    match sys::label::get(&path(folder, name)?) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

pub(super) fn set(folder: &OwnedFd, name: &OsStr, label: &[u8]) -> io::Result<()> {
    sys::label::set(&path(folder, name)?, label)
}

/// Labels something new as what it will replace, else as its folder.
pub(super) fn inherit(folder: &OwnedFd, name: &OsStr, replaced: Option<&OsStr>) -> io::Result<()> {
    let old = match replaced {
        Some(replaced) => of(folder, replaced)?,
        None => None,
    };
    let label = match old {
        Some(old) => Some(old),
        None => of(folder, OsStr::new("."))?,
    };
    label.map_or(Ok(()), |label| set(folder, name, &label))
}
