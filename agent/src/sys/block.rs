//! Block-device ioctls, and the flags that claim a device.
//!
//! Each wrapper takes a borrowed descriptor, so that it can't outlive the device, and returns a checked type.

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroU32,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    libc,
};

mod request {
    // linux/fs.h. BLKGETSIZE64 is declared there with `size_t`, but the kernel stores a `u64`.
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), nix::libc::c_uint);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), nix::libc::c_int);
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));
    nix::ioctl_none_bad!(blkflsbuf, nix::request_code_none!(0x12, 97));
}

/// Opens a block device for this process alone (`O_EXCL`), past the page cache (`O_DIRECT`).
///
/// # Errors
/// `EBUSY` when the device or one of its partitions is mounted or claimed by another driver or process.
pub fn open_exclusive(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_EXCL | libc::O_DIRECT | libc::O_NOCTTY)
        .open(path)
}

/// Opens an existing regular file past the page cache.
///
/// # Errors
/// `EINVAL` when the file system has no direct I/O.
pub fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_NOCTTY)
        .open(path)
}

/// Size of the device in bytes.
///
/// # Errors
/// As the ioctl: `ENOTTY` when it isn't a block device.
pub fn size_bytes(device: BorrowedFd<'_>) -> io::Result<u64> {
    let mut size = 0_usize;
    // SAFETY: the descriptor is open for the borrow, and the kernel stores 8 bytes into the 8 bytes of `size`
    // (all targets of this crate are 64-bit, which the assertion below holds fast).
    unsafe { request::blkgetsize64(device.as_raw_fd(), &raw mut size) }?;
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    Ok(size as u64)
}

/// Size of the smallest unit that can be addressed.
///
/// # Errors
/// As the ioctl.
pub fn logical_block(device: BorrowedFd<'_>) -> io::Result<NonZeroU32> {
    let mut size: libc::c_int = 0;
    // SAFETY: the descriptor is open for the borrow, and BLKSSZGET stores one C int into `size`.
    unsafe { request::blksszget(device.as_raw_fd(), &raw mut size) }?;
    checked_block(u32::try_from(size).unwrap_or(0))
}

/// Size of the unit that the device writes without reading first.
///
/// # Errors
/// As the ioctl.
pub fn physical_block(device: BorrowedFd<'_>) -> io::Result<NonZeroU32> {
    let mut size: libc::c_uint = 0;
    // SAFETY: the descriptor is open for the borrow, and BLKPBSZGET stores one unsigned C int into `size`.
    unsafe { request::blkpbszget(device.as_raw_fd(), &raw mut size) }?;
    checked_block(size)
}

fn checked_block(size: u32) -> io::Result<NonZeroU32> {
    NonZeroU32::new(size)
        .filter(|size| size.is_power_of_two() && size.get() >= 512)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the device says that its block size is {size}"),
            )
        })
}

/// Whether the device refuses writes.
///
/// # Errors
/// As the ioctl.
pub fn is_read_only(device: BorrowedFd<'_>) -> io::Result<bool> {
    let mut flag: libc::c_int = 0;
    // SAFETY: the descriptor is open for the borrow, and BLKROGET stores one C int into `flag`.
    unsafe { request::blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Has the kernel read the partition table again.
///
/// # Errors
/// `EBUSY` while a partition is in use, `EINVAL` when the device can't have partitions.
pub fn reread_partitions(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the borrow; the request takes no argument.
    unsafe { request::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

/// Writes back and drops what the page cache holds of the device.
///
/// # Errors
/// As the ioctl.
pub fn flush_page_cache(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the borrow; the request takes no argument.
    unsafe { request::blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// Makes a range read as zeroes, or fails: the kernel never falls back to slow writes for this request. On a block
/// device it is a write-zeroes command, on a file a hole.
///
/// # Errors
/// `EOPNOTSUPP` when the device or file system has no such command: then zeroes have to be written.
pub fn punch_zeroes(target: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let range = |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, len) = (range(offset)?, range(len)?);
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        match fallocate(target, flags, offset, len) {
            Err(Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Whether an error of [`punch_zeroes`] means "not here": the command is unknown to the file system or the device
/// (some disks claim it and then reject it, which arrives as `EREMOTEIO`).
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EREMOTEIO | libc::ENODEV)
    )
}
