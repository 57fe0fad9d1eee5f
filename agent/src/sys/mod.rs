//! System calls that have no safe wrapper elsewhere. The only module of the crate with `unsafe` code.
#![allow(
    unsafe_code,
    reason = "ioctls, mappings and io_uring; every block says why it is sound"
)]

pub mod ata;
pub mod block;
pub mod clock;
pub mod ethtool;
pub mod grow;
pub mod health;
pub mod holder;
pub mod inode_flags;
pub mod ipmi;
pub mod label;
pub mod memory;
pub mod mount;
pub mod nvme;
pub mod packet;
pub mod reboot;
pub mod reread;
pub mod scsi;
pub mod stream_copy;
pub mod uring;
