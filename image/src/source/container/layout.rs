//! Every part of the file has one owner.
//!
//! All tables are known when a file is opened; no two may overlap. Blocks of data may not lie in a table, and no two may
//! begin in the same stretch of a block's length, as blocks that do not overlap never do. So neither a cycle nor a
//! small file that pretends to be a huge one gets through.

use super::{ContainerError, Input};

/// Stretches that are kept track of: the bitmap of them takes 64 MiB.
const MAX_SLOTS: u64 = 512 << 20;

#[derive(Debug, Clone, Copy)]
struct Table {
    begin: u64,
    end: u64,
    what: &'static str,
}

/// Where the tables lie, before it is known that they do not overlap.
#[derive(Debug, Default)]
pub(super) struct Tables(Vec<Table>);

impl Tables {
    /// Takes note of a table, which must be in the file.
    pub fn add(
        &mut self,
        input: &Input,
        what: &'static str,
        begin: u64,
        bytes: u64,
    ) -> Result<(), ContainerError> {
        input.within(what, begin, bytes)?;
        if bytes > 0 {
            let end = begin + bytes;
            self.0.push(Table { begin, end, what });
        }
        Ok(())
    }
}

/// Who owns what.
#[derive(Debug)]
pub(super) struct Layout {
    /// In the order of the file.
    tables: Vec<Table>,
    block_bytes: u64,
    /// A bit for each stretch in which a block of data begins.
    taken: Vec<u64>,
}

impl Layout {
    /// Refuses tables that overlap.
    pub fn new(input: &Input, tables: Tables, block_bytes: u64) -> Result<Self, ContainerError> {
        let Tables(mut tables) = tables;
        tables.sort_unstable_by_key(|table| table.begin);
        for pair in tables.windows(2) {
            if pair[1].begin < pair[0].end {
                return Err(ContainerError::Overlap {
                    format: input.format,
                    what: pair[1].what,
                    offset: pair[1].begin,
                    other: pair[0].what,
                });
            }
        }
        let slots = input.bytes.div_ceil(block_bytes);
        if slots > MAX_SLOTS {
            return Err(ContainerError::TooManyBlocks {
                format: input.format,
                got: slots,
                limit: MAX_SLOTS,
            });
        }
        let words = usize::try_from(slots.div_ceil(64)).expect("bounded above");
        Ok(Self {
            tables,
            block_bytes,
            taken: vec![0; words],
        })
    }

    /// Takes a block, of which `bytes` belong to the disk.
    pub fn claim(&mut self, input: &Input, offset: u64, bytes: u64) -> Result<(), ContainerError> {
        const WHAT: &str = "a block of data";
        input.within(WHAT, offset, bytes)?;
        let overlap = |other| ContainerError::Overlap {
            format: input.format,
            what: WHAT,
            offset,
            other,
        };
        let next = self.tables.partition_point(|table| table.end <= offset);
        if let Some(table) = self.tables.get(next)
            && table.begin < offset + bytes
        {
            return Err(overlap(table.what));
        }
        let slot = offset / self.block_bytes;
        let word = &mut self.taken[usize::try_from(slot / 64).expect("an index of the bitmap")];
        let bit = 1 << (slot % 64);
        if *word & bit != 0 {
            return Err(overlap("another block of data"));
        }
        *word |= bit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Format;

    fn input(bytes: u64) -> Input {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        Input::new(file, Format::Vdi).unwrap()
    }

    #[test]
    fn tables_may_touch_but_not_overlap() {
        let input = input(4096);
        for (second, is_free) in [(1024, true), (1023, false), (0, false), (512, false)] {
            let mut tables = Tables::default();
            tables.add(&input, "the first", 512, 512).unwrap();
            tables.add(&input, "nothing", 600, 0).unwrap();
            tables.add(&input, "the second", second, 600).unwrap();
            assert_eq!(Layout::new(&input, tables, 512).is_ok(), is_free, "{second}");
        }
        let mut tables = Tables::default();
        assert!(tables.add(&input, "the tail", 4000, 97).is_err());
        assert!(tables.add(&input, "nowhere", u64::MAX, 2).is_err());
    }

    #[test]
    fn a_block_has_one_owner_and_lies_in_no_table() {
        let input = input(64 << 10);
        let mut tables = Tables::default();
        tables.add(&input, "a table", 8192, 100).unwrap();
        tables.add(&input, "the header", 0, 512).unwrap();
        let mut layout = Layout::new(&input, tables, 4096).unwrap();
        for (offset, bytes, is_free) in [
            (512, 4096, true),
            (512, 4096, false),
            (511, 4096, false),
            (8291, 1, false),
            (5000, 4096, false),
            (8292, 4096, true),
            (61_440, 4097, false),
            (61_440, 4096, true),
            (u64::MAX, 4096, false),
        ] {
            assert_eq!(layout.claim(&input, offset, bytes).is_ok(), is_free, "{offset}");
        }
    }
}
