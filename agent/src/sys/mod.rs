//! System calls that have no safe wrapper elsewhere. The only module of the crate with `unsafe` code.
#![allow(
    unsafe_code,
    reason = "ioctls, mappings and io_uring; every block says why it is sound"
)]

pub mod block;
pub mod clock;
pub mod grow;
pub mod inode_flags;
pub mod memory;
pub mod mount;
pub mod reboot;
pub mod reread;
pub mod stream_copy;
pub mod uring;
