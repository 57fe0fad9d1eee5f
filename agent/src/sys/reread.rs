//! The kernel's view of a disk's partitions.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

mod raw {
    /// `struct blkpg_partition`.
    #[repr(C)]
    pub struct Partition {
        pub start: i64,
        pub length: i64,
        pub number: i32,
        pub names: [u8; 128],
    }

    /// `struct blkpg_ioctl_arg`.
    #[repr(C)]
    pub struct Argument {
        pub operation: i32,
        pub flags: i32,
        pub length: i32,
        pub data: *mut Partition,
    }

    nix::ioctl_none!(reread_partitions, 0x12, 95);
    nix::ioctl_write_ptr_bad!(change_partition, nix::request_code_none!(0x12, 105), Argument);
}

const ADD_PARTITION: i32 = 1;

/// BLKRRPART: forget the partitions and read the table again.
///
/// # Errors
/// EBUSY while a partition is in use; what the disk says otherwise.
pub fn partitions(disk: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call; the request takes no argument.
    unsafe { raw::reread_partitions(disk.as_raw_fd()) }?;
    Ok(())
}

/// BLKPG: tells the kernel of one partition, in bytes.
///
/// # Errors
/// When it overlaps another one, has its number, or lies outside of the disk.
pub fn add_partition(disk: BorrowedFd<'_>, number: u32, start: u64, length: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = raw::Partition {
        start: start.try_into().map_err(invalid)?,
        length: length.try_into().map_err(invalid)?,
        number: number.try_into().map_err(invalid)?,
        names: [0; 128],
    };
    let length = i32::try_from(size_of::<raw::Partition>()).expect("a small struct");
    let argument = raw::Argument {
        operation: ADD_PARTITION,
        flags: 0,
        length,
        data: &raw mut partition,
    };
    // SAFETY: the descriptor is open for the call; both structs have the kernel's layout and live until it returns.
    unsafe { raw::change_partition(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}
