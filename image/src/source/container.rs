//! Disks cut into blocks, which a file keeps in any order and finds by tables: VMDK, VHD, VHDX, VDI, QED and the first
//! QCOW. Read in disk order, from one file.
//!
//! A format parses its header and tables into a [`BlockMap`]; [`BlockDisk`] does the rest for all of them. The file is
//! untrusted: what would make it depend on other files or keys is refused by name, every offset is checked against the
//! file's length, every table is bounded, and every part of the file has one owner ([`layout`]).

mod error;
mod inflate;
mod input;
mod layout;
mod qcow;
mod qed;
mod two_level;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

pub use error::ContainerError;
use input::Input;
use layout::{Layout, Tables};

use super::ratio::RatioGuard;
use super::{Format, ImageSource, Limits, SourceError};
use crate::CHUNK_BYTES;

/// Opens a file that was found to be of one of these formats.
pub(super) fn open(file: File, format: Format, limits: &Limits) -> Result<Box<dyn ImageSource>, SourceError> {
    let input = Input::new(file, format)?;
    match format {
        Format::Qcow => qcow::open(input, limits),
        Format::Qed => qed::open(input, limits),
        Format::Vdi => vdi::open(input, limits),
        Format::Vhd => vhd::open(input, limits),
        Format::Vhdx => vhdx::open(input, limits),
        Format::Vmdk => vmdk::open(input, limits),
        other => Err(SourceError::unsupported(other)),
    }
}

/// Where a block of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Zero,
    /// As it is, at an offset in the file.
    Data(u64),
    /// At an offset in the file, with parts that read as zeros whatever lies there.
    Masked(u64),
    /// Compressed.
    Packed {
        offset: u64,
        bytes: u64,
    },
}

/// What the tables of a file say. Asked only for blocks of the disk.
trait BlockMap: Send + fmt::Debug {
    fn place(&mut self, input: &Input, block: u64) -> Result<Place, ContainerError>;

    /// How many blocks from `block` on are known to be zero without a look at a table of theirs.
    fn absent_run(&self, _block: u64) -> u64 {
        0
    }

    /// The content of a block that is masked or packed: as many bytes of it as `plain` has.
    fn build(
        &mut self,
        _input: &Input,
        _block: u64,
        _place: Place,
        _plain: &mut [u8],
    ) -> Result<(), ContainerError> {
        unreachable!("only for maps that answer with masked or packed blocks")
    }
}

/// A disk that can be read from its first byte to its last.
#[derive(Debug)]
struct BlockDisk<M> {
    input: Input,
    map: M,
    layout: Layout,
    disk_bytes: u64,
    block_bytes: u64,
    /// Blocks below this one have been claimed.
    claimed_below: u64,
    /// The block that was built last, and its content.
    built: Option<(u64, Vec<u8>)>,
    guard: RatioGuard,
    position: u64,
}

/// How the disk is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    disk_bytes: u64,
    block_bytes: u64,
}

impl Cut {
    fn blocks(self) -> u64 {
        self.disk_bytes.div_ceil(self.block_bytes)
    }
}

