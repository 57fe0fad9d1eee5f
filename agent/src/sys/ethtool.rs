//! What drivers of NICs tell to ethtool(8) only.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

const GET_PERMANENT_ADDRESS: u32 = 0x20;

/// `struct ethtool_perm_addr` with room for the longest address.
#[repr(C)]
struct PermanentAddress {
    command: u32,
    size: u32,
    data: [u8; 32],
}

/// Any socket: a handle for requests about interfaces.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// Opens one.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        let kind = (AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC);
        Ok(Self(socket(kind.0, kind.1, kind.2, None)?))
    }

    /// The MAC address that an interface's hardware was made with; none when its driver knows none.
    ///
    /// # Errors
    /// When there is no such interface, or its driver has no such request.
    pub fn permanent_mac(&self, interface: &str) -> io::Result<Option<[u8; 6]>> {
        let mut answer = PermanentAddress {
            command: GET_PERMANENT_ADDRESS,
            size: 32,
            data: [0; 32],
        };
        // SAFETY: a request of zeroes is a valid one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let name = interface.as_bytes();
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut answer).cast();
        // SAFETY: the descriptor is open; the kernel reads the request, and writes at most `size` bytes behind the two
        // numbers of the answer, which outlives the call.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        Errno::result(done)?;
        let mac: [u8; 6] = answer.data[..6].try_into().expect("6 bytes of 32");
        Ok((answer.size == 6 && mac != [0; 6]).then_some(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_permanent_address() {
        let handle = Handle::open().unwrap();
        assert_eq!(handle.permanent_mac("lo").ok().flatten(), None);
        assert!(handle.permanent_mac("no-such-nic").is_err());
        assert!(handle.permanent_mac("a-name-longer-than-any").is_err());
    }
}
