//! Reading a DHCP request: who asks, and what kind of boot client it is.

use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};

use crate::boot::facts::MacAddress;

/// Where the magic cookie of RFC 2131 stands.
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the options begin.
const OPTIONS_AT: usize = COOKIE_AT + COOKIE.len();
const PAD: u8 = 0;
const END: u8 = 255;
/// The options that an answer depends on: requested address, message type, server, vendor class, user class,
/// architecture, machine UUID and iPXE's own.
const NEEDED: [u8; 8] = [50, 53, 54, 60, 77, 93, 97, IPXE_OPTIONS];
/// Largest packet that is looked at; Ethernet frames carry less.
const MAX_PACKET: usize = 1500;
const ETHERNET_LENGTH: u8 = 6;
/// iPXE's own, encapsulated options.
pub(super) const IPXE_OPTIONS: u8 = 175;

/// The boot stage that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootClient {
    /// iPXE: takes a script over HTTP.
    Ipxe,
    /// PXE ROM of a PC BIOS: takes `undionly.kpxe` by TFTP.
    PxeBios,
    /// PXE of an x86-64 UEFI firmware: takes `snponly.efi` by TFTP.
    PxeEfi64,
    /// HTTP boot of an x86-64 UEFI firmware: takes a URL.
    HttpEfi64,
    /// A network-boot client of an architecture that there is no boot file for.
    Unsupported(u16),
}

/// A request that is well-formed and comes from an Ethernet NIC.
#[derive(Debug, Clone)]
pub struct Request {
    message: Message,
    kind: MessageType,
    mac: MacAddress,
    hardware_address: [u8; 6],
    boot_client: Option<BootClient>,
}

impl Request {
    /// Reads a packet; `None` for whatever is not a DHCP request of an Ethernet client.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        // The decoder trusts the length of the hardware address and ignores the cookie: both are checked here.
        let ethernet = packet.len() <= MAX_PACKET && packet.get(2) == Some(&ETHERNET_LENGTH);
        if !ethernet || packet.get(COOKIE_AT..COOKIE_AT + COOKIE.len()) != Some(&COOKIE[..]) {
            return None;
        }
        let packet = with_needed_options(packet);
        let message = Message::decode(&mut Decoder::new(&packet)).ok()?;
        if message.opcode() != Opcode::BootRequest || message.htype() != HType::Eth {
            return None;
        }
        let hardware_address: [u8; 6] = message.chaddr().try_into().ok()?;
        let mac = MacAddress::from_bytes(hardware_address)?;
        let kind = message.opts().msg_type()?;
        let boot_client = boot_client(&message);
        Some(Self {
            message,
            kind,
            mac,
            hardware_address,
            boot_client,
        })
    }

    /// DHCPDISCOVER, DHCPREQUEST, …
    pub fn kind(&self) -> MessageType {
        self.kind
    }

    /// The NIC that asks.
    pub fn mac(&self) -> &MacAddress {
        &self.mac
    }

    /// The boot stage that asks; `None` for an ordinary DHCP client.
    pub fn boot_client(&self) -> Option<BootClient> {
        self.boot_client
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    pub(super) fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }
}

/// The packet with no other options than [`NEEDED`]; `packet` reaches beyond the cookie.
///
/// The decoder asserts the length of some options and gives up on the whole packet for one malformed option. No
/// stranger's packet may stop the service, and a machine can boot whatever else its firmware says.
fn with_needed_options(packet: &[u8]) -> Vec<u8> {
    let (header, mut rest) = packet.split_at(OPTIONS_AT);
    let mut kept = header.to_vec();
    loop {
        rest = match rest {
            [PAD, rest @ ..] => rest,
            [code, length, rest @ ..] if *code != END && rest.len() >= usize::from(*length) => {
                let (value, rest) = rest.split_at(usize::from(*length));
                if NEEDED.contains(code) {
                    kept.extend([*code, *length]);
                    kept.extend(value);
                }
                rest
            }
            _ => break,
        };
    }
    kept.push(END);
    kept
}

fn boot_client(message: &Message) -> Option<BootClient> {
    let options = message.opts();
    let user_class = match options.get(OptionCode::UserClass) {
        Some(DhcpOption::UserClass(class)) => class.as_slice(),
        _ => &[],
    };
    // iPXE sends the bare word; RFC 3004 wants a length before it. Either is iPXE, and so are its own options.
    if user_class == b"iPXE" || user_class == b"\x04iPXE" || options.contains(OptionCode::from(IPXE_OPTIONS))
    {
        return Some(BootClient::Ipxe);
    }
    let class = match options.get(OptionCode::ClassIdentifier) {
        Some(DhcpOption::ClassIdentifier(class)) => class.as_slice(),
        _ => return None,
    };
    let http = class.starts_with(b"HTTPClient");
    if !http && !class.starts_with(b"PXEClient") {
        return None;
    }
    let architecture = match options.get(OptionCode::ClientSystemArchitecture) {
        Some(DhcpOption::ClientSystemArchitecture(architecture)) => u16::from(*architecture),
        // Old PXE ROMs tell it in the class only ("PXEClient:Arch:00000:UNDI:002001").
        _ => class
            .get(15..20)
            .and_then(|a| std::str::from_utf8(a).ok()?.parse().ok())?,
    };
    Some(match (http, architecture) {
        (false, 0) => BootClient::PxeBios,
        // 7 and 9 were swapped between RFC 4578 and the firmware of its time; both are x86-64 in the field.
        (false, 7 | 9) => BootClient::PxeEfi64,
        (true, 16) => BootClient::HttpEfi64,
        (_, other) => BootClient::Unsupported(other),
    })
}
