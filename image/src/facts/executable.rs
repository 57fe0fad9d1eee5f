//! What the heads of programs say: PE of UEFI loaders, ELF of everything else.

use super::fault::Fault;
use super::tree::FileReader;
use crate::numbers::{le16, le32};

/// Sections are named in a table of at most this many.
const MAX_SECTIONS: usize = 96;
const SECTION_BYTES: usize = 40;
const SYMBOL_BYTES: u64 = 18;

/// The head of a PE program.
#[derive(Debug)]
pub(super) struct Pe {
    pub architecture: &'static str,
    /// Whether it has a certificate table that is not empty.
    pub signed: bool,
    /// The names of its sections.
    pub sections: Vec<String>,
}

/// Reads the head of `file`.
pub(super) fn read_pe(file: &mut FileReader<'_>) -> Result<Pe, Fault> {
    let not_pe = || Fault::damaged("it is no PE program");
    let mut head = vec![0; 4096];
    let got = file.read_at(0, &mut head)?;
    head.truncate(got);
    if head.len() < 64 || head[..2] != *b"MZ" {
        return Err(not_pe());
    }
    let at = u64::from(le32(&head, 0x3C));
    let mut head = vec![0; 24 + 240 + MAX_SECTIONS * SECTION_BYTES];
    let got = file.read_at(at, &mut head)?;
    head.truncate(got);
    if head.len() < 26 || head[..4] != *b"PE\0\0" {
        return Err(not_pe());
    }
    let sections = usize::from(le16(&head, 6)).min(MAX_SECTIONS);
    let (symbols_at, symbols) = (u64::from(le32(&head, 12)), u64::from(le32(&head, 16)));
    let optional_bytes = usize::from(le16(&head, 20));
    let optional = head.get(24..24 + optional_bytes).ok_or_else(not_pe)?;
    // The directories follow at another place in the 64-bit form; the fifth is the certificate table.
    let count_at = match optional.get(..2) {
        Some(b"\x0b\x02") => 108,
        Some(b"\x0b\x01") => 92,
        _ => return Err(not_pe()),
    };
    let entry = count_at + 4 + 4 * 8;
    let signed = optional.len() >= entry + 8 && le32(optional, count_at) > 4 && le32(optional, entry + 4) > 0;
    let table = head.get(24 + optional_bytes..).unwrap_or_default();
    let strings = (symbols_at > 0).then(|| symbols_at + symbols * SYMBOL_BYTES);
    let names = table.chunks_exact(SECTION_BYTES).take(sections);
    let sections = names
        .map(|section| section_name(file, &section[..8], strings))
        .collect::<Result<_, _>>()?;
    Ok(Pe {
        architecture: pe_machine(le16(&head, 4)),
        signed,
        sections,
    })
}

/// A name of more than eight letters is `/` and its place in the table of strings.
fn section_name(file: &mut FileReader<'_>, name: &[u8], strings: Option<u64>) -> Result<String, Fault> {
    let short = super::ext::text(name);
    let place = short
        .strip_prefix('/')
        .and_then(|place| place.parse::<u32>().ok());
    let (Some(place), Some(strings)) = (place, strings) else {
        return Ok(short);
    };
    let mut long = [0; 32];
    let got = file.read_at(strings + u64::from(place), &mut long)?;
    Ok(super::ext::text(&long[..got]))
}

fn pe_machine(machine: u16) -> &'static str {
    match machine {
        0x8664 => "x86_64",
        0xAA64 => "aarch64",
        0x014C => "i386",
        0x01C0 | 0x01C2 | 0x01C4 => "arm",
        0x5064 => "riscv64",
        0x6264 => "loongarch64",
        _ => "other",
    }
}

/// The machine that an ELF program is made for.
pub(super) fn read_elf(file: &mut FileReader<'_>) -> Result<&'static str, Fault> {
    let mut head = [0; 20];
    if file.read_at(0, &mut head)? < head.len() || head[..4] != *b"\x7FELF" {
        return Err(Fault::damaged("it is no ELF program"));
    }
    let machine = match head[5] {
        1 => le16(&head, 18),
        _ => le16(&head, 18).swap_bytes(),
    };
    Ok(match (machine, head[4], head[5]) {
        (62, _, _) => "x86_64",
        (183, _, _) => "aarch64",
        (3, _, _) => "i386",
        (40, _, _) => "arm",
        (243, 2, _) => "riscv64",
        (258, 2, _) => "loongarch64",
        (22, 2, _) => "s390x",
        (21, _, 1) => "ppc64le",
        (21, _, _) => "ppc64",
        _ => "other",
    })
}
