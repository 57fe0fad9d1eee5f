//! VMware's VMDK in one file: monolithicSparse and streamOptimized.
//!
//! The descriptor inside of the file must describe a disk of one extent, this file itself. Its name is there too, and
//! is nothing but a name: no other file is ever opened. A descriptor alone, and anything else that leads to other
//! files, is refused.

mod descriptor;
mod header;

use super::inflate::{Inflater, Wrapper};
use super::two_level::{TableForm, TwoLevel};
use super::{
    BlockDisk, BlockMap, ContainerError, Cut, ImageSource, Input, Limits, Place, SourceError, Tables,
};
use crate::numbers::{le32, le32_table, le64};
use header::{HEADER_BYTES, Header, SECTOR_BYTES};

/// Of a grain in front of its compressed data: its place on the disk and its length.
const MARKER_BYTES: u64 = 12;
/// The entry of a grain that reads as zeros, where the header says that there are such.
const ZERO: u64 = 1;

#[derive(Debug)]
struct Vmdk {
    tables: TwoLevel,
    header: Header,
    inflater: Inflater,
}

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    let magic: [u8; 4] = input.header("the header", 0)?;
    match &magic {
        b"KDMV" => {}
        b"COWD" => {
            return Err(ContainerError::Kind {
                format: input.format,
                kind: "COWD, an extent of an ESX disk".to_owned(),
                expected: descriptor::KINDS_READ,
            }
            .into());
        }
        _ => return Err(descriptor::refuse_lone(&input)?.into()),
    }
    let header = Header::read(&input)?;
    descriptor::check(&input, &header)?;
    let cut = Cut {
        disk_bytes: header.disk_bytes,
        block_bytes: header.grain_bytes,
    };
    limits.admit(cut.disk_bytes)?;
    let mut tables = Tables::default();
    tables.add(&input, "the header", 0, HEADER_BYTES as u64)?;
    tables.add(
        &input,
        "the descriptor",
        header.descriptor_offset,
        header.descriptor_bytes,
    )?;
    let directory_bytes = cut.blocks().div_ceil(header.table_entries) * 4;
    tables.add(
        &input,
        "the grain directory",
        header.directory_offset,
        directory_bytes,
    )?;
    let directory = input.table("the grain directory", header.directory_offset, directory_bytes)?;
    let directory = le32_table(&directory)
        .into_iter()
        .map(|sector| sector * SECTOR_BYTES)
        .collect();
    let form = TableForm {
        what: "a grain table",
        entries: header.table_entries,
        entry_bytes: 4,
        decode: le32_table,
    };
    let map = Vmdk {
        tables: TwoLevel::new(&input, directory, form, &mut tables)?,
        header,
        inflater: Inflater::new(Wrapper::Zlib),
    };
    BlockDisk::open(input, map, tables, cut, limits)
}

impl BlockMap for Vmdk {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError> {
        let entry = self.tables.entry(input, block)?;
        let offset = entry * SECTOR_BYTES;
        Ok(if entry == 0 || entry == ZERO && self.header.has_zero_grains {
            Place::Zero
        } else if self.header.is_compressed {
            Place::Packed { offset, bytes: 0 }
        } else {
            Place::Data(offset)
        })
    }

    fn absent_run(&self, block: u64) -> u64 {
        self.tables.absent_run(block)
    }

    fn build(
        &mut self,
        input: &Input,
        block: u64,
        place: Place,
        plain: &mut [u8],
    ) -> Result<(), ContainerError> {
        let Place::Packed { offset, .. } = place else {
            unreachable!("no other grains are built");
        };
        let marker: [u8; MARKER_BYTES as usize] = input.header("a compressed grain", offset)?;
        let (sector, bytes) = (le64(&marker, 0), u64::from(le32(&marker, 8)));
        if sector != block * (self.header.grain_bytes / SECTOR_BYTES) {
            let why = "which leads to the grain of another place of the disk";
            return Err(input.bad_entry("a grain table", offset / SECTOR_BYTES, why));
        }
        if bytes == 0 || bytes > 2 * self.header.grain_bytes {
            return input.refuse("the length of a compressed grain", bytes, "1 to two grains");
        }
        self.inflater.inflate(input, offset + MARKER_BYTES, bytes, plain)
    }
}
