//! The board's management controller: its address and MAC by IPMI, or the address at which it serves Redfish.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use imprint_proto::agent::v1::Bmc;

use super::smbios::Smbios;
use crate::sys;

/// Longest answer of a command that is asked here.
pub const MAX_ANSWER: usize = 64;

/// Channels that may be LANs: 0 is IPMI's own bus, 14 means "this one", 15 the machine.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=11;
const LAN_MEDIUM: u8 = 4;
const APPLICATION: u8 = 0x06;
const GET_CHANNEL_INFO: u8 = 0x42;
const TRANSPORT: u8 = 0x0C;
const GET_LAN_CONFIGURATION: u8 = 0x02;
const IPV4_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
const IPV6_STATIC: u8 = 56;
const IPV6_DYNAMIC: u8 = 59;

/// How the management controller is asked; the seam between the questions and the device.
pub trait Ipmi {
    /// The data of an answer, without its completion code.
    ///
    /// # Errors
    /// When there is no answer, or one whose completion code is not 0.
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>>;
}

/// What files tell: SMBIOS says that there is one, and where it serves Redfish.
pub(super) fn announced(smbios: &Smbios) -> Option<Bmc> {
    let address = smbios.redfish.first();
    (smbios.ipmi || address.is_some()).then(|| Bmc {
        address: address.map(IpAddr::to_string).unwrap_or_default(),
        ..Bmc::default()
    })
}

/// Asks the management controller of this machine, if it has one and its driver is loaded.
#[must_use]
pub fn ask(root: &Path) -> Option<Bmc> {
    let mut device = sys::ipmi::Device::open(&root.join("dev/ipmi0")).ok()?;
    lan(&mut device)
}

/// The first LAN channel with an address, else the first LAN channel; none when there is no LAN channel.
pub fn lan(ipmi: &mut impl Ipmi) -> Option<Bmc> {
    let mut without_address = None;
    let mut silent = 0;
    for channel in CHANNELS {
        let medium = match ipmi.ask(APPLICATION, GET_CHANNEL_INFO, &[channel]) {
            Ok(answer) => answer.get(1).map(|medium| medium & 0x7F),
            // No such channel is an answer; a controller that gives none need not be asked eleven times.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::debug!(channel, %error, "the management controller does not answer");
                silent += 1;
                if silent == 2 {
                    break;
                }
                None
            }
            Err(error) => {
                tracing::debug!(channel, %error, "no such channel");
                None
            }
        };
        if medium != Some(LAN_MEDIUM) {
            continue;
        }
        let Some(bmc) = configuration(ipmi, channel) else {
            continue;
        };
        if !bmc.address.is_empty() {
            return Some(bmc);
        }
        without_address.get_or_insert(bmc);
    }
    without_address
}

fn configuration(ipmi: &mut impl Ipmi, channel: u8) -> Option<Bmc> {
    // The answer begins with the revision of the parameter.
    let mut parameter = |number: u8, set: u8| -> Option<Vec<u8>> {
        let answer = ipmi.ask(TRANSPORT, GET_LAN_CONFIGURATION, &[channel, number, set, 0]);
        Some(answer.ok()?.get(1..)?.to_vec())
    };
    let mac = parameter(MAC_ADDRESS, 0)
        .and_then(|mac| <[u8; 6]>::try_from(mac.get(..6)?).ok())
        .filter(|mac| *mac != [0; 6] && *mac != [0xFF; 6]);
    let v4 = parameter(IPV4_ADDRESS, 0)
        .and_then(|address| <[u8; 4]>::try_from(address.get(..4)?).ok())
        .map(Ipv4Addr::from)
        .filter(|address| !address.is_unspecified() && !address.is_broadcast());
    let address = match v4 {
        Some(address) => Some(IpAddr::V4(address)),
        None => [IPV6_STATIC, IPV6_DYNAMIC]
            .into_iter()
            .find_map(|number| v6(&parameter(number, 0)?))
            .map(IpAddr::V6),
    };
    if mac.is_none() && address.is_none() {
        return None;
    }
    Some(Bmc {
        address: address.as_ref().map(IpAddr::to_string).unwrap_or_default(),
        mac: mac.as_ref().map(super::shown_mac).unwrap_or_default(),
        channel: Some(u32::from(channel)),
    })
}

