//! Growing mounted file systems by their ioctls.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

mod raw {
    /// `struct xfs_growfs_data`.
    #[repr(C)]
    pub struct XfsGrow {
        pub blocks: u64,
        pub max_inode_percent: u32,
    }

    /// `struct btrfs_ioctl_vol_args`.
    #[repr(C)]
    pub struct BtrfsVolume {
        pub fd: i64,
        pub name: [u8; 4088],
    }

    nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
    nix::ioctl_write_ptr!(xfs_grow, b'X', 110, XfsGrow);
    nix::ioctl_write_ptr!(btrfs_resize, 0x94, 3, BtrfsVolume);
}

/// Grows an ext4 to this many of its blocks.
///
/// # Errors
/// When the kernel refuses.
pub fn ext4(mount_point: BorrowedFd<'_>, blocks: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, and the kernel reads one u64 from the pointer.
    unsafe { raw::ext4_resize(mount_point.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Grows an XFS to this many of its blocks; the share of inodes stays.
///
/// # Errors
/// When the kernel refuses.
pub fn xfs(mount_point: BorrowedFd<'_>, blocks: u64, max_inode_percent: u32) -> io::Result<()> {
    let grow = raw::XfsGrow {
        blocks,
        max_inode_percent,
    };
    // SAFETY: the descriptor is open for the call, and the kernel reads one struct of this layout from the pointer.
    unsafe { raw::xfs_grow(mount_point.as_raw_fd(), &raw const grow) }?;
    Ok(())
}

/// Grows the first device of a btrfs to its whole size.
///
/// # Errors
/// When the kernel refuses.
pub fn btrfs(mount_point: BorrowedFd<'_>) -> io::Result<()> {
    let mut volume = raw::BtrfsVolume {
        fd: 0,
        name: [0; 4088],
    };
    volume.name[..3].copy_from_slice(b"max");
    // SAFETY: the descriptor is open for the call, and the kernel reads one struct of this layout from the pointer.
    unsafe { raw::btrfs_resize(mount_point.as_raw_fd(), &raw const volume) }?;
    Ok(())
}
