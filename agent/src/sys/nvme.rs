//! Admin commands to NVMe controllers, through the device file of a namespace.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use super::health::raw;

mod request {
    // linux/nvme_ioctl.h
    nix::ioctl_none!(nvme_id, b'N', 0x40);
}

/// An admin command, as far as the agent uses them. Its data goes from the controller to the host, or it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// Which.
    pub opcode: u8,
    /// The namespace; 0 for none, `u32::MAX` for all.
    pub namespace: u32,
    /// Its own words.
    pub cdw10: u32,
    /// Its own words.
    pub cdw11: u32,
    /// How long the controller may take.
    pub timeout: Duration,
}

/// The number of the namespace that the device file is of.
///
/// # Errors
/// As the ioctl: `ENOTTY` when it isn't one.
pub fn namespace(device: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the descriptor is open for the borrow; the request takes no argument.
    let number = unsafe { request::nvme_id(device.as_raw_fd()) }?;
    u32::try_from(number).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sends a command and fills `data`; the answer is the status (type and code, 0 is success) that the controller gave.
///
/// # Errors
/// When the device is no NVMe one, or the kernel gave up on the command.
pub fn admin(device: BorrowedFd<'_>, command: &Admin, data: &mut [u8]) -> io::Result<u16> {
    /// Status code type and code; above them are "more" and "do not retry".
    const STATUS: i32 = 0x7ff;
    let mut raw = raw::AdminCommand {
        opcode: command.opcode,
        namespace: command.namespace,
        address: if data.is_empty() {
            0
        } else {
            data.as_mut_ptr() as u64
        },
        length: u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        cdw10: command.cdw10,
        cdw11: command.cdw11,
        timeout_ms: u32::try_from(command.timeout.as_millis()).unwrap_or(u32::MAX),
        ..raw::AdminCommand::default()
    };
    // SAFETY: the descriptor is open for the call; the command has the kernel's layout, and the kernel writes at most
    // `length` bytes at `address`, which is `data`. Both live until it returns.
    let status = unsafe { raw::nvme_admin(device.as_raw_fd(), &raw mut raw) }?;
    u16::try_from(status & STATUS).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    #[test]
    fn what_is_no_namespace_refuses() {
        let file = File::open("/dev/null").unwrap();
        let identify = Admin {
            opcode: 0x06,
            namespace: 0,
            cdw10: 1,
            cdw11: 0,
            timeout: Duration::from_secs(1),
        };
        assert!(admin(file.as_fd(), &identify, &mut [0; 4096]).is_err());
        assert!(namespace(file.as_fd()).is_err());
    }
}
