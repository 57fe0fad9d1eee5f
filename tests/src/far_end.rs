//! The other end of a tagged VLAN: a machine of a few lines that answers ARP, neighbour discovery and pings, IPv4 and IPv6, on
//! VLAN [`VLAN`]. The host's kernel may know nothing of VLANs, so it speaks Ethernet itself, over a tap.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::{process, sys};

/// The VLAN it is on.
pub const VLAN: u16 = 100;
/// Its IPv4 address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Its IPv6 address.
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);

const LINK: &str = "far0";
const MAC: [u8; 6] = [0x02, 0, 0, 0x78, 0, 0x01];
/// Two addresses and the VLAN's tag.
const HEAD: usize = 18;
const LARGEST: usize = 9000 + HEAD;

/// The machine; gone when it is dropped.
#[derive(Debug)]
pub struct FarEnd {
    thread: Option<JoinHandle<()>>,
}

impl FarEnd {
    /// Makes its tap, which is down and in no bridge yet, and begins to answer.
    pub fn start() -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/net/tun");
        let mut device = device.context("cannot open /dev/net/tun")?;
        sys::become_tap(&device, LINK).context("cannot make the far end's tap")?;
        let thread = thread::Builder::new().name("far-end".to_owned()).spawn(move || {
            let mut frame = vec![0; LARGEST];
            // Ends with the tap.
            while let Ok(length) = device.read(&mut frame) {
                if let Some(reply) = answer(&frame[..length])
                    && device.write_all(&reply).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self {
            thread: Some(thread.context("cannot start a thread")?),
        })
    }

    /// Its side of the cable.
    pub fn link(&self) -> &'static str {
        LINK
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        let deleted = process::tidy(Command::new("ip").args(["link", "delete", LINK]));
        if let Err(error) = deleted {
            eprintln!("far end: {error:#}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("far end: its thread has panicked");
        }
    }
}

/// What it sends back for a frame, if anything.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let to = &head[..6];
    let tagged = head[12..14] == [0x81, 0x00];
    let vlan = u16::from_be_bytes([head[14], head[15]]) & 0x0fff;
    // Multicast and broadcast have the lowest bit of the first byte.
    if !tagged || vlan != VLAN || (to != MAC && to[0] & 1 == 0) {
        return None;
    }
    let body = match [head[16], head[17]] {
        [0x08, 0x06] => arp(payload)?,
        [0x08, 0x00] => ping(payload)?,
        [0x86, 0xdd] => ipv6(payload)?,
        _ => return None,
    };
    let mut reply = Vec::with_capacity(HEAD + body.len());
    reply.extend_from_slice(&head[6..12]);
    reply.extend_from_slice(&MAC);
    reply.extend_from_slice(&head[12..18]);
    reply.extend_from_slice(&body);
    Some(reply)
}

