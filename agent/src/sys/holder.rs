//! Stopping what holds disks: arrays of Linux RAID, and maps of the device mapper (logical volumes, LUKS, multipath).

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::Path,
};

mod request {
    // linux/raid/md_u.h: MD_MAJOR is 9.
    nix::ioctl_none!(stop_array, 9, 0x32);

    /// `struct dm_ioctl` of linux/dm-ioctl.h.
    #[repr(C)]
    pub struct Map {
        pub version: [u32; 3],
        pub data_size: u32,
        pub data_start: u32,
        pub target_count: u32,
        pub open_count: i32,
        pub flags: u32,
        pub event: u32,
        pub padding: u32,
        pub device: u64,
        pub name: [u8; 128],
        pub uuid: [u8; 129],
        pub data: [u8; 7],
    }

    nix::ioctl_readwrite!(remove_map, 0xfd, 4, Map);
}

/// Stops an array; its members are free afterwards.
///
/// # Errors
/// `EBUSY` when something is on it.
pub fn stop_array(array: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the borrow; the request takes no argument.
    unsafe { request::stop_array(array.as_raw_fd()) }?;
    Ok(())
}

/// Removes the map of this name. `control` is the device mapper's own file.
///
/// # Errors
/// `EBUSY` when something uses it, `ENXIO` when there is none.
pub fn remove_map(control: &Path, name: &str) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(control)?;
    let mut map = request_for(name)?;
    // SAFETY: the descriptor is open for the call, and `map` has the kernel's layout and tells its own size; the kernel
    // writes at most that much into it.
    unsafe { request::remove_map(file.as_raw_fd(), &raw mut map) }?;
    Ok(())
}

fn request_for(name: &str) -> io::Result<request::Map> {
    let size = u32::try_from(size_of::<request::Map>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut map = request::Map {
        // The oldest interface that knows the request: kernels take those of their major version.
        version: [4, 0, 0],
        data_size: size,
        data_start: size,
        target_count: 0,
        open_count: 0,
        flags: 0,
        event: 0,
        padding: 0,
        device: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    // The last byte stays zero.
    let room = map
        .name
        .get_mut(..name.len())
        .filter(|room| room.len() < 128 && !room.is_empty())
        .ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(name.as_bytes());
    Ok(map)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_layout_is_the_kernels_and_names_are_bounded() {
        assert_eq!(size_of::<request::Map>(), 312);
        assert_eq!(&request_for("vg0-root").unwrap().name[..9], b"vg0-root\0");
        assert!(request_for(&"x".repeat(127)).is_ok());
        assert!(request_for(&"x".repeat(128)).is_err());
        assert!(request_for("").is_err());
    }

    #[test]
    fn what_is_no_holder_refuses() {
        let file = File::open("/dev/null").unwrap();
        assert!(stop_array(file.as_fd()).is_err());
        assert!(remove_map(Path::new("/dev/null"), "vg0-root").is_err());
    }
}
