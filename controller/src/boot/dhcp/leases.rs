//! Who has which address. Pure: the time comes in, what changed goes out to be stored.
//!
//! A lease belongs to a MAC address, not to a client identifier: firmware, iPXE, ramdisk and installed system of one
//! machine send four different ones and shall all get the same address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};

use crate::boot::facts::MacAddress;

/// How long an offered address waits for its client.
const OFFER_HOLD: SignedDuration = SignedDuration::from_secs(60);
/// How long an address that somebody else was found to use is left alone.
const DECLINE_HOLD: SignedDuration = SignedDuration::from_secs(3600);

/// Addresses to hand out, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    last: u32,
}

impl Range {
    /// `None` unless first <= last.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        let (first, last) = (u32::from(first), u32::from(last));
        (first <= last).then_some(Self { first, last })
    }

    fn contains(self, address: u32) -> bool {
        (self.first..=self.last).contains(&address)
    }

    fn size(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// An address and its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is; `None` when it was declined.
    pub mac: Option<MacAddress>,
    /// Until when.
    pub expires_at: Timestamp,
    bound: bool,
}

impl Lease {
    /// A lease as it was stored.
    pub fn stored(address: Ipv4Addr, mac: MacAddress, expires_at: Timestamp) -> Self {
        Self {
            address,
            mac: Some(mac),
            expires_at,
            bound: true,
        }
    }
}

/// All leases of the range.
#[derive(Debug, Default)]
pub struct LeaseTable {
    range: Option<Range>,
    reserved: Vec<u32>,
    leases: BTreeMap<u32, Lease>,
}

impl LeaseTable {
    /// An empty table; `reserved` addresses (server, router) are never handed out.
    pub fn new(range: Range, reserved: &[Ipv4Addr]) -> Self {
        let reserved = reserved.iter().map(|a| u32::from(*a)).collect();
        Self {
            range: Some(range),
            reserved,
            leases: BTreeMap::new(),
        }
    }

    /// Puts a stored lease back; one that is outside the range, as after a change of the configuration, is dropped.
    pub fn restore(&mut self, lease: Lease) {
        let address = u32::from(lease.address);
        if self.allowed(address) {
            self.leases.insert(address, lease);
        }
    }

    /// The lease of an address.
    pub fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&u32::from(address))
    }

    /// An address for `mac`, held for a minute: the one it had, else the one it asks for, else a free one.
    pub fn offer(&mut self, mac: &MacAddress, asked: Option<Ipv4Addr>, now: Timestamp) -> Option<Ipv4Addr> {
        let had = self
            .leases
            .values()
            .find(|l| l.mac.as_ref() == Some(mac))
            .map(|l| u32::from(l.address));
        let asked = asked.map(u32::from).filter(|a| self.free(*a, mac, now));
        let address = had.or(asked).or_else(|| self.unused(mac, now))?;
        let hold = later(now, OFFER_HOLD);
        let lease = self.leases.entry(address).or_insert_with(|| Lease {
            address: address.into(),
            mac: None,
            expires_at: hold,
            bound: false,
        });
        if lease.mac.as_ref() != Some(mac) {
            lease.bound = false;
            lease.expires_at = hold;
        }
        lease.mac = Some(mac.clone());
        lease.expires_at = lease.expires_at.max(hold);
        Some(address.into())
    }

    /// Gives `address` to `mac` for `seconds`, if it may have it.
    pub fn bind(&mut self, mac: &MacAddress, address: Ipv4Addr, now: Timestamp, seconds: u32) -> bool {
        let number = u32::from(address);
        if !self.free(number, mac, now) {
            return false;
        }
        // One address for one NIC: what it held before is given up.
        self.leases
            .retain(|a, l| *a == number || l.mac.as_ref() != Some(mac));
        let expires_at = later(now, SignedDuration::from_secs(i64::from(seconds)));
        self.leases.insert(
            number,
            Lease {
                address,
                mac: Some(mac.clone()),
                expires_at,
                bound: true,
            },
        );
        true
    }

    /// The client found the address in use by another machine: nobody gets it for an hour.
    pub fn decline(&mut self, mac: &MacAddress, address: Ipv4Addr, now: Timestamp) {
        if let Some(lease) = self
            .leases
            .get_mut(&u32::from(address))
            .filter(|l| l.mac.as_ref() == Some(mac))
        {
            lease.mac = None;
            lease.expires_at = later(now, DECLINE_HOLD);
            lease.bound = false;
        }
    }

    /// The client gives its address back; it stays remembered as its own while nobody else needs it.
    pub fn release(&mut self, mac: &MacAddress, address: Ipv4Addr, now: Timestamp) {
        if let Some(lease) = self
            .leases
            .get_mut(&u32::from(address))
            .filter(|l| l.mac.as_ref() == Some(mac))
        {
            lease.expires_at = now;
        }
    }

    /// The client took another server's offer.
    pub fn withdraw(&mut self, mac: &MacAddress) {
        self.leases.retain(|_, l| l.bound || l.mac.as_ref() != Some(mac));
    }

    fn allowed(&self, address: u32) -> bool {
        self.range.is_some_and(|r| r.contains(address)) && !self.reserved.contains(&address)
    }

    fn free(&self, address: u32, mac: &MacAddress, now: Timestamp) -> bool {
        self.allowed(address)
            && self
                .leases
                .get(&address)
                .is_none_or(|l| l.mac.as_ref() == Some(mac) || l.expires_at <= now)
    }

    /// A free address, first one that nobody ever had, found from a place that depends on the MAC address, so that
    /// machines keep their addresses when the table is lost.
    fn unused(&self, mac: &MacAddress, now: Timestamp) -> Option<u32> {
        let range = self.range?;
        let seed = mac
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let start = seed % range.size();
        let candidates = || {
            (0..range.size()).filter_map(move |i| {
                u32::try_from((start + i) % range.size())
                    .ok()
                    .and_then(|i| range.first.checked_add(i))
            })
        };
        let mut fresh = candidates().filter(|a| self.allowed(*a) && !self.leases.contains_key(a));
        fresh
            .next()
            .or_else(|| candidates().find(|a| self.free(*a, mac, now)))
    }
}

fn later(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}