/// RFC 826.
fn arp(request: &[u8]) -> Option<Vec<u8>> {
    let request = request.get(..28)?;
    if request[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || request[24..28] != ADDRESS.octets() {
        return None;
    }
    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
    reply.extend_from_slice(&MAC);
    reply.extend_from_slice(&ADDRESS.octets());
    reply.extend_from_slice(&request[8..18]);
    Some(reply)
}

/// An echo request without options or fragments.
fn ping(packet: &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let packet = packet.get(..length)?;
    let (head, echo) = packet.split_at_checked(20)?;
    let whole = u16::from_be_bytes([head[6], head[7]]) & 0x3fff == 0;
    if head[0] != 0x45 || !whole || head[9] != 1 || head[16..20] != ADDRESS.octets() || *echo.first()? != 8 {
        return None;
    }
    let mut reply = packet.to_vec();
    reply[12..16].copy_from_slice(&ADDRESS.octets());
    reply[16..20].copy_from_slice(&head[12..16]);
    reply[10..12].fill(0);
    let sum = checksum(&[&reply[..20]]);
    reply[10..12].copy_from_slice(&sum);
    reply[20] = 0;
    reply.get_mut(22..24)?.fill(0);
    let sum = checksum(&[&reply[20..]]);
    reply[22..24].copy_from_slice(&sum);
    Some(reply)
}

/// Neighbour solicitations (RFC 4861) and echo requests.
fn ipv6(packet: &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    let packet = packet.get(..40 + length)?;
    let (head, message) = packet.split_at_checked(40)?;
    if head[6] != 58 {
        return None;
    }
    let body = match *message.first()? {
        128 if head[24..40] == ADDRESS6.octets() => {
            let mut body = message.to_vec();
            body[0] = 129;
            body
        }
        135 if *message.get(8..24)? == ADDRESS6.octets() => {
            // Solicited, override; with the link-layer address.
            let mut body = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
            body.extend_from_slice(&ADDRESS6.octets());
            body.extend_from_slice(&[2, 1]);
            body.extend_from_slice(&MAC);
            body
        }
        _ => return None,
    };
    // Who looks whether an address is taken has none yet, and gets no answer.
    if head[8..24] == [0; 16] {
        return None;
    }
    let mut reply = head.to_vec();
    reply[4..6].copy_from_slice(&u16::try_from(body.len()).ok()?.to_be_bytes());
    reply[7] = 255;
    reply[8..24].copy_from_slice(&ADDRESS6.octets());
    reply[24..40].copy_from_slice(&head[8..24]);
    reply.extend_from_slice(&body);
    reply.get_mut(42..44)?.fill(0);
    let pseudo = [0, 0, reply[4], reply[5], 0, 0, 0, 58];
    let sum = checksum(&[&reply[8..40], &pseudo, &reply[40..]]);
    reply[42..44].copy_from_slice(&sum);
    Some(reply)
}

/// RFC 1071. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 0x10];

    fn frame(to: [u8; 6], vlan: u8, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&to[..], &PEER, &[0x81, 0, 0, vlan], &kind, payload].concat()
    }

    fn echo() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 1, 0, 0, 10, 78, 0, 60];
        packet.extend(ADDRESS.octets());
        packet.extend([8, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n', b'g']);
        packet
    }

    #[test]
    fn pings_on_the_vlan_are_answered() {
        let reply = answer(&frame(MAC, 100, [8, 0], &echo())).unwrap();
        assert_eq!(reply[..6], PEER);
        assert_eq!(reply[12..18], [0x81, 0, 0, 100, 8, 0]);
        assert_eq!(reply[18 + 16..18 + 20], [10, 78, 0, 60]);
        assert_eq!(reply[38], 0);
        // A right checksum makes the sum of all zero.
        assert_eq!(checksum(&[&reply[18..38]]), [0, 0]);
        assert_eq!(checksum(&[&reply[38..]]), [0, 0]);
    }

    #[test]
    fn nothing_else_is_answered() {
        assert!(answer(&frame(MAC, 101, [8, 0], &echo())).is_none());
        assert!(answer(&frame(PEER, 100, [8, 0], &echo())).is_none());
        let mut untagged = frame(MAC, 100, [8, 0], &echo());
        untagged.drain(12..16);
        assert!(answer(&untagged).is_none());
        let whole = frame(MAC, 100, [8, 0], &echo());
        for length in 0..whole.len() {
            assert!(answer(&whole[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn neighbours_are_told_of_it() {
        let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
        request.extend(PEER);
        request.extend([10, 78, 0, 60, 0, 0, 0, 0, 0, 0]);
        request.extend(ADDRESS.octets());
        let reply = answer(&frame([0xff; 6], 100, [8, 6], &request)).unwrap();
        assert_eq!(reply[18 + 6..18 + 8], [0, 2]);
        assert_eq!(reply[18 + 8..18 + 14], MAC);

        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
        packet.extend([0xfd, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x60]);
        packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]);
        packet.extend([135, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend(ADDRESS6.octets());
        let reply = answer(&frame([0x33, 0x33, 0xff, 0, 0, 1], 100, [0x86, 0xdd], &packet)).unwrap();
        let packet = &reply[18..];
        assert_eq!(packet[40], 136);
        assert_eq!(packet[66..72], MAC);
        let pseudo = [0, 0, packet[4], packet[5], 0, 0, 0, 58];
        assert_eq!(checksum(&[&packet[8..40], &pseudo, &packet[40..]]), [0, 0]);
    }
}
