//! The one place with `unsafe`: what a child process does between fork and exec, and taps.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

/// Makes the child die with the thread that starts it, however that thread ends, and undoes the lab's blocked signals.
pub fn tie_to_parent(command: &mut Command) {
    // SAFETY: the closure runs in the forked child and makes two system calls (prctl, rt_sigprocmask). It neither
    // allocates nor takes a lock, so it is safe whatever other threads held at the time of the fork.
    unsafe {
        command.pre_exec(|| {
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
            SigSet::empty().thread_set_mask().map_err(io::Error::from)
        });
    }
}

nix::ioctl_write_ptr_bad!(
    tun_set_interface,
    nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
    nix::libc::ifreq
);

/// Makes an open `/dev/net/tun` the far side of a tap of this name, frames without a header of the kernel's own.
pub fn become_tap(device: &File, name: &str) -> io::Result<()> {
    // SAFETY: all of it is numbers, for which zero is a value.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero behind the name.
    if name.len() >= request.ifr_name.len() || !name.is_ascii() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    let flags = nix::libc::IFF_TAP | nix::libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the whole call, and the request is a complete ifreq that outlives it.
    unsafe { tun_set_interface(device.as_raw_fd(), &raw const request) }.map_err(io::Error::from)?;
    Ok(())
}