impl<M: BlockMap + 'static> BlockDisk<M> {
    /// The disk of a file whose `tables` have been read into `map`.
    fn open(
        input: Input,
        map: M,
        tables: Tables,
        cut: Cut,
        limits: &Limits,
    ) -> Result<Box<dyn ImageSource>, SourceError> {
        let layout = Layout::new(&input, tables, cut.block_bytes)?;
        Ok(Box::new(Self {
            input,
            map,
            layout,
            disk_bytes: cut.disk_bytes,
            block_bytes: cut.block_bytes,
            claimed_below: 0,
            built: None,
            guard: RatioGuard::new(limits.max_ratio),
            position: 0,
        }))
    }

    /// Bytes of a block that belong to the disk: all but those behind its end.
    fn used_bytes(&self, block: u64) -> u64 {
        self.block_bytes.min(self.disk_bytes - block * self.block_bytes)
    }

    fn claim(&mut self, block: u64, offset: u64) -> Result<(), ContainerError> {
        if block >= self.claimed_below {
            // What is behind the end of the disk need not be in the file.
            self.layout.claim(&self.input, offset, self.used_bytes(block))?;
            self.claimed_below = block + 1;
        }
        Ok(())
    }

    /// How many bytes from the beginning of `block` on are one piece, as far as somebody wants them. Neighbours on
    /// the disk that are neighbours in the file too are one piece, and so are zeros.
    fn piece_bytes(&mut self, block: u64, place: Place, wanted: u64) -> u64 {
        let mut bytes = self.used_bytes(block);
        if matches!(place, Place::Masked(_) | Place::Packed { .. }) {
            return bytes;
        }
        let mut next = block + 1;
        while bytes < wanted && next * self.block_bytes < self.disk_bytes {
            let follower = match place {
                Place::Data(offset) => Place::Data(offset + (next - block) * self.block_bytes),
                other => other,
            };
            // What is wrong with a block is told when the reader comes to it.
            let follows = self
                .map
                .place(&self.input, next)
                .is_ok_and(|place| place == follower)
                && match follower {
                    Place::Data(offset) => self.claim(next, offset).is_ok(),
                    _ => true,
                };
            if !follows {
                break;
            }
            bytes += self.used_bytes(next);
            next += 1;
        }
        bytes
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize, SourceError> {
        let block = self.position / self.block_bytes;
        let skip = self.position % self.block_bytes;
        let place = self.map.place(&self.input, block)?;
        if let Place::Data(offset) | Place::Masked(offset) = place {
            self.claim(block, offset)?;
        }
        let wanted = skip + out.len() as u64;
        let bytes = self.piece_bytes(block, place, wanted).min(wanted) - skip;
        let now = usize::try_from(bytes).expect("not more than is wanted");
        let out = &mut out[..now];
        match place {
            Place::Zero => out.fill(0),
            Place::Data(offset) => self.input.read("a block of data", offset + skip, out)?,
            Place::Masked(_) | Place::Packed { .. } => {
                let skip = usize::try_from(skip).expect("built blocks are small");
                out.copy_from_slice(&self.build(block, place)?[skip..skip + now]);
            }
        }
        Ok(now)
    }

    fn build(&mut self, block: u64, place: Place) -> Result<&[u8], SourceError> {
        if self.built.as_ref().is_none_or(|(held, _)| *held != block) {
            let mut plain = self.built.take().map(|(_, plain)| plain).unwrap_or_default();
            plain.resize(
                usize::try_from(self.used_bytes(block)).expect("built blocks are small"),
                0,
            );
            self.map.build(&self.input, block, place, &mut plain)?;
            self.guard.admit(&plain, self.input.bytes)?;
            self.built = Some((block, plain));
        }
        let (_, plain) = self.built.as_ref().expect("it was put there above");
        Ok(plain)
    }

    fn skip(&mut self) -> Result<u64, ContainerError> {
        let mut end = self.position;
        while end < self.disk_bytes {
            let block = end / self.block_bytes;
            let run = match self.map.absent_run(block) {
                0 if self.map.place(&self.input, block)? == Place::Zero => 1,
                0 => break,
                run => run,
            };
            end = (block + run).saturating_mul(self.block_bytes);
        }
        if end >= self.disk_bytes {
            end = self.disk_bytes;
        } else {
            end -= end % u64::from(CHUNK_BYTES);
        }
        let skipped = end.saturating_sub(self.position);
        self.position += skipped;
        Ok(skipped)
    }
}

impl<M: BlockMap + 'static> Read for BlockDisk<M> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.disk_bytes || out.is_empty() {
            return Ok(0);
        }
        let now = self.read_some(out).map_err(SourceError::into_io)?;
        self.position += now as u64;
        Ok(now)
    }
}

impl<M: BlockMap + 'static> ImageSource for BlockDisk<M> {
    fn disk_size_bytes(&self) -> Option<u64> {
        Some(self.disk_bytes)
    }

    fn skip_zeros(&mut self) -> io::Result<u64> {
        self.skip().map_err(|error| SourceError::from(error).into_io())
    }
}
