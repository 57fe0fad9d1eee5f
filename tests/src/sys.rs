//! The one place with `unsafe`: what a child process does between fork and exec.
#![allow(unsafe_code)]

use std::io;
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
