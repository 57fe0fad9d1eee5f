//! Sockets for one protocol right above Ethernet (packet(7)).

use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use nix::{errno::Errno, libc};
use tokio::io::unix::AsyncFd;

/// The protocol number of LLDP.
pub const LLDP: u16 = 0x88CC;
/// The address that switches send LLDP to; bridges do not pass it on.
pub const LLDP_GROUP: [u8; 6] = [0x01, 0x80, 0xC2, 0x00, 0x00, 0x0E];

/// Receives one protocol on all interfaces. It never sends by itself.
#[derive(Debug)]
pub struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Opens a socket, and has some interfaces (by index) accept a group's address.
    ///
    /// # Errors
    /// Without CAP_NET_RAW or packet sockets in the kernel; when the only interface can't be asked for the group.
    pub fn open(protocol: u16, group: [u8; 6], interfaces: &[u32]) -> io::Result<Self> {
        let socket = open(protocol, group, interfaces)?;
        // SAFETY: the wrapper owns the descriptor and nobody else has it, so it stays open until it is dropped.
        let socket = unsafe { AsyncFd::register(socket) };
        Ok(Self(socket?))
    }

    /// Waits for the next frame: how long what follows its Ethernet header is, and the index of its interface. What is
    /// longer than the buffer is cut.
    ///
    /// # Errors
    /// As recvfrom(2).
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref().as_fd(), buffer)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }

    /// Sends one frame to the group of LLDP, as a switch would: only tests do.
    ///
    /// # Errors
    /// As sendto(2).
    #[cfg(test)]
    pub fn send(&self, interface: u32, payload: &[u8]) -> io::Result<()> {
        send(self.0.get_ref().as_fd(), interface, payload)
    }
}

fn open(protocol: u16, group: [u8; 6], interfaces: &[u32]) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes only numbers.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be())) };
    let descriptor = Errno::result(descriptor)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut refused = None;
    for interface in interfaces {
        if let Err(error) = join(&socket, group, *interface) {
            refused = Some(error);
        }
    }
    match refused {
        // An interface that goes away in this moment must not deafen the others.
        Some(error) if interfaces.len() == 1 => Err(error),
        _ => Ok(socket),
    }
}

fn join(socket: &OwnedFd, group: [u8; 6], interface: u32) -> io::Result<()> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group);
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).expect("0"),
        mr_alen: 6,
        mr_address: address,
    };
    // SAFETY: the descriptor is open, and the kernel reads one `packet_mreq` of the length given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length_of::<libc::packet_mreq>(),
        )
    };
    Errno::result(done)?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: an address of zeroes is a valid one.
    let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut from_length = length_of::<libc::sockaddr_ll>();
    // SAFETY: the kernel writes at most the buffer's length there, and at most `from_length` bytes of an address.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &raw mut from_length,
        )
    };
    let length = usize::try_from(Errno::result(length)?).unwrap_or(0);
    Ok((length, u32::try_from(from.sll_ifindex).unwrap_or(0)))
}

#[cfg(test)]
fn send(socket: BorrowedFd<'_>, interface: u32, payload: &[u8]) -> io::Result<()> {
    // SAFETY: an address of zeroes is a valid one.
    let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).expect("a small number");
    to.sll_protocol = LLDP.to_be();
    to.sll_ifindex = i32::try_from(interface).expect("a small number");
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&LLDP_GROUP);
    // SAFETY: the kernel reads the payload's length there, and one address of the length given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            0,
            (&raw const to).cast(),
            length_of::<libc::sockaddr_ll>(),
        )
    };
    Errno::result(sent)?;
    Ok(())
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small struct")
}
