//! QEMU's QED: two levels of tables, as in qcow2, and nothing else.

use super::two_level::{TableForm, TwoLevel};
use super::{
    BlockDisk, BlockMap, ContainerError, Cut, ImageSource, Input, Limits, Place, SourceError, Tables,
};
use crate::numbers::{le32, le64, le64_table};

const HEADER_BYTES: usize = 64;
const MIN_CLUSTER_BYTES: u64 = 4 << 10;
const MAX_CLUSTER_BYTES: u64 = 64 << 20;
const MAX_TABLE_CLUSTERS: u64 = 16;

const BACKING_FILE: u64 = 1;
const NEED_CHECK: u64 = 1 << 1;
/// Says only how the backing file is to be opened.
const BACKING_RAW: u64 = 1 << 2;
/// The entry of a cluster that reads as zeros.
const ZERO: u64 = 1;

#[derive(Debug)]
struct Qed {
    tables: TwoLevel,
    cluster_bytes: u64,
}

pub(super) fn open(input: Input, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    const WHAT: &str = "the header";
    let header: [u8; HEADER_BYTES] = input.header(WHAT, 0)?;
    if &header[..4] != b"QED\0" {
        return Err(input.bad_magic(WHAT).into());
    }
    refuse_dependence(&input, &header)?;
    let cluster_bytes = u64::from(le32(&header, 4));
    input.power_of_two(
        "the cluster size",
        cluster_bytes,
        MIN_CLUSTER_BYTES..=MAX_CLUSTER_BYTES,
    )?;
    let table_clusters = u64::from(le32(&header, 8));
    input.power_of_two("the clusters of a table", table_clusters, 1..=MAX_TABLE_CLUSTERS)?;
    let cut = Cut {
        disk_bytes: le64(&header, 48),
        block_bytes: cluster_bytes,
    };
    limits.admit(cut.disk_bytes)?;
    let header_bytes = u64::from(le32(&header, 12)) * cluster_bytes;
    if header_bytes == 0 {
        return Ok(input.refuse("the clusters of the header", 0, "at least 1")?);
    }
    let entries = table_clusters * cluster_bytes / 8;
    let needed = cut.blocks().div_ceil(entries);
    if needed > entries {
        let expected = format!("at most {} with these tables", entries * entries * cluster_bytes);
        return Ok(input.refuse("the disk's size", cut.disk_bytes, &expected)?);
    }
    let l1_offset = le64(&header, 40);
    aligned(&input, "the L1 table", l1_offset, cluster_bytes)?;
    let mut tables = Tables::default();
    tables.add(&input, WHAT, 0, header_bytes)?;
    tables.add(&input, "the L1 table", l1_offset, entries * 8)?;
    let l1 = le64_table(&input.table("the L1 table", l1_offset, needed * 8)?);
    for offset in &l1 {
        aligned(&input, "an L2 table", *offset, cluster_bytes)?;
    }
    let form = TableForm {
        what: "an L2 table",
        entries,
        entry_bytes: 8,
        decode: le64_table,
    };
    let map = Qed {
        tables: TwoLevel::new(&input, l1, form, &mut tables)?,
        cluster_bytes,
    };
    BlockDisk::open(input, map, tables, cut, limits)
}

fn refuse_dependence(input: &Input, header: &[u8; HEADER_BYTES]) -> Result<(), ContainerError> {
    let features = le64(header, 16);
    if features & BACKING_FILE != 0 {
        return Err(input.backing_file(le32(header, 56).into(), le32(header, 60)));
    }
    if features & NEED_CHECK != 0 {
        return Err(ContainerError::NotClosed {
            format: input.format,
            why: "it is marked to be checked",
            repair: "qemu-img check -r all FILE",
        });
    }
    let unknown = features & !BACKING_RAW;
    if unknown != 0 {
        return Err(ContainerError::Feature {
            format: input.format,
            what: "bits",
            name: format!("{unknown:#x}"),
        });
    }
    Ok(())
}

fn aligned(input: &Input, what: &'static str, offset: u64, cluster_bytes: u64) -> Result<(), ContainerError> {
    if offset.is_multiple_of(cluster_bytes) {
        Ok(())
    } else {
        Err(input.bad_entry(what, offset, "which is not the beginning of a cluster"))
    }
}

impl BlockMap for Qed {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError> {
        match self.tables.entry(input, block)? {
            0 | ZERO => Ok(Place::Zero),
            offset => {
                aligned(input, "an L2 table", offset, self.cluster_bytes)?;
                Ok(Place::Data(offset))
            }
        }
    }

    fn absent_run(&self, block: u64) -> u64 {
        self.tables.absent_run(block)
    }
}
