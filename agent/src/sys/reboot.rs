//! The end.

use std::io;

use nix::sys::reboot::{RebootMode, reboot};

/// Writes back everything and restarts the machine at once; there is no service in the ramdisk to stop.
///
/// # Errors
/// When the kernel refuses.
pub fn restart() -> io::Result<std::convert::Infallible> {
    nix::unistd::sync();
    Ok(reboot(RebootMode::RB_AUTOBOOT)?)
}

/// Writes back everything and takes the machine's power away.
///
/// # Errors
/// When the kernel refuses.
pub fn power_off() -> io::Result<std::convert::Infallible> {
    nix::unistd::sync();
    Ok(reboot(RebootMode::RB_POWER_OFF)?)
}
