//! What the journal of ext3 or ext4 holds that is not in its place yet.
//!
//! An image of a running system has the newest changes of its structures in the journal alone. They are found as the
//! kernel finds them when it mounts (its documentation, fs/ext4: "Journal (jbd2)"), and kept as a map from blocks to
//! places in the journal; nothing is written. What the kernel would stop at, and what cannot be told for certain, is a
//! fault: the file system stays unknown.

mod checksum;
mod log;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;

use self::checksum::Seed;
use self::log::{Header, Kind, Superblock, Tag};
use super::Ext;
use crate::facts::fault::Fault;
use crate::facts::volume::Node;
use crate::numbers::{le16, le32};

/// Longest journal that is read. The tools make none of more than 262,144 blocks.
const MAX_BLOCKS: u64 = 512 << 10;
/// Most blocks that all transactions together may revoke.
const MAX_REVOKED: usize = 1 << 20;

/// In front of the fast commits that belong to the next transaction.
const FAST_COMMIT_HEAD: u16 = 9;

/// Blocks whose newest content lies in the journal.
#[derive(Debug, Default)]
pub(super) struct Overlay(HashMap<u64, Copied>);

/// Where the content of a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    pub block: u64,
    /// It begins with what would look like a block of the journal, which was replaced by zeros.
    pub escaped: bool,
}

