//! A DHCP server of its own, for an isolated boot network: addresses for everybody, boot files for boot clients.
//!
//! It is the only server there, so it says no (DHCPNAK) to whatever address a machine brings along from elsewhere
//! instead of leaving it to time out.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use jiff::Timestamp;

use super::boot_options::{self, Role};
use super::{
    LeaseTable, OwnSettings, Reply, Request, Settings, answer, broadcast, broadcast_flags, destination,
    finish,
};

pub(super) fn reply(
    settings: &Settings,
    own: &OwnSettings,
    request: &Request,
    leases: &mut LeaseTable,
    now: Timestamp,
) -> Option<Reply> {
    // A relay speaks for another network, which the range does not belong to.
    if !request.message().giaddr().is_unspecified() {
        return None;
    }
    match request.kind() {
        MessageType::Discover => {
            let address = leases.offer(request.mac(), requested(request), now)?;
            assign(settings, own, request, MessageType::Offer, address)
        }
        MessageType::Request => request_address(settings, own, request, leases, now),
        MessageType::Decline => {
            if for_us(settings, request) {
                leases.decline(request.mac(), requested(request)?, now);
            }
            None
        }
        MessageType::Release => {
            if for_us(settings, request) {
                leases.release(request.mac(), request.message().ciaddr(), now);
            }
            None
        }
        MessageType::Inform => {
            let mut message = answer(settings, request, MessageType::Ack);
            message.set_ciaddr(request.message().ciaddr());
            network(&mut message, own);
            let file = boot(&mut message, settings, request);
            finish(&message, destination(request), file)
        }
        _ => None,
    }
}

/// DHCPREQUEST in its four states (RFC 2131, table 4).
fn request_address(
    settings: &Settings,
    own: &OwnSettings,
    request: &Request,
    leases: &mut LeaseTable,
    now: Timestamp,
) -> Option<Reply> {
    if !for_us(settings, request) {
        // It took another server's offer.
        leases.withdraw(request.mac());
        return None;
    }
    let current = request.message().ciaddr();
    let address = if current.is_unspecified() {
        requested(request)?
    } else {
        current
    };
    if leases.bind(request.mac(), address, now, own.lease_seconds) {
        assign(settings, own, request, MessageType::Ack, address)
    } else {
        let mut message = answer(settings, request, MessageType::Nak);
        // A client that is told off may have no valid address to be reached at.
        message.set_flags(broadcast_flags());
        finish(&message, broadcast(), None)
    }
}

fn assign(
    settings: &Settings,
    own: &OwnSettings,
    request: &Request,
    kind: MessageType,
    address: Ipv4Addr,
) -> Option<Reply> {
    let mut message = answer(settings, request, kind);
    message.set_yiaddr(address);
    if kind == MessageType::Ack {
        message.set_ciaddr(request.message().ciaddr());
    }
    network(&mut message, own);
    let options = message.opts_mut();
    options.insert(DhcpOption::AddressLeaseTime(own.lease_seconds));
    options.insert(DhcpOption::Renewal(own.lease_seconds / 2));
    options.insert(DhcpOption::Rebinding(own.lease_seconds / 8 * 7));
    let file = boot(&mut message, settings, request);
    finish(&message, destination(request), file)
}

fn network(message: &mut Message, own: &OwnSettings) {
    let options = message.opts_mut();
    options.insert(DhcpOption::SubnetMask(own.netmask));
    if let Some(router) = own.router {
        options.insert(DhcpOption::Router(vec![router]));
    }
    if !own.dns.is_empty() {
        options.insert(DhcpOption::DomainNameServer(own.dns.clone()));
    }
}

fn boot(message: &mut Message, settings: &Settings, request: &Request) -> Option<String> {
    boot_options::add(message, settings, request.boot_client()?, Role::Own)
}

/// Whether the client means this server: it names it, or it names none.
fn for_us(settings: &Settings, request: &Request) -> bool {
    match request.message().opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => *server == settings.server,
        _ => true,
    }
}

fn requested(request: &Request) -> Option<Ipv4Addr> {
    match request.message().opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}
