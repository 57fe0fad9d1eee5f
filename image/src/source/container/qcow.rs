//! The first QCOW: two levels of tables, clusters that may be compressed.

use super::inflate::{Inflater, Wrapper};
use super::two_level::{TableForm, TwoLevel};
use super::{
    BlockDisk, BlockMap, ContainerError, Cut, ImageSource, Input, Limits, Place, SourceError, Tables,
};
use crate::numbers::{be32, be64, be64_table};

const HEADER_BYTES: usize = 48;
const COMPRESSED: u64 = 1 << 63;

#[derive(Debug)]
struct Qcow {
    tables: TwoLevel,
    cluster_bits: u8,
    inflater: Inflater,
}

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    const WHAT: &str = "the header";
    let header: [u8; HEADER_BYTES] = input.header(WHAT, 0)?;
    if &header[..8] != b"QFI\xFB\0\0\0\x01" {
        return Err(input.bad_magic(WHAT).into());
    }
    refuse_dependence(&input, &header)?;
    let (cluster_bits, l2_bits) = (header[32], header[33]);
    if !(9..=16).contains(&cluster_bits) {
        return Ok(input.refuse("cluster_bits", cluster_bits.into(), "9 to 16")?);
    }
    if !(6..=13).contains(&l2_bits) {
        return Ok(input.refuse("l2_bits", l2_bits.into(), "6 to 13")?);
    }
    let cut = Cut {
        disk_bytes: be64(&header, 24),
        block_bytes: 1 << cluster_bits,
    };
    limits.admit(cut.disk_bytes)?;
    let entries = 1 << l2_bits;
    let l1_bytes = cut.blocks().div_ceil(entries) * 8;
    let l1_offset = be64(&header, 40);
    let mut tables = Tables::default();
    tables.add(&input, WHAT, 0, HEADER_BYTES as u64)?;
    tables.add(&input, "the L1 table", l1_offset, l1_bytes)?;
    let l1 = be64_table(&input.table("the L1 table", l1_offset, l1_bytes)?);
    let form = TableForm {
        what: "an L2 table",
        entries,
        entry_bytes: 8,
        decode: be64_table,
    };
    let map = Qcow {
        tables: TwoLevel::new(&input, l1, form, &mut tables)?,
        cluster_bits,
        inflater: Inflater::new(Wrapper::Deflate),
    };
    BlockDisk::open(input, map, tables, cut, limits)
}

fn refuse_dependence(input: &Input, header: &[u8; HEADER_BYTES]) -> Result<(), ContainerError> {
    let (offset, bytes) = (be64(header, 8), be32(header, 16));
    if offset != 0 {
        return Err(input.backing_file(offset, bytes));
    }
    match be32(header, 36) {
        0 => Ok(()),
        method => Err(ContainerError::Encrypted {
            format: input.format,
            method,
        }),
    }
}

impl BlockMap for Qcow {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError> {
        let entry = self.tables.entry(input, block)?;
        Ok(if entry == 0 {
            Place::Zero
        } else if entry & COMPRESSED == 0 {
            Place::Data(entry)
        } else {
            let offset_bits = 63 - u32::from(self.cluster_bits);
            Place::Packed {
                offset: entry & ((1 << offset_bits) - 1),
                // Less than a cluster: so many bits are left for it.
                bytes: (entry & !COMPRESSED) >> offset_bits,
            }
        })
    }

    fn absent_run(&self, block: u64) -> u64 {
        self.tables.absent_run(block)
    }

    fn build(
        &mut self,
        input: &Input,
        _block: u64,
        place: Place,
        plain: &mut [u8],
    ) -> Result<(), ContainerError> {
        match place {
            Place::Packed { offset, bytes } => self.inflater.inflate(input, offset, bytes, plain),
            _ => unreachable!("no other clusters are built"),
        }
    }
}
