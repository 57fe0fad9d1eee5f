//! Memory modules (type 17).

use imprint_proto::agent::v1::MemoryModule;

use super::table::Structure;

/// Most sockets that are taken.
pub(super) const MAX_MODULES: usize = 256;

/// A socket and what is in it. Flash chips of the firmware, which some tables list too, are no memory.
pub(super) fn module(part: &Structure<'_>) -> Option<MemoryModule> {
    let kind = part.byte(0x12).unwrap_or_default();
    if FLASH.contains(&kind) {
        return None;
    }
    let size_bytes = size(part);
    // What an empty socket says of its module ("NO DIMM", "Unknown") is no fact.
    let of_module = |at: usize| {
        if size_bytes == 0 {
            String::new()
        } else {
            part.text(at)
        }
    };
    Some(MemoryModule {
        slot: part.text(0x10),
        size_bytes,
        kind: if size_bytes == 0 {
            String::new()
        } else {
            name(kind).to_owned()
        },
        speed_mts: if size_bytes == 0 { 0 } else { speed(part) },
        manufacturer: of_module(0x17),
        part: of_module(0x1A),
        serial: of_module(0x18),
    })
}

/// EEPROM, flash and EPROM.
const FLASH: [u8; 3] = [0x08, 0x09, 0x0A];

/// In KiB or MiB by the highest bit; 32 GiB and more stand in a field of their own. 0 is an empty socket.
fn size(part: &Structure<'_>) -> u64 {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match part.word(0x0C).unwrap_or_default() {
        0 | 0xFFFF => 0,
        0x7FFF => u64::from(part.double_word(0x1C).unwrap_or_default() & 0x7FFF_FFFF).saturating_mul(MIB),
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7FFF) * KIB,
        mib => u64::from(mib) * MIB,
    }
}

/// The configured speed, else the module's own; with a field of its own for what needs more than 16 bits.
fn speed(part: &Structure<'_>) -> u32 {
    let field = |short: usize, long: usize| match part.word(short).unwrap_or_default() {
        0xFFFF => part.double_word(long).unwrap_or_default() & 0x7FFF_FFFF,
        speed => u32::from(speed),
    };
    match field(0x20, 0x58) {
        0 => field(0x15, 0x54),
        configured => configured,
    }
}

fn name(kind: u8) -> &'static str {
    match kind {
        0x07 => "RAM",
        0x0F => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1A => "DDR4",
        0x1D => "LPDDR3",
        0x1E => "LPDDR4",
        0x1F => "NVDIMM",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => "",
    }
}
