//! Microsoft's VHD: a raw disk with a footer (fixed), or blocks with a bitmap each (dynamic).
//!
//! The size of the disk is the footer's current size, as Hyper-V and Azure have it, not what the geometry says.

mod dynamic;
mod footer;

use super::{BlockDisk, ImageSource, Input, Limits, SourceError};
use crate::source::RawFile;
use footer::{FOOTER_BYTES, Footer, Kind};

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    const WHAT: &str = "the footer";
    input.within(WHAT, 0, FOOTER_BYTES)?;
    let end = input.bytes - FOOTER_BYTES;
    let begin: [u8; 8] = input.header("the copy of the footer", 0)?;
    let last: [u8; FOOTER_BYTES as usize] = input.header(WHAT, end)?;
    if !footer::has_cookie(&last) {
        // Only the copy at the beginning led here: the end is missing.
        input.within(WHAT, input.bytes, FOOTER_BYTES)?;
    }
    let footer = Footer::parse(&input, &last)?;
    limits.admit(footer.disk_bytes)?;
    let is_fixed = footer.kind == Kind::Fixed;
    if is_fixed == footer::has_cookie(&begin) {
        // A fixed one is all data before the footer; the others have a copy of it there.
        return Err(input.bad_magic("the copy of the footer").into());
    }
    if is_fixed {
        input.within("the disk and its footer", footer.disk_bytes, FOOTER_BYTES)?;
        if footer.disk_bytes != end {
            let expected = format!("{end}, as long as the data is");
            return Ok(input.refuse("the disk's size", footer.disk_bytes, &expected)?);
        }
        let disk_bytes = footer.disk_bytes;
        return Ok(Box::new(RawFile::of_length(input.into_file(), disk_bytes)));
    }
    let copy: [u8; FOOTER_BYTES as usize] = input.header("the copy of the footer", 0)?;
    footer.agrees(&input, &Footer::parse(&input, &copy)?)?;
    let (map, tables, cut) = dynamic::read(&input, &footer)?;
    BlockDisk::open(input, map, tables, cut, limits)
}
