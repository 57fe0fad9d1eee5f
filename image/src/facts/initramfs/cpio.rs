//! The `newc` form of cpio, by which the kernel takes an initramfs.

use super::segment::{BufReadPeek, fault};
use crate::facts::fault::Fault;

const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const MAX_NAME_BYTES: u32 = 4096;
const MAX_ENTRIES: usize = 500_000;

/// Reads one archive, up to its trailer and no byte further, and gives the name of every entry that is no folder.
pub(super) fn read_archive(input: &mut dyn BufReadPeek, take: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    for _ in 0..MAX_ENTRIES {
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(fault)?;
        if !is_header(&header) {
            return Err(Fault::damaged("an archive with an entry that has no header"));
        }
        let mode = field(&header, 1)?;
        let size = field(&header, 6)?;
        let name_bytes = field(&header, 11)?;
        if name_bytes == 0 || name_bytes > MAX_NAME_BYTES {
            return Err(Fault::damaged("an archive with a name that is too long"));
        }
        let mut name = vec![0; name_bytes as usize];
        input.read_exact(&mut name).map_err(fault)?;
        skip(input, padding(HEADER_BYTES as u64 + u64::from(name_bytes)))?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let size = u64::from(size);
        if name == TRAILER {
            return skip(input, size + padding(size));
        }
        if mode & 0xF000 != 0x4000 {
            take(&name);
        }
        skip(input, size + padding(size))?;
    }
    Err(Fault::limit(format!(
        "an archive of more than {MAX_ENTRIES} entries"
    )))
}

/// Whether an archive begins so.
pub(super) fn is_header(head: &[u8]) -> bool {
    matches!(head.get(..6), Some(b"070701" | b"070702"))
}

/// One of the header's numbers, eight hexadecimal digits.
fn field(header: &[u8; HEADER_BYTES], number: usize) -> Result<u32, Fault> {
    let digits = &header[6 + number * 8..14 + number * 8];
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Fault::damaged("an archive with a header that is no number"))
}

/// What fills `length` up to a multiple of four. Archives begin at one, so this is the same from their start.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

fn skip(input: &mut dyn BufReadPeek, bytes: u64) -> Result<(), Fault> {
    let mut left = bytes;
    while left > 0 {
        let there = input.fill_buf().map_err(fault)?.len();
        if there == 0 {
            return Err(Fault::damaged("an archive that ends before its trailer"));
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        input.consume(now);
        left -= now as u64;
    }
    Ok(())
}