/// Behind the number of the set and the source of the address, whose highest bit says that it is in use.
fn v6(parameter: &[u8]) -> Option<Ipv6Addr> {
    const STATIC_IN_USE: u8 = 0x80;
    const DYNAMIC: std::ops::RangeInclusive<u8> = 1..=2;
    let source = *parameter.get(1)?;
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(parameter.get(2..18)?).ok()?);
    let in_use = source & STATIC_IN_USE != 0 || DYNAMIC.contains(&(source & 0x0F));
    (in_use && !address.is_unspecified() && !address.is_unicast_link_local()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers by function, command and data; everything else has no such channel.
    #[derive(Default)]
    struct Board {
        answers: Vec<(u8, u8, Vec<u8>, Vec<u8>)>,
        silent: bool,
        asked: usize,
    }

    impl Ipmi for Board {
        fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
            self.asked += 1;
            if self.silent {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let found = self
                .answers
                .iter()
                .find(|answer| (answer.0, answer.1, &answer.2[..]) == (function, command, data));
            found
                .map(|answer| answer.3.clone())
                .ok_or_else(|| io::ErrorKind::InvalidInput.into())
        }
    }

    /// Number, IPv4 address and MAC address.
    type Channel = (u8, Option<[u8; 4]>, [u8; 6]);

    fn board(channels: &[Channel]) -> Board {
        let mut board = Board::default();
        for (channel, address, mac) in channels {
            let info = vec![*channel, LAN_MEDIUM | 0x80, 1, 0];
            board
                .answers
                .push((APPLICATION, GET_CHANNEL_INFO, vec![*channel], info));
            let mut parameter = |number: u8, value: &[u8]| {
                let value = [&[0x11], value].concat();
                let data = vec![*channel, number, 0, 0];
                board
                    .answers
                    .push((TRANSPORT, GET_LAN_CONFIGURATION, data, value));
            };
            parameter(MAC_ADDRESS, mac);
            if let Some(address) = address {
                parameter(IPV4_ADDRESS, address);
            }
        }
        board
    }

    const MAC: [u8; 6] = [0x3C, 0xEC, 0xEF, 1, 2, 3];

    #[test]
    fn the_channel_with_an_address_is_taken() {
        let mut board = board(&[(1, Some([0; 4]), [2; 6]), (8, Some([10, 9, 8, 7]), MAC)]);
        let bmc = lan(&mut board).unwrap();
        assert_eq!(
            (bmc.address.as_str(), bmc.mac.as_str(), bmc.channel),
            ("10.9.8.7", "3c:ec:ef:01:02:03", Some(8))
        );
    }

    #[test]
    fn without_an_address_the_mac_is_told() {
        let bmc = lan(&mut board(&[(1, Some([0; 4]), MAC)])).unwrap();
        assert_eq!((bmc.address.as_str(), bmc.channel), ("", Some(1)));
    }

    #[test]
    fn ipv6_is_taken_when_there_is_no_ipv4() {
        let mut board = board(&[(1, None, MAC)]);
        let mut parameter = vec![0x11, 0, 0x80];
        parameter.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        parameter.extend([64, 0]);
        let data = vec![1, IPV6_STATIC, 0, 0];
        board
            .answers
            .push((TRANSPORT, GET_LAN_CONFIGURATION, data, parameter));
        assert_eq!(lan(&mut board).unwrap().address, "2001:db8::7");
    }

    #[test]
    fn short_answers_and_silence_are_nothing() {
        let mut short = board(&[(1, None, MAC)]);
        for answer in &mut short.answers {
            answer.3.truncate(2);
        }
        assert_eq!(lan(&mut short), None);
        let mut silent = Board {
            silent: true,
            ..Board::default()
        };
        assert_eq!(lan(&mut silent), None);
        assert!(silent.asked <= 2, "each question may take seconds");
    }

    #[test]
    fn smbios_announces_one() {
        assert_eq!(announced(&Smbios::default()), None);
        let ipmi = Smbios {
            ipmi: true,
            ..Smbios::default()
        };
        assert_eq!(announced(&ipmi), Some(Bmc::default()));
    }
}
