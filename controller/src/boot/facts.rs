//! What a booting machine says about itself, in typed form.
//!
//! Everything here comes from an unauthenticated request on the boot network. A value is parsed before it is looked up,
//! stored or put into a script; what does not parse is refused (MAC) or treated as not given (UUID, serial).

use std::fmt;
use std::str::FromStr;

use imprint_hardware::model::LocalBoot;
use uuid::Uuid;

/// Longest serial number that is taken over; SMBIOS strings of real machines are far shorter.
const MAX_SERIAL: usize = 64;

/// Serial numbers and UUIDs that firmware vendors ship when they forgot to set one.
const PLACEHOLDERS: [&str; 12] = [
    "none",
    "n/a",
    "na",
    "default string",
    "not specified",
    "not applicable",
    "not available",
    "system serial number",
    "to be filled by o.e.m.",
    "0",
    "0123456789",
    "123456789",
];

/// A value that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a MAC address (expected six hexadecimal pairs, as in 52:54:00:12:34:56)")]
pub struct MacAddressError {
    given: String,
}

/// An Ethernet address: lower case, with colons, unicast and not zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(String);

impl MacAddress {
    /// The address of six bytes; `None` for a group address or all zeroes, which no NIC has.
    pub fn from_bytes(bytes: [u8; 6]) -> Option<Self> {
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return None;
        }
        let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Some(Self(pairs.join(":")))
    }

    /// Lower case with colons.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddressError {
            given: text.chars().take(40).collect(),
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0u8; 6];
        let mut pairs = text.split(separator);
        for byte in &mut bytes {
            let pair = pairs
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = pair
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(error)?;
        }
        if pairs.next().is_some() {
            return Err(error());
        }
        Self::from_bytes(bytes).ok_or_else(error)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The firmware that the boot loader runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// UEFI.
    Efi,
    /// PC BIOS.
    Pcbios,
}

impl Platform {
    /// iPXE's `${platform}`; anything but `efi` is taken for a BIOS, as in iPXE itself.
    pub fn from_ipxe(text: &str) -> Self {
        if text.eq_ignore_ascii_case("efi") {
            Self::Efi
        } else {
            Self::Pcbios
        }
    }

    /// As iPXE spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Efi => "efi",
            Self::Pcbios => "pcbios",
        }
    }
}

/// What a machine reported when it asked what to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFacts {
    /// The NIC it boots from.
    pub mac: MacAddress,
    /// SMBIOS system UUID, lower case with hyphens; `None` when the firmware gives none.
    pub smbios_uuid: Option<String>,
    /// SMBIOS system serial number; `None` when the firmware gives none.
    pub serial: Option<String>,
    /// UEFI or BIOS.
    pub platform: Platform,
}

impl BootFacts {
    /// Facts from the query of `/boot/node.ipxe`. Only the MAC address is required.
    pub fn parse(mac: &str, uuid: &str, serial: &str, platform: &str) -> Result<Self, MacAddressError> {
        Ok(Self {
            mac: mac.parse()?,
            smbios_uuid: parse_uuid(uuid),
            serial: parse_serial(serial),
            platform: Platform::from_ipxe(platform),
        })
    }
}

/// The answer to a machine that asks what to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootAction {
    /// Kernel and ramdisk with the agent.
    Ramdisk {
        /// Why, for the operator's log and the machine's screen.
        reason: String,
        /// What the kernel of this kind of machine needs besides.
        kernel_arguments: Vec<String>,
        /// With the initrd that has the ssh server and tools of a rescue.
        rescue: bool,
    },
    /// Leave the network boot; the firmware goes on to the local disk.
    LocalDisk {
        /// Why, for the operator's log and the machine's screen.
        reason: String,
        /// How this kind of machine gets there.
        how: LocalBoot,
    },
}

/// Whether a value holds what a script would run or expand, and what no firmware has in its tables.
///
/// Nothing that a machine says is put into a script unchecked; whoever tries is turned away all the same.
pub fn is_hostile(text: &str) -> bool {
    ["\n", "\r", "${", "&&", "||"]
        .iter()
        .any(|part| text.contains(part))
}

/// A usable system UUID: parses, and is not one of the all-zero or all-one placeholders.
pub fn parse_uuid(text: &str) -> Option<String> {
    let uuid = Uuid::try_parse(text.trim()).ok()?;
    (!uuid.is_nil() && !uuid.is_max()).then(|| uuid.hyphenated().to_string())
}

/// A usable serial number: printable ASCII without quotes, backslashes and dollars, and no vendor placeholder.
pub fn parse_serial(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = |c: char| c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '$' | '`');
    let placeholder = PLACEHOLDERS.iter().any(|p| text.eq_ignore_ascii_case(p));
    (!text.is_empty() && text.len() <= MAX_SERIAL && text.chars().all(plain) && !placeholder)
        .then(|| text.to_owned())
}

/// Whether two system UUIDs name the same machine.
///
/// SMBIOS 2.6 says that the first three fields are little-endian; before, and in some firmware still, they were
/// big-endian. Boot loader and kernel may read the same table differently, so the swapped form counts as equal.
pub fn same_uuid(one: &str, other: &str) -> bool {
    match (Uuid::try_parse(one), Uuid::try_parse(other)) {
        (Ok(one), Ok(other)) => one == other || one.as_bytes() == &other.to_bytes_le(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_become_one_spelling() {
        for given in ["52:54:00:AB:cd:01", "52-54-00-ab-CD-01"] {
            assert_eq!(given.parse::<MacAddress>().unwrap().as_str(), "52:54:00:ab:cd:01");
        }
    }

    #[test]
    fn what_is_no_mac_address_is_refused() {
        for given in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:01:02",
            "52:54:00:ab:cd:0g",
            "+2:54:00:ab:cd:01",
            "52:54-00:ab:cd:01",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "${net0/mac}",
        ] {
            assert!(given.parse::<MacAddress>().is_err(), "{given}");
        }
    }

    #[test]
    fn placeholders_are_no_identity() {
        assert_eq!(parse_uuid("00000000-0000-0000-0000-000000000000"), None);
        assert_eq!(parse_uuid("FFFFFFFF-ffff-ffff-ffff-ffffffffffff"), None);
        assert_eq!(
            parse_uuid("4C4C4544-0042-3010-8052-B4C04F583133").as_deref(),
            Some("4c4c4544-0042-3010-8052-b4c04f583133")
        );
        assert_eq!(parse_serial("To be filled by O.E.M."), None);
        assert_eq!(parse_serial("  CZ3 21-4X/7 ").as_deref(), Some("CZ3 21-4X/7"));
        for bad in ["a\nboot", "${pwn}", "a\"b", "", "é", &"x".repeat(65)] {
            assert_eq!(parse_serial(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn byte_swapped_uuids_name_the_same_machine() {
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        assert!(same_uuid(uuid, uuid));
        assert!(same_uuid(uuid, "33221100-5544-7766-8899-aabbccddeeff"));
        assert!(!same_uuid(uuid, "33221100-5544-7766-8899-aabbccddeefe"));
        assert!(!same_uuid("", ""));
    }
}
