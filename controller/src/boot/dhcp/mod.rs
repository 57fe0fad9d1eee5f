//! DHCP for network boot: beside another server (proxyDHCP) or with addresses of its own on an isolated network.
//!
//! Deciding is pure: [`reply`] maps settings, a packet, the lease table and the time to an answer or to silence;
//! [`server`] is the thin shell with the sockets. A request is one of a machine's firmware (PXE or UEFI HTTP boot), of
//! iPXE, or of something else; see [`request`]. As a proxy only the first two are answered, never with an address.

mod boot_options;
pub mod leases;
mod own;
mod proxy;
pub mod request;
pub mod server;

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, Encoder};
use jiff::Timestamp;

pub use leases::{LeaseTable, Range};
pub use request::Request;

/// BOOTP clients and old PXE ROMs drop anything shorter (RFC 1542, 2.1).
const MIN_PACKET: usize = 300;

/// Port of DHCP clients.
const CLIENT_PORT: u16 = 68;

/// Port of DHCP servers.
pub const SERVER_PORT: u16 = 67;

/// Port on which PXE clients ask a proxy once more, after they have an address.
pub const PXE_PORT: u16 = 4011;

/// What the DHCP service hands out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This server's address on the boot network: server identifier and TFTP server.
    pub server: Ipv4Addr,
    /// Base of the boot HTTP service, without a trailing slash.
    pub boot_url: String,
    /// Whether UEFI machines are pointed at shim instead of iPXE.
    pub secure_boot: bool,
    /// Addresses to hand out; `None` makes this a proxy.
    pub own: Option<OwnSettings>,
}

/// What an address comes with.
#[derive(Debug, Clone)]
pub struct OwnSettings {
    /// Mask of the boot network.
    pub netmask: Ipv4Addr,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Life of a lease.
    pub lease_seconds: u32,
}

/// The socket a packet came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 67: discovery, and everything that is about addresses.
    Dhcp,
    /// 4011: boot information for a machine that has an address.
    Pxe,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The encoded message.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: SocketAddrV4,
    /// `offer`, `ack` or `nak`, for the log.
    pub kind: &'static str,
    /// The address it assigns, if it does.
    pub address: Option<Ipv4Addr>,
    /// The boot file it names, if it does.
    pub boot_file: Option<String>,
}

/// The answer to one packet; `None` is silence.
///
/// `leases` is used (and changed) only when [`Settings::own`] is set.
pub fn reply(
    settings: &Settings,
    port: Port,
    source: SocketAddrV4,
    request: &Request,
    leases: &mut LeaseTable,
    now: Timestamp,
) -> Option<Reply> {
    match (port, &settings.own) {
        (Port::Pxe, _) => proxy::on_pxe_port(settings, source, request),
        (Port::Dhcp, None) => proxy::on_dhcp_port(settings, request),
        (Port::Dhcp, Some(own)) => own::reply(settings, own, request, leases, now),
    }
}

/// An answer to `request` with what every answer has: identifiers, flags, the client's own UUID.
fn answer(settings: &Settings, request: &Request, kind: MessageType) -> Message {
    let asked = request.message();
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(
        asked.xid(),
        unset,
        unset,
        unset,
        asked.giaddr(),
        &request.hardware_address(),
    );
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(asked.htype())
        .set_flags(asked.flags());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(settings.server));
    // A PXE client matches offers to itself by it (PXE 2.1, table 2-3).
    if let Some(uuid) = asked.opts().get(OptionCode::ClientMachineIdentifier) {
        options.insert(uuid.clone());
    }
    message
}

/// Encodes a message; `None` when it cannot be (it always can: all parts are bounded).
fn finish(message: &Message, to: SocketAddrV4, boot_file: Option<String>) -> Option<Reply> {
    let mut bytes = Vec::with_capacity(MIN_PACKET);
    message.encode(&mut Encoder::new(&mut bytes)).ok()?;
    bytes.resize(bytes.len().max(MIN_PACKET), 0);
    let kind = match message.opts().msg_type()? {
        MessageType::Offer => "offer",
        MessageType::Ack => "ack",
        MessageType::Nak => "nak",
        _ => return None,
    };
    let address = Some(message.yiaddr()).filter(|a| !a.is_unspecified());
    Some(Reply {
        bytes,
        to,
        kind,
        address,
        boot_file,
    })
}

/// Where an answer on the DHCP port goes (RFC 2131, 4.1).
///
/// A client without an address cannot answer ARP, so it is reached by broadcast, asked for or not.
fn destination(request: &Request) -> SocketAddrV4 {
    let asked = request.message();
    if !asked.giaddr().is_unspecified() {
        SocketAddrV4::new(asked.giaddr(), SERVER_PORT)
    } else if !asked.ciaddr().is_unspecified() {
        SocketAddrV4::new(asked.ciaddr(), CLIENT_PORT)
    } else {
        broadcast()
    }
}

fn broadcast() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
}

/// The flags of a reply that must be broadcast.
fn broadcast_flags() -> Flags {
    Flags::default().set_broadcast()
}

#[cfg(test)]
mod tests;
