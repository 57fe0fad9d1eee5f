//! The management controller behind `/dev/ipmi0` (linux/ipmi.h).

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::inventory::bmc::{Ipmi, MAX_ANSWER};

mod raw {
    /// `struct ipmi_system_interface_addr`.
    #[repr(C)]
    pub struct SystemInterface {
        pub kind: i32,
        pub channel: i16,
        pub lun: u8,
    }

    /// `struct ipmi_msg`.
    #[repr(C)]
    pub struct Message {
        pub function: u8,
        pub command: u8,
        pub length: u16,
        pub data: *mut u8,
    }

    /// `struct ipmi_req`.
    #[repr(C)]
    pub struct Request {
        pub address: *mut u8,
        pub address_length: u32,
        pub id: nix::libc::c_long,
        pub message: Message,
    }

    /// `struct ipmi_recv`.
    #[repr(C)]
    pub struct Received {
        pub kind: i32,
        pub address: *mut u8,
        pub address_length: u32,
        pub id: nix::libc::c_long,
        pub message: Message,
    }

    nix::ioctl_read!(send, b'i', 13, Request);
    nix::ioctl_readwrite!(receive_truncated, b'i', 11, Received);
}

const SYSTEM_INTERFACE: i32 = 0x0C;
const THIS_CONTROLLER: i16 = 0x0F;
/// Room for any address that the driver knows.
const ADDRESS_BYTES: usize = 40;
const PATIENCE: Duration = Duration::from_secs(2);
/// Late answers to questions before this one, which are passed over.
const MOST_STALE: usize = 16;

/// The open device.
#[derive(Debug)]
pub struct Device {
    file: File,
    last: i64,
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// When there is none: no management controller, or no driver for it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, last: 0 })
    }

    fn send(&mut self, function: u8, command: u8, data: &[u8]) -> io::Result<()> {
        self.last += 1;
        let mut data = data.to_vec();
        let mut address = raw::SystemInterface {
            kind: SYSTEM_INTERFACE,
            channel: THIS_CONTROLLER,
            lun: 0,
        };
        let mut request = raw::Request {
            address: (&raw mut address).cast(),
            address_length: u32::try_from(size_of::<raw::SystemInterface>()).expect("8"),
            id: self.last,
            message: raw::Message {
                function,
                command,
                length: u16::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the descriptor is open; the request has the kernel's layout and names the address and the data with
        // their lengths, from which the kernel only reads. All of them live until it returns.
        unsafe { raw::send(self.file.as_raw_fd(), &raw mut request) }?;
        Ok(())
    }

    /// The next message: its number and data.
    fn receive(&self) -> io::Result<(i64, Vec<u8>)> {
        let mut data = vec![0; MAX_ANSWER];
        let mut address = [0_u64; ADDRESS_BYTES / 8];
        let mut received = raw::Received {
            kind: 0,
            address: (&raw mut address).cast(),
            address_length: u32::try_from(ADDRESS_BYTES).expect("40"),
            id: 0,
            message: raw::Message {
                function: 0,
                command: 0,
                length: u16::try_from(MAX_ANSWER).expect("64"),
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the descriptor is open; the struct has the kernel's layout and names two buffers with their lengths,
        // which the kernel does not exceed: it cuts what is longer. All of them live until it returns.
        let done = unsafe { raw::receive_truncated(self.file.as_raw_fd(), &raw mut received) };
        match done {
            // The answer was longer than the buffer, which is full.
            Ok(_) | Err(nix::errno::Errno::EMSGSIZE) => {}
            Err(error) => return Err(error.into()),
        }
        data.truncate(usize::from(received.message.length).min(MAX_ANSWER));
        Ok((received.id, data))
    }
}

impl Ipmi for Device {
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
        self.send(function, command, data)?;
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..MOST_STALE {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, left)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (id, answer) = self.receive()?;
            if id != self.last {
                continue;
            }
            return match answer.split_first() {
                Some((0, data)) => Ok(data.to_vec()),
                Some((code, _)) => Err(io::Error::other(format!("completion code {code:#04x}"))),
                None => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        let sizes = (
            size_of::<raw::SystemInterface>(),
            size_of::<raw::Request>(),
            size_of::<raw::Received>(),
        );
        assert_eq!(sizes, (8, 40, 48));
    }

    #[test]
    fn what_is_no_management_controller_refuses() {
        let mut device = Device::open(Path::new("/dev/null")).unwrap();
        assert!(device.ask(6, 0x42, &[1]).is_err());
        assert!(Device::open(Path::new("/nonexistent")).is_err());
    }
}