impl Overlay {
    pub fn get(&self, block: u64) -> Option<Copied> {
        self.0.get(&block).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a block of the journal begins with.
pub(super) const ESCAPED: [u8; 4] = log::MAGIC.to_be_bytes();

/// Reads the journal in `inode`. Nothing of `ext` is replayed before.
pub(super) fn replay(ext: &Ext<'_>, inode: u32) -> Result<Overlay, Fault> {
    let journal = Journal::open(ext, inode)?;
    if journal.superblock.start == 0 {
        return Ok(Overlay::default());
    }
    let transactions = journal.scan()?;
    let mut revoked: HashMap<u64, u32> = HashMap::new();
    for transaction in &transactions {
        for block in &transaction.revoked {
            // They come in order, so the last one counts.
            revoked.insert(*block, transaction.sequence);
        }
    }
    let mut overlay = Overlay::default();
    for transaction in transactions {
        for (block, copied) in transaction.copies {
            let stands = revoked
                .get(&block)
                .is_none_or(|until| is_later(transaction.sequence, *until));
            if stands {
                overlay.0.insert(block, copied);
            }
        }
    }
    Ok(overlay)
}

/// Whether one sequence number comes after another; they wrap.
fn is_later(sequence: u32, other: u32) -> bool {
    sequence.wrapping_sub(other).cast_signed() > 0
}

/// One transaction, as far as it was read.
#[derive(Debug)]
struct Transaction {
    sequence: u32,
    copies: Vec<(u64, Copied)>,
    revoked: Vec<u64>,
    /// Why it must not have been committed. A part that was not written whole is no fault without the commit.
    doubt: Option<String>,
}

impl Transaction {
    fn new(sequence: u32) -> Self {
        Self {
            sequence,
            copies: Vec::new(),
            revoked: Vec::new(),
            doubt: None,
        }
    }

    fn doubt(&mut self, why: impl Into<String>) {
        self.doubt.get_or_insert(why.into());
    }
}

/// A journal that is being read.
#[derive(Debug)]
struct Journal<'a, 'b> {
    ext: &'b Ext<'a>,
    inode: Node,
    superblock: Superblock,
    seed: Seed,
    /// The run of blocks that was found last: where it begins in the journal and on the disk, and its length.
    run: Cell<(u64, u64, u64)>,
}

impl<'a, 'b> Journal<'a, 'b> {
    fn open(ext: &'b Ext<'a>, inode: u32) -> Result<Self, Fault> {
        if inode == 0 {
            return Err(Fault::unsupported("the journal is not in the file system"));
        }
        let inode = ext.inode(inode)?;
        let mut journal = Self {
            ext,
            inode,
            superblock: Superblock::default(),
            seed: Seed::default(),
            run: Cell::new((0, 0, 0)),
        };
        let (_, first) = journal.read(0)?;
        let superblock = Superblock::parse(&first, ext.block_bytes)?;
        let blocks = journal.inode.size / ext.block_bytes;
        if superblock.blocks > blocks {
            return Err(Fault::damaged("the journal is longer than its file"));
        }
        if superblock.blocks > MAX_BLOCKS {
            return Err(Fault::limit(format!("a journal of {} blocks", superblock.blocks)));
        }
        journal.seed = Seed::new(superblock.checksums, &superblock.uuid);
        journal.superblock = superblock;
        Ok(journal)
    }

    /// Where block `number` of the journal lies.
    fn locate(&self, number: u64) -> Result<u64, Fault> {
        let (first, block, length) = self.run.get();
        if let Some(within) = number.checked_sub(first)
            && within < length
        {
            return Ok(block + within);
        }
        let (Some(block), length) = self.ext.locate(&self.inode, number)? else {
            return Err(Fault::damaged("the journal has a hole"));
        };
        self.run.set((number, block, length));
        Ok(block)
    }

    /// Block `number` of the journal, and where it lies.
    fn read(&self, number: u64) -> Result<(u64, Vec<u8>), Fault> {
        let block = self.locate(number)?;
        Ok((block, self.ext.read_block(block)?))
    }

    /// All transactions that were committed, in order.
    fn scan(&self) -> Result<Vec<Transaction>, Fault> {
        let mut steps = Steps::new(&self.superblock);
        let mut committed = Vec::new();
        let mut revoked = 0;
        let mut open = Transaction::new(self.superblock.sequence);
        let mut sum = self.seed.transaction();
        loop {
            let (_, block) = self.read(steps.here())?;
            let header = Header::parse(&block).filter(|header| header.sequence == open.sequence);
            let Some(Header { kind, .. }) = header else { break };
            steps.step()?;
            match kind {
                Kind::Descriptor => {
                    if !self.seed.fits_block(&block) {
                        open.doubt("a list of blocks has a wrong checksum");
                    }
                    sum.add(&block);
                    for tag in log::tags(&block, &self.superblock) {
                        let copied = self.copy(&tag, &mut steps, &mut open, &mut |data| sum.add(data))?;
                        open.copies.push((tag.block, copied));
                    }
                }
                Kind::Revoke => {
                    if !self.seed.fits_block(&block) {
                        open.doubt("a list of revoked blocks has a wrong checksum");
                    }
                    match log::revoked(&block, &self.superblock) {
                        Some(blocks) => open.revoked.extend(blocks),
                        None => open.doubt("a list of revoked blocks is damaged"),
                    }
                    if revoked + open.revoked.len() > MAX_REVOKED {
                        return Err(Fault::limit(format!(
                            "a journal that revokes more than {MAX_REVOKED} blocks"
                        )));
                    }
                }
                Kind::Commit => {
                    if !self.seed.fits_commit(&block, &sum) {
                        open.doubt("it has a wrong checksum");
                    }
                    if let Some(why) = open.doubt {
                        return Err(Fault::damaged(format!(
                            "transaction {} of the journal: {why}",
                            open.sequence
                        )));
                    }
                    revoked += open.revoked.len();
                    let next = Transaction::new(open.sequence.wrapping_add(1));
                    committed.push(std::mem::replace(&mut open, next));
                    sum = self.seed.transaction();
                }
                Kind::Other => break,
            }
        }
        self.refuse_fast_commits(open.sequence)?;
        Ok(committed)
    }

    /// The copy that a tag tells of, which is the next block of the journal.
    fn copy(
        &self,
        tag: &Tag,
        steps: &mut Steps,
        open: &mut Transaction,
        sum: &mut dyn FnMut(&[u8]),
    ) -> Result<Copied, Fault> {
        let block = self.locate(steps.here())?;
        if self.seed.covers_data() {
            let data = self.ext.read_block(block)?;
            sum(&data);
            if !self.seed.fits_data(&data, open.sequence, tag.checksum) {
                open.doubt("the copy of a block has a wrong checksum");
            }
        }
        steps.step()?;
        if tag.is_odd {
            open.doubt("a block has flags that are not known");
        }
        if tag.block >= self.ext.part.size / self.ext.block_bytes {
            open.doubt("a block behind the end of the partition");
        }
        Ok(Copied {
            block,
            escaped: tag.escaped,
        })
    }

    /// Changes that were written in short after the last transaction are not replayed, so there must be none.
    fn refuse_fast_commits(&self, next: u32) -> Result<(), Fault> {
        let Some(first) = self.superblock.fast_commits else {
            return Ok(());
        };
        let (_, block) = self.read(first)?;
        if le16(&block, 0) == FAST_COMMIT_HEAD && le32(&block, 8) == next {
            return Err(Fault::unsupported("the journal holds fast commits"));
        }
        Ok(())
    }
}

/// The way through the journal, which goes on at its beginning when it comes to its end.
#[derive(Debug)]
struct Steps {
    here: u64,
    left: u64,
    first: u64,
    end: u64,
}

impl Steps {
    fn new(superblock: &Superblock) -> Self {
        Self {
            here: superblock.start,
            left: superblock.end - superblock.first,
            first: superblock.first,
            end: superblock.end,
        }
    }

    fn here(&self) -> u64 {
        self.here
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Fault::damaged("the journal has no end"))?;
        self.here += 1;
        if self.here == self.end {
            self.here = self.first;
        }
        Ok(())
    }
}
