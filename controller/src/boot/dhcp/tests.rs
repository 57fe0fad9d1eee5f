use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const LEASE_SECONDS: u32 = 600;
const UNDIONLY: &str = "undionly.kpxe";
const SNPONLY: &str = "snponly.efi";
const SCRIPT: &str = "http://10.0.0.1:8080/boot/start.ipxe";
const SNPONLY_URL: &str = "http://10.0.0.1:8080/ipxe/snponly.efi";

fn class(text: &str) -> DhcpOption {
    DhcpOption::ClassIdentifier(text.as_bytes().to_vec())
}

fn firmware(kind: &str, architecture: u16) -> Vec<DhcpOption> {
    vec![
        class(&format!("{kind}:Arch:{architecture:05}:UNDI:003016")),
        DhcpOption::ClientSystemArchitecture(architecture.into()),
    ]
}

fn own_options(bytes: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(175), bytes.to_vec()))
}

/// A client, its options and the boot file it gets.
fn clients() -> Vec<(&'static str, Vec<DhcpOption>, Option<&'static str>)> {
    let user_class = |text: &[u8]| vec![DhcpOption::UserClass(text.to_vec())];
    let ipxe_over = |mut options: Vec<DhcpOption>| {
        options.push(DhcpOption::UserClass(b"iPXE".to_vec()));
        options
    };
    vec![
        ("BIOS", firmware("PXEClient", 0), Some(UNDIONLY)),
        (
            "old BIOS",
            vec![class("PXEClient:Arch:00000:UNDI:002001")],
            Some(UNDIONLY),
        ),
        ("EFI x64", firmware("PXEClient", 7), Some(SNPONLY)),
        ("EFI bytecode", firmware("PXEClient", 9), Some(SNPONLY)),
        ("iPXE on BIOS", ipxe_over(firmware("PXEClient", 0)), Some(SCRIPT)),
        ("iPXE on EFI", ipxe_over(firmware("PXEClient", 7)), Some(SCRIPT)),
        ("iPXE, RFC 3004", user_class(b"\x04iPXE"), Some(SCRIPT)),
        (
            "iPXE by its options",
            vec![own_options(&[177, 1, 1])],
            Some(SCRIPT),
        ),
        ("UEFI HTTP", firmware("HTTPClient", 16), Some(SNPONLY_URL)),
        ("EFI IA32", firmware("PXEClient", 6), None),
        ("EFI ARM64", firmware("PXEClient", 11), None),
        ("UEFI HTTP ARM64", firmware("HTTPClient", 19), None),
        ("class without architecture", vec![class("PXEClient")], None),
        ("ordinary client", vec![class("MSFT 5.0")], None),
        ("nothing at all", Vec::new(), None),
    ]
}

fn packet(last: u8, kind: MessageType, ciaddr: Ipv4Addr, options: &[DhcpOption]) -> Vec<u8> {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mac = [0x52, 0x54, 0, 0, 0, last];
    let mut message = Message::new_with_id(0xfeed_0000 + u32::from(last), ciaddr, unset, unset, unset, &mac);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap()
}

struct Network {
    settings: Settings,
    leases: LeaseTable,
    now: Timestamp,
}

