//! proxyDHCP: boot information beside another server's address (PXE 2.1, section 2.2.2).
//!
//! Machines that do not boot over the network never hear from it.

use std::net::SocketAddrV4;

use dhcproto::v4::MessageType;

use super::boot_options::{self, Role};
use super::{Reply, Request, Settings, answer, broadcast, destination, finish};

/// An offer without an address for a network-boot client; silence for all else.
pub(super) fn on_dhcp_port(settings: &Settings, request: &Request) -> Option<Reply> {
    // The DHCPREQUEST that follows is meant for the server with the address.
    if request.kind() != MessageType::Discover {
        return None;
    }
    boot_answer(settings, request, MessageType::Offer, destination(request))
}

/// The acknowledgement that PXE clients ask a proxy for once they have an address.
pub(super) fn on_pxe_port(settings: &Settings, source: SocketAddrV4, request: &Request) -> Option<Reply> {
    if !matches!(
        request.kind(),
        MessageType::Request | MessageType::Discover | MessageType::Inform
    ) {
        return None;
    }
    let to = if source.ip().is_unspecified() {
        broadcast()
    } else {
        source
    };
    boot_answer(settings, request, MessageType::Ack, to)
}

fn boot_answer(settings: &Settings, request: &Request, kind: MessageType, to: SocketAddrV4) -> Option<Reply> {
    let client = request.boot_client()?;
    let mut message = answer(settings, request, kind);
    let file = boot_options::add(&mut message, settings, client, Role::Proxy)?;
    message.set_ciaddr(request.message().ciaddr());
    finish(&message, to, Some(file))
}
