//! SCSI commands through the kernel's generic interface (SG_IO).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use nix::libc;

mod raw {
    /// `sg_io_hdr_t` of scsi/sg.h.
    #[repr(C)]
    pub struct Generic {
        pub interface: i32,
        pub direction: i32,
        pub command_length: u8,
        pub sense_length: u8,
        pub iovec_count: u16,
        pub length: u32,
        pub data: *mut u8,
        pub command: *const u8,
        pub sense: *mut u8,
        pub timeout_ms: u32,
        pub flags: u32,
        pub pack_id: i32,
        pub user: *mut nix::libc::c_void,
        pub status: u8,
        pub masked_status: u8,
        pub message_status: u8,
        pub sense_written: u8,
        pub host_status: u16,
        pub driver_status: u16,
        pub residue: i32,
        pub duration: u32,
        pub info: u32,
    }

    nix::ioctl_readwrite_bad!(sg_io, 0x2285, Generic);
}

/// What goes along with a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// Nothing.
    None,
    /// From the device.
    In(&'a mut [u8]),
    /// To the device.
    Out(&'a [u8]),
}

/// What a device says of a command that it took.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// GOOD; otherwise CHECK CONDITION, and the sense data say more.
    pub good: bool,
    /// Bytes that were not carried.
    pub residue: i32,
    /// Its sense data.
    pub sense: [u8; 64],
}

/// Sends a command of 16 bytes and waits for it.
///
/// # Errors
/// When the device takes no such commands, does not answer in time, or ends it with another status than those of [`Done`].
pub fn send(
    device: BorrowedFd<'_>,
    command: &[u8; 16],
    data: Data<'_>,
    timeout: Duration,
) -> io::Result<Done> {
    const CHECK_CONDITION: u8 = 2;
    const NONE: i32 = -1;
    const TO_DEVICE: i32 = -2;
    const FROM_DEVICE: i32 = -3;
    let (direction, length, address) = match data {
        Data::None => (NONE, 0, std::ptr::null_mut()),
        Data::In(bytes) => (FROM_DEVICE, bytes.len(), bytes.as_mut_ptr()),
        Data::Out(bytes) => (TO_DEVICE, bytes.len(), bytes.as_ptr().cast_mut()),
    };
    let mut sense = [0_u8; 64];
    let mut request = raw::Generic {
        interface: i32::from(b'S'),
        direction,
        command_length: 16,
        sense_length: 64,
        iovec_count: 0,
        length: u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?,
        data: address,
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_written: 0,
        host_status: 0,
        driver_status: 0,
        residue: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the descriptor is open for the call; the request has the kernel's layout, each of its lengths is that of
    // the buffer beside it, and all of them live until it returns. The kernel writes to `data` only for `FROM_DEVICE`,
    // where it comes from a mutable borrow that lasts for the call.
    unsafe { raw::sg_io(device.as_raw_fd(), &raw mut request) }?;
    if request.host_status != 0 || !matches!(request.status, 0 | CHECK_CONDITION) {
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    Ok(Done {
        good: request.status == 0,
        residue: request.residue,
        sense,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<raw::Generic>(), 88);
    }
}