impl Network {
    fn proxy() -> Self {
        Self {
            settings: Settings {
                server: SERVER,
                boot_url: "http://10.0.0.1:8080".to_owned(),
                secure_boot: false,
                own: None,
            },
            leases: LeaseTable::default(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// Addresses of its own from `first` to `last`; server and router are among them and never given out.
    fn own(last: u8) -> Self {
        let range = Range::new(SERVER, Ipv4Addr::new(10, 0, 0, last)).unwrap();
        let mut network = Self::proxy();
        network.leases = LeaseTable::new(range, &[SERVER, ROUTER]);
        network.settings.own = Some(OwnSettings {
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            router: Some(ROUTER),
            dns: vec![ROUTER],
            lease_seconds: LEASE_SECONDS,
        });
        network
    }

    fn hand(&mut self, port: Port, bytes: &[u8]) -> Option<(Reply, Message)> {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 68);
        let request = Request::parse(bytes)?;
        let reply = reply(&self.settings, port, source, &request, &mut self.leases, self.now)?;
        let message = Message::decode(&mut Decoder::new(&reply.bytes)).expect("an answer decodes");
        assert_eq!(message.opcode(), Opcode::BootReply);
        assert_eq!(message.xid(), request.message().xid());
        assert_eq!(message.chaddr(), request.hardware_address());
        assert!(reply.bytes.len() >= 300, "{}", reply.bytes.len());
        Some((reply, message))
    }

    fn ask(&mut self, last: u8, kind: MessageType, options: &[DhcpOption]) -> Option<(Reply, Message)> {
        self.hand(Port::Dhcp, &packet(last, kind, Ipv4Addr::UNSPECIFIED, options))
    }

    fn discover(&mut self, last: u8) -> Option<Ipv4Addr> {
        let (reply, message) = self.ask(last, MessageType::Discover, &[])?;
        assert_eq!((reply.kind, reply.address), ("offer", Some(message.yiaddr())));
        reply.address
    }

    fn request(&mut self, last: u8, address: Ipv4Addr) -> Option<Reply> {
        let options = [
            DhcpOption::RequestedIpAddress(address),
            DhcpOption::ServerIdentifier(SERVER),
        ];
        self.ask(last, MessageType::Request, &options)
            .map(|(reply, _)| reply)
    }

    /// Offer and acknowledgement.
    fn lease(&mut self, last: u8) -> Ipv4Addr {
        let address = self.discover(last).expect("an address is free");
        let reply = self
            .request(last, address)
            .expect("an offered address is acknowledged");
        assert_eq!((reply.kind, reply.address), ("ack", Some(address)));
        address
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

fn option(message: &Message, code: OptionCode) -> Option<&DhcpOption> {
    message.opts().get(code)
}

#[test]
fn with_secure_boot_uefi_machines_are_pointed_at_shim_and_nobody_else_is() {
    for (name, options, file) in clients() {
        let mut network = Network::proxy();
        network.settings.secure_boot = true;
        let offer = network.ask(1, MessageType::Discover, &options);
        let named = offer.and_then(|(reply, _)| reply.boot_file);
        let expected = match file {
            Some(SNPONLY) => Some("shimx64.efi"),
            other => other,
        };
        assert_eq!(named.as_deref(), expected, "{name}");
    }
}

#[test]
fn a_proxy_names_the_boot_file_of_each_client_and_gives_no_address() {
    for (name, options, file) in clients() {
        let uuid = DhcpOption::ClientMachineIdentifier(vec![0; 17]);
        let asked = [options.clone(), vec![uuid.clone()]].concat();
        let mut network = Network::proxy();
        let offer = network.ask(1, MessageType::Discover, &asked);
        let at = Ipv4Addr::new(10, 0, 0, 77);
        let acknowledged = network.hand(Port::Pxe, &packet(1, MessageType::Request, at, &asked));
        let Some(file) = file else {
            assert!(offer.is_none() && acknowledged.is_none(), "{name}");
            continue;
        };
        for (kind, to, answer) in [
            ("offer", SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), offer),
            ("ack", SocketAddrV4::new(at, 68), acknowledged),
        ] {
            let (reply, message) = answer.unwrap_or_else(|| panic!("{name}: no {kind}"));
            assert_eq!((reply.kind, reply.to, reply.address), (kind, to, None), "{name}");
            assert_eq!(reply.boot_file.as_deref(), Some(file), "{name}");
            assert_eq!(
                message.siaddr(),
                SERVER,
                "{name}: iPXE ignores answers without it"
            );
            let header = message.fname_str().unwrap().unwrap();
            assert_eq!(header.trim_end_matches('\0'), file, "{name}");
            let named = DhcpOption::BootfileName(file.as_bytes().to_vec());
            assert_eq!(option(&message, OptionCode::BootfileName), Some(&named), "{name}");
            let server = DhcpOption::ServerIdentifier(SERVER);
            assert_eq!(
                option(&message, OptionCode::ServerIdentifier),
                Some(&server),
                "{name}"
            );
            assert_eq!(
                option(&message, OptionCode::ClientMachineIdentifier),
                Some(&uuid),
                "{name}"
            );
            let echo = if name == "UEFI HTTP" {
                "HTTPClient"
            } else {
                "PXEClient"
            };
            assert_eq!(
                option(&message, OptionCode::ClassIdentifier),
                Some(&class(echo)),
                "{name}"
            );
            assert_eq!(option(&message, OptionCode::AddressLeaseTime), None, "{name}");
            // Boot server discovery is turned off for BIOS, and UEFI must not see option 43 at all.
            let control = (file == UNDIONLY).then(|| DhcpOption::VendorExtensions(vec![6, 1, 8, 255]));
            assert_eq!(
                option(&message, OptionCode::VendorExtensions),
                control.as_ref(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_proxy_leaves_addresses_to_the_other_server() {
    for kind in [
        MessageType::Request,
        MessageType::Decline,
        MessageType::Release,
        MessageType::Inform,
    ] {
        let answer = Network::proxy().ask(1, kind, &firmware("PXEClient", 7));
        assert!(answer.is_none(), "{kind:?}");
    }
}

#[test]
fn a_relay_gets_the_proxys_answer() {
    let mut bytes = packet(
        1,
        MessageType::Discover,
        Ipv4Addr::UNSPECIFIED,
        &firmware("PXEClient", 7),
    );
    bytes[24..28].copy_from_slice(&[10, 9, 0, 1]);
    let (reply, message) = Network::proxy().hand(Port::Dhcp, &bytes).unwrap();
    assert_eq!(reply.to, SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 67));
    assert_eq!(message.giaddr(), Ipv4Addr::new(10, 9, 0, 1));
    // A range of addresses belongs to this network alone.
    assert!(Network::own(9).hand(Port::Dhcp, &bytes).is_none());
}

#[test]
fn an_own_server_gives_everybody_an_address_and_boot_clients_their_file() {
    for (name, options, file) in clients() {
        let (reply, message) = Network::own(9).ask(1, MessageType::Discover, &options).unwrap();
        assert_eq!(reply.boot_file.as_deref(), file, "{name}");
        assert_eq!(message.siaddr() == SERVER, file.is_some(), "{name}");
        assert_eq!(reply.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), "{name}");
        assert!(
            reply.address.is_some_and(|a| a > ROUTER && a.octets()[3] <= 9),
            "{name}"
        );
        for expected in [
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::Router(vec![ROUTER]),
            DhcpOption::DomainNameServer(vec![ROUTER]),
            DhcpOption::AddressLeaseTime(LEASE_SECONDS),
        ] {
            assert_eq!(
                option(&message, OptionCode::from(&expected)),
                Some(&expected),
                "{name}"
            );
        }
        let echo = (name == "UEFI HTTP").then(|| class("HTTPClient"));
        assert_eq!(
            option(&message, OptionCode::ClassIdentifier),
            echo.as_ref(),
            "{name}"
        );
        let no_wait = (file == Some(SCRIPT)).then(|| own_options(&[176, 1, 1]));
        assert_eq!(
            option(&message, OptionCode::from(175)),
            no_wait.as_ref(),
            "{name}"
        );
    }
}

#[test]
fn a_machine_keeps_its_address_through_all_its_boot_stages() {
    let mut network = Network::own(200);
    let address = network.lease(1);
    for (name, options, _) in clients() {
        let (reply, _) = network.ask(1, MessageType::Discover, &options).unwrap();
        assert_eq!(reply.address, Some(address), "{name}");
    }
    assert_ne!(network.lease(2), address);
    network.pass(i64::from(LEASE_SECONDS) * 10);
    assert_eq!(network.discover(1), Some(address), "long after its lease ended");
}

#[test]
fn a_renewal_prolongs_the_lease_and_goes_to_the_client() {
    let mut network = Network::own(9);
    let address = network.lease(1);
    network.pass(300);
    let renewal = packet(1, MessageType::Request, address, &[]);
    let (reply, message) = network.hand(Port::Dhcp, &renewal).unwrap();
    assert_eq!((reply.kind, reply.address), ("ack", Some(address)));
    assert_eq!(reply.to, SocketAddrV4::new(address, 68));
    assert_eq!(message.ciaddr(), address);
    let lease = network.leases.get(address).unwrap();
    assert_eq!(lease.expires_at.as_second(), 300 + i64::from(LEASE_SECONDS));
}

#[test]
fn an_address_a_machine_may_not_have_is_refused_at_once() {
    let mut network = Network::own(9);
    let taken = network.lease(1);
    for address in [Ipv4Addr::new(192, 168, 1, 5), SERVER, ROUTER, taken] {
        let reply = network.request(2, address).unwrap();
        assert_eq!(
            (reply.kind, reply.address, reply.boot_file),
            ("nak", None, None),
            "{address}"
        );
        assert_eq!(reply.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), "{address}");
    }
    // Also when it is in use already, as after a move from another network.
    let renewal = packet(2, MessageType::Request, Ipv4Addr::new(192, 168, 1, 5), &[]);
    let (reply, message) = network.hand(Port::Dhcp, &renewal).unwrap();
    assert_eq!((reply.kind, *reply.to.ip()), ("nak", Ipv4Addr::BROADCAST));
    assert!(message.flags().broadcast());
    assert_eq!(
        network.leases.get(taken).unwrap().mac.as_ref().unwrap().as_str(),
        "52:54:00:00:00:01"
    );
}

#[test]
fn an_exhausted_range_is_silent_until_an_address_is_free() {
    // 10.0.0.1 to .4 less server and router.
    let mut network = Network::own(4);
    let mut given = [network.lease(1), network.lease(2)];
    given.sort();
    assert_eq!(given, [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)]);
    assert_eq!(network.discover(3), None);
    network.pass(i64::from(LEASE_SECONDS) - 1);
    assert_eq!(network.discover(3), None);
    network.pass(1);
    assert!(network.discover(3).is_some());
}

#[test]
fn an_offer_that_is_not_taken_is_free_again() {
    let mut network = Network::own(3);
    let offered = network.discover(1).unwrap();
    assert_eq!(network.discover(2), None);
    let elsewhere = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 99));
    let took_other = [DhcpOption::RequestedIpAddress(offered), elsewhere];
    assert!(network.ask(1, MessageType::Request, &took_other).is_none());
    assert_eq!(network.discover(2), Some(offered));
    network.pass(60);
    assert_eq!(
        network.discover(3),
        Some(offered),
        "an offer is held for a minute"
    );
}

#[test]
fn a_declined_address_rests_and_a_released_one_does_not() {
    let mut network = Network::own(3);
    let address = network.lease(1);
    let release = packet(
        1,
        MessageType::Release,
        address,
        &[DhcpOption::ServerIdentifier(SERVER)],
    );
    assert!(network.hand(Port::Dhcp, &release).is_none());
    assert_eq!(network.lease(2), address);
    let in_use = [
        DhcpOption::RequestedIpAddress(address),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    assert!(network.ask(1, MessageType::Decline, &in_use).is_none());
    assert!(
        network.request(2, address).is_some(),
        "only the holder can decline"
    );
    assert!(network.ask(2, MessageType::Decline, &in_use).is_none());
    assert_eq!(network.discover(2), None);
    network.pass(3600);
    assert_eq!(network.discover(2), Some(address));
}

#[test]
fn what_is_no_request_of_an_ethernet_client_is_not_read() {
    let good = packet(1, MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[]);
    assert!(Request::parse(&good).is_some());
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    for (why, bytes) in [
        ("a reply", changed(0, 2)),
        ("InfiniBand", changed(1, 32)),
        ("hardware address of 200 bytes", changed(2, 200)),
        ("group address", changed(28, 0x53)),
        ("no cookie", changed(236, 0)),
        ("no message type", good[..240].to_vec()),
        ("cut in the header", good[..100].to_vec()),
        ("larger than a frame", [good.clone(), vec![0; 1500]].concat()),
        ("empty", Vec::new()),
    ] {
        assert!(Request::parse(&bytes).is_none(), "{why}");
    }
}

#[test]
fn a_malformed_option_that_is_not_needed_does_not_stop_service_or_boot() {
    let client = packet(
        1,
        MessageType::Discover,
        Ipv4Addr::UNSPECIFIED,
        &firmware("PXEClient", 7),
    );
    for (why, odd) in [
        ("the decoder asserts a length of four", vec![154, 1, 0]),
        ("the decoder asserts a length of three", vec![94, 1, 1]),
        ("the decoder asserts a length of zero", vec![80, 1, 0]),
        ("half an address", vec![3, 2, 10, 0]),
        ("a subnet of half an address", vec![1, 2, 255, 255]),
        ("a FQDN that is none", vec![81, 2, 0, 0]),
    ] {
        let bytes = [&client[..240], &odd, &client[240..]].concat();
        let answer = Network::proxy().hand(Port::Dhcp, &bytes);
        assert!(answer.is_some_and(|(reply, _)| reply.kind == "offer"), "{why}");
    }
}

/// The header of a well-formed request, up to the cookie.
fn header() -> Vec<u8> {
    packet(1, MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[])[..240].to_vec()
}

fn on_all_ports(bytes: &[u8]) {
    for port in [Port::Dhcp, Port::Pxe] {
        drop(Network::proxy().hand(port, bytes));
        drop(Network::own(9).hand(port, bytes));
    }
}

proptest! {
    #[test]
    fn no_packet_can_stop_the_service(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
        on_all_ports(&bytes);
    }

    #[test]
    fn no_options_can_stop_the_service(options in proptest::collection::vec(any::<u8>(), 0..400)) {
        on_all_ports(&[header(), options].concat());
    }

    // What a client says besides does not decide whether it can boot, however malformed it is.
    #[test]
    fn an_option_that_is_not_needed_changes_nothing(
        code in (1u8..=254).prop_filter("needed", |c| ![50, 53, 54, 60, 77, 93, 97, 175].contains(c)),
        value in proptest::collection::vec(any::<u8>(), 0..=12),
    ) {
        let client = packet(1, MessageType::Discover, Ipv4Addr::UNSPECIFIED, &firmware("PXEClient", 7));
        let mut bytes = header();
        bytes.extend([code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value);
        bytes.extend(&client[240..]);
        let plain = Network::proxy().hand(Port::Dhcp, &client).map(|(reply, _)| reply);
        let odd = Network::proxy().hand(Port::Dhcp, &bytes).map(|(reply, _)| reply);
        prop_assert!(plain.is_some());
        prop_assert_eq!(plain, odd);
    }
}
