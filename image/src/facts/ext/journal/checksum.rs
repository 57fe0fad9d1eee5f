//! The checksums of a journal.

use crc::{Algorithm, CRC_32_ISCSI, CRC_32_MPEG_2, Crc, Digest};

use crate::numbers::be32;

/// As the kernel has it: without the inversion at the end, so that one goes on where another ended.
const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&Algorithm {
    xorout: 0,
    ..CRC_32_ISCSI
});
const OF_TRANSACTIONS: Crc<u32> = Crc::<u32>::new(&CRC_32_MPEG_2);
/// Where a commit has its checksum.
const COMMIT_AT: usize = 0x10;
const CRC32: [u8; 2] = [1, 4];

/// Which checksums a journal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Checksums {
    #[default]
    None,
    /// The first kind: one for all of a transaction.
    OfTransactions,
    /// The second: one for each block, of which half is kept for copies.
    Short,
    /// The third: one for each block.
    Full,
}

impl Checksums {
    pub fn of_blocks(self) -> bool {
        matches!(self, Self::Short | Self::Full)
    }
}

/// Goes on from `sum` over all `parts`.
pub(super) fn crc32c(sum: u32, parts: &[&[u8]]) -> u32 {
    // The library takes the beginning in the other order of bits.
    let mut digest = CASTAGNOLI.digest_with_initial(sum.reverse_bits());
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// What the checksums of one journal begin with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seed {
    kind: Checksums,
    sum: u32,
}

impl Seed {
    pub fn new(kind: Checksums, uuid: &[u8]) -> Self {
        Self {
            kind,
            sum: crc32c(u32::MAX, &[uuid]),
        }
    }

    /// Whether copies have to be read for their checksums.
    pub fn covers_data(&self) -> bool {
        self.kind != Checksums::None
    }

    /// A list, whose checksum is at its end.
    pub fn fits_block(&self, block: &[u8]) -> bool {
        self.fits(block, block.len() - 4)
    }

    fn fits(&self, block: &[u8], at: usize) -> bool {
        !self.kind.of_blocks()
            || crc32c(self.sum, &[&block[..at], &[0; 4], &block[at + 4..]]) == be32(block, at)
    }

    /// A commit, with the sum of its transaction.
    pub fn fits_commit(&self, block: &[u8], transaction: &Sum) -> bool {
        match &transaction.0 {
            None => self.fits(block, COMMIT_AT),
            Some(digest) => {
                let said = be32(block, COMMIT_AT);
                // A journal may hold transactions from before it had checksums.
                let has_none = block[0xC..0xE] == [0, 0] && said == 0;
                has_none || (block[0xC..0xE] == CRC32 && said == digest.clone().finalize())
            }
        }
    }

    /// A copy of a block.
    pub fn fits_data(&self, data: &[u8], sequence: u32, said: u32) -> bool {
        let sum = || crc32c(self.sum, &[&sequence.to_be_bytes(), data]);
        match self.kind {
            Checksums::None | Checksums::OfTransactions => true,
            Checksums::Short => sum() & 0xFFFF == said,
            Checksums::Full => sum() == said,
        }
    }

    /// Begins the sum of a transaction.
    pub fn transaction(&self) -> Sum {
        Sum((self.kind == Checksums::OfTransactions).then(|| OF_TRANSACTIONS.digest()))
    }
}

/// The sum over all blocks of a transaction, for the first kind of checksums.
#[derive(Clone)]
pub(super) struct Sum(Option<Digest<'static, u32>>);

impl Sum {
    pub fn add(&mut self, block: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(block);
        }
    }
}
