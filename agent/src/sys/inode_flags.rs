//! Flags of an inode (`chattr`).

use std::{ffi::c_long, fs::File, io, os::fd::AsRawFd as _};

use nix::errno::Errno;

const FS_IMMUTABLE: c_long = 0x10;

mod raw {
    // The kernel reads and writes an int in spite of the long in the number.
    nix::ioctl_read!(get_flags, b'f', 1, std::ffi::c_long);
    nix::ioctl_write_ptr!(set_flags, b'f', 2, std::ffi::c_long);
}

/// Clears the immutable flag of a file; file systems that know no flags have nothing to clear.
///
/// # Errors
/// When the flag is set and can't be cleared.
pub fn clear_immutable(file: &File) -> io::Result<()> {
    let mut flags: c_long = 0;
    // SAFETY: the descriptor is open for the call, and the kernel writes at most a long to the pointer.
    match unsafe { raw::get_flags(file.as_raw_fd(), &raw mut flags) } {
        Ok(_) => {}
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::ENOSYS) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    if flags & FS_IMMUTABLE == 0 {
        return Ok(());
    }
    let flags = flags & !FS_IMMUTABLE;
    // SAFETY: the descriptor is open for the call, and the kernel reads at most a long from the pointer.
    unsafe { raw::set_flags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}
