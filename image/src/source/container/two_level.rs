//! A table of tables, of which one at a time is held.

use super::layout::Tables;
use super::{ContainerError, Input};

/// Finds the entry of a block by way of its table.
#[derive(Debug)]
pub(super) struct TwoLevel {
    what: &'static str,
    /// Where the tables lie; 0 for none.
    directory: Vec<u64>,
    table_bytes: u64,
    entries: u64,
    decode: fn(&[u8]) -> Vec<u64>,
    loaded: Option<(u64, Vec<u64>)>,
}

/// How the tables of the second level look.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableForm {
    pub what: &'static str,
    pub entries: u64,
    pub entry_bytes: u64,
    pub decode: fn(&[u8]) -> Vec<u64>,
}

impl TwoLevel {
    /// Takes the places of all tables, and notes them in `tables`.
    pub fn new(
        input: &Input,
        directory: Vec<u64>,
        form: TableForm,
        tables: &mut Tables,
    ) -> Result<Self, ContainerError> {
        let table_bytes = form.entries * form.entry_bytes;
        for offset in directory.iter().filter(|offset| **offset != 0) {
            tables.add(input, form.what, *offset, table_bytes)?;
        }
        Ok(Self {
            what: form.what,
            directory,
            table_bytes,
            entries: form.entries,
            decode: form.decode,
            loaded: None,
        })
    }

    fn table_of(&self, block: u64) -> u64 {
        let at = usize::try_from(block / self.entries).expect("an index of the directory");
        self.directory[at]
    }

    /// The entry of a block; 0 where there is no table.
    pub fn entry(&mut self, input: &Input, block: u64) -> Result<u64, ContainerError> {
        let number = block / self.entries;
        let offset = self.table_of(block);
        if offset == 0 {
            return Ok(0);
        }
        let table = match &mut self.loaded {
            Some((loaded, table)) if *loaded == number => table,
            loaded => {
                let bytes = input.table(self.what, offset, self.table_bytes)?;
                &mut loaded.insert((number, (self.decode)(&bytes))).1
            }
        };
        Ok(table[usize::try_from(block % self.entries).expect("an index of the table")])
    }

    /// How many blocks from `block` on have no table, as far as one table would reach.
    pub fn absent_run(&self, block: u64) -> u64 {
        if self.table_of(block) == 0 {
            self.entries - block % self.entries
        } else {
            0
        }
    }
}
