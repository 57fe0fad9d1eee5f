//! Where the tables of a file lie, for tests that spoil them.

use super::*;

/// The table that leads to the first blocks of data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spots {
    pub table: usize,
    pub entry_bytes: usize,
    pub big_endian: bool,
    pub absent: u64,
    /// An entry that leads to the table itself.
    pub own: Option<u64>,
    /// An entry that leads out of the file.
    pub far: u64,
    /// Where the table of tables lies, and an entry that leads to itself.
    pub directory: Option<(usize, u64)>,
}

impl Spots {
    pub fn of(format: Format, file: &[u8]) -> Self {
        let le32 = |at: usize| u64::from(u32::from_le_bytes(file[at..at + 4].try_into().unwrap()));
        let le64 = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
        let be64 = |at: usize| u64::from_be_bytes(file[at..at + 8].try_into().unwrap());
        let index = |offset: u64| usize::try_from(offset).unwrap();
        let spots = |table, entry_bytes, own, far| Self {
            table: index(table),
            entry_bytes,
            big_endian: false,
            absent: 0,
            own,
            far,
            directory: None,
        };
        match format {
            Format::Vmdk => {
                let directory = le64(56) * 512;
                let table = le32(index(directory));
                Self {
                    directory: Some((index(directory), directory / 512)),
                    ..spots(table * 512, 4, Some(table), 0x7FFF_FFFF)
                }
            }
            Format::Vhd => {
                let table = be64(512 + 16);
                Self {
                    big_endian: true,
                    absent: 0xFFFF_FFFF,
                    ..spots(table, 4, None, 0x7FFF_FFFF)
                }
            }
            Format::Vhdx => {
                let table = vhdx_region(file, &[0x66, 0x77, 0xC2, 0x2D]);
                spots(table, 8, Some(table | 6), 1 << 40 | 6)
            }
            Format::Vdi => Self {
                absent: 0xFFFF_FFFF,
                ..spots(le32(0x154), 4, None, 0x7FFF_FFFF)
            },
            Format::Qed => {
                let (directory, table) = (le64(40), le64(index(le64(40))));
                Self {
                    directory: Some((index(directory), directory)),
                    ..spots(table, 8, Some(table), 1 << 40)
                }
            }
            Format::Qcow => {
                let (directory, table) = (be64(40), be64(index(be64(40))));
                Self {
                    directory: Some((index(directory), directory)),
                    big_endian: true,
                    ..spots(table, 8, Some(table), 1 << 40)
                }
            }
            other => panic!("{other} has no such table"),
        }
    }

    pub fn entry(&self, file: &[u8], number: usize) -> u64 {
        let bytes = &file[self.table + number * self.entry_bytes..][..self.entry_bytes];
        let fold = |value, byte: &u8| value << 8 | u64::from(*byte);
        if self.big_endian {
            bytes.iter().fold(0, fold)
        } else {
            bytes.iter().rev().fold(0, fold)
        }
    }

    pub fn set(&self, file: &mut [u8], number: usize, entry: u64) {
        let bytes = &mut file[self.table + number * self.entry_bytes..][..self.entry_bytes];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let place = if self.big_endian {
                self.entry_bytes - 1 - at
            } else {
                at
            };
            *byte = entry.to_le_bytes()[place];
        }
    }

    /// The first two blocks that hold data.
    pub fn used(&self, file: &[u8]) -> [usize; 2] {
        let mut used = (0..).filter(|number| self.entry(file, *number) != self.absent);
        let first = used.next().expect("the table goes on");
        [first, used.next().expect("the table goes on")]
    }
}

/// Where a region of a VHDX begins, whose GUID begins so.
fn vhdx_region(file: &[u8], id: &[u8]) -> u64 {
    let table = &file[192 << 10..256 << 10];
    let at = table.windows(id.len()).position(|window| window == id).unwrap();
    u64::from_le_bytes(table[at + 16..at + 24].try_into().unwrap())
}

/// Where an item of the metadata of a VHDX lies, whose GUID begins so.
pub(super) fn vhdx_item(file: &[u8], id: &[u8]) -> usize {
    let region = usize::try_from(vhdx_region(file, &[0x06, 0xA2, 0x7C, 0x8B])).unwrap();
    let table = &file[region..region + (64 << 10)];
    let at = table.windows(id.len()).position(|window| window == id).unwrap();
    region + u32::from_le_bytes(table[at + 16..at + 20].try_into().unwrap()) as usize
}
