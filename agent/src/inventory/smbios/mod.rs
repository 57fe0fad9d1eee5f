//! What the firmware tells in its SMBIOS tables (`/sys/firmware/dmi/tables`), types 0 to 4, 17, 38 and 42.
//!
//! The reader is our own: the crates for it trust the lengths that firmware gives, and read past the end of a table that
//! is shorter than it says.

use std::{net::IpAddr, path::Path};

use imprint_proto::agent::v1::MemoryModule;

use super::sysfs;

mod host_interface;
mod memory;
mod table;
#[cfg(test)]
mod tests;

use table::Structure;

/// Addresses of Redfish after which no further interface is read.
const MAX_SERVICES: usize = 16;

/// What the tables tell. Empty texts and lists where they tell nothing.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Smbios {
    /// Type 0: maker, version and day of the firmware.
    pub(super) firmware: [String; 3],
    /// Type 1: maker, product, serial number, number of the order, family.
    pub(super) system: [String; 5],
    /// Type 1, in lower case.
    pub(super) uuid: String,
    /// Type 2 of the first board: maker, product, serial number.
    pub(super) board: [String; 3],
    /// Type 3: form, serial number, asset tag.
    pub(super) chassis: [String; 3],
    /// Type 4 of the first socket with a processor: maker, version.
    pub(super) processor: [String; 2],
    /// Type 4: sockets that hold a processor.
    pub(super) sockets: u32,
    /// Type 17.
    pub(super) modules: Vec<MemoryModule>,
    /// Type 38: there is a management controller that speaks IPMI.
    pub(super) ipmi: bool,
    /// Type 42: addresses at which the management controller serves Redfish to this machine.
    pub(super) redfish: Vec<IpAddr>,
}

/// Reads the tables below a root folder; empty facts where there are none.
pub(super) fn read(root: &Path) -> Smbios {
    let folder = root.join("sys/firmware/dmi/tables");
    let table = sysfs::bytes(folder.join("DMI")).unwrap_or_default();
    let entry = sysfs::bytes(folder.join("smbios_entry_point")).unwrap_or_default();
    parse(&table, version(&entry))
}

/// Major and minor number of the specification, from the entry point.
fn version(entry: &[u8]) -> (u8, u8) {
    let at = match entry {
        [b'_', b'S', b'M', b'3', b'_', ..] => 7,
        [b'_', b'S', b'M', b'_', ..] => 6,
        _ => return (0, 0),
    };
    match entry.get(at..at + 2) {
        Some(&[major, minor]) => (major, minor),
        _ => (0, 0),
    }
}

fn parse(table: &[u8], version: (u8, u8)) -> Smbios {
    let mut found = Smbios::default();
    let (mut system, mut board, mut chassis) = (false, false, false);
    for part in table::structures(table) {
        match part.kind {
            0 => {
                found.firmware = [part.text(4), part.text(5), part.text(8)];
            }
            1 if !system => {
                system = true;
                found.system = [4, 5, 7, 0x19, 0x1A].map(|at| part.text(at));
                found.uuid = uuid(&part, version);
            }
            2 if !board => {
                board = true;
                found.board = [4, 5, 7].map(|at| part.text(at));
            }
            3 if !chassis => {
                chassis = true;
                let form = part.byte(5).map_or("", form);
                found.chassis = [form.to_owned(), part.text(7), part.text(8)];
            }
            4 if is_populated_processor(&part) => {
                if found.sockets == 0 {
                    found.processor = [part.text(7), part.text(0x10)];
                }
                found.sockets += 1;
            }
            17 if found.modules.len() < memory::MAX_MODULES => found.modules.extend(memory::module(&part)),
            38 => found.ipmi = true,
            42 if found.redfish.len() < MAX_SERVICES => found.redfish.extend(host_interface::redfish(&part)),
            _ => {}
        }
    }
    found
}

/// A central processor (type 3) in a socket that is populated (bit 6 of its status).
fn is_populated_processor(part: &Structure<'_>) -> bool {
    part.byte(5) == Some(3) && part.byte(0x18).is_some_and(|status| status & 0x40 != 0)
}

/// The first three fields are little-endian since 2.6. All zeroes and all ones say that there is none.
fn uuid(part: &Structure<'_>, version: (u8, u8)) -> String {
    let bytes: Option<[u8; 16]> = part.bytes(8, 16).and_then(|bytes| bytes.try_into().ok());
    match bytes {
        Some(bytes) if bytes != [0; 16] && bytes != [0xFF; 16] => {
            let uuid = if version >= (2, 6) {
                uuid::Uuid::from_bytes_le(bytes)
            } else {
                uuid::Uuid::from_bytes(bytes)
            };
            uuid.to_string()
        }
        _ => String::new(),
    }
}

/// Names of forms of chassis that servers have; the highest bit is that of a lock.
pub(super) fn form(kind: u8) -> &'static str {
    match kind & 0x7F {
        3 => "desktop",
        4 => "low-profile-desktop",
        6 => "mini-tower",
        7 => "tower",
        8 | 9 | 10 | 14 => "portable",
        0x11 => "main-server",
        0x17 => "rack-mount",
        0x19 => "multi-system",
        0x1C => "blade",
        0x1D => "blade-enclosure",
        0x23 => "mini-pc",
        1 => "other",
        _ => "",
    }
}

/// `MM/DD/YYYY`, which the specification asks for, as `YYYY-MM-DD`; anything else as it is.
pub(super) fn date(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').collect();
    let digits =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [month, day, year] if digits(month, 2) && digits(day, 2) && digits(year, 4) => {
            format!("{year}-{month}-{day}")
        }
        _ => text.to_owned(),
    }
}
