//! Which blocks of a disk are read back: planned by a seed, so that the same places can be found again from a certificate.
//!
//! Both ends are samples. What lies between is cut into strata of equal size with one sample in each, somewhere in it, so
//! that no stretch of two strata goes unseen. All numbers come from SHA-256 over the seed (docs/wipe.md has the recipe).

use sha2::{Digest as _, Sha256};

use crate::target::END_BYTES;

/// What all places and planted patterns of one wipe come from.
pub type Seed = [u8; 32];

/// Places and lengths are multiples of this, or of the logical block of a disk where that is larger.
pub const UNIT_BYTES: u64 = 4096;
/// The longest sample.
pub const LONGEST_BYTES: u64 = 1 << 20;
/// Samples between the ends: one for each of so many bytes, ...
const STRATUM_BYTES: u64 = 1 << 30;
/// ... at least this many where there is room, ...
const FEWEST: u64 = 128;
/// ... and at most this many.
const MOST: u64 = 1024;

/// What is done with a sample before the wipe, where that can't be proven by zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of both ends: cleared in any case.
    End,
    /// What it holds is noted.
    Noted,
    /// A pattern is written there.
    Planted,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes; a multiple of the logical block.
    pub len: u64,
    /// What is done with it before.
    pub role: Role,
}

/// All samples, in ascending order; none overlaps another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePlan {
    seed: Seed,
    samples: Vec<Sample>,
    unit: u64,
}

impl SamplePlan {
    /// For a disk of `len` bytes with blocks of `block` bytes. A pure function: the same seed gives the same places.
    #[must_use]
    pub fn new(seed: Seed, len: u64, block: u64) -> Self {
        let unit = UNIT_BYTES.max(block);
        let mut samples = Vec::new();
        let head = END_BYTES.min(len);
        let tail = len.saturating_sub(END_BYTES).max(head);
        let mut end = |offset: u64, end: u64| {
            if end > offset {
                samples.push(Sample {
                    offset,
                    len: end - offset,
                    role: Role::End,
                });
            }
        };
        end(0, head);
        end(tail, len);
        let first = head.next_multiple_of(unit);
        let units = tail.saturating_sub(first) / unit;
        let count = (units * unit / STRATUM_BYTES).clamp(FEWEST, MOST).min(units);
        for index in 0..count {
            // Not wider by rounding: the last one ends before the tail.
            let width = units / count;
            let shift = random(&seed, b"size", index) % 9;
            let length = ((UNIT_BYTES << shift).min(LONGEST_BYTES) / unit).clamp(1, width);
            let place = random(&seed, b"place", index) % (width - length + 1);
            samples.push(Sample {
                offset: first + (index * width + place) * unit,
                len: length * unit,
                role: if index % 2 == 0 {
                    Role::Planted
                } else {
                    Role::Noted
                },
            });
        }
        samples.sort_by_key(|sample| sample.offset);
        SamplePlan { seed, samples, unit }
    }

    /// Everything within these ranges, which are cleared: pieces of at most a MiB. Ranges may overlap.
    #[must_use]
    pub fn of_ranges(seed: Seed, ranges: &[(u64, u64)], block: u64) -> Self {
        let mut samples: Vec<Sample> = Vec::new();
        for (start, end) in merged(ranges) {
            let mut offset = start;
            while offset < end {
                let len = LONGEST_BYTES.min(end - offset);
                let role = Role::End;
                samples.push(Sample { offset, len, role });
                offset += len;
            }
        }
        SamplePlan {
            seed,
            samples,
            unit: UNIT_BYTES.max(block),
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The unit in which a sample is compared, in bytes.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// Bytes of all samples.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.len).sum()
    }

    /// SHA-256 over offset and length of each, 8 bytes little endian each.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for sample in &self.samples {
            digest.update(sample.offset.to_le_bytes());
            digest.update(sample.len.to_le_bytes());
        }
        digest.finalize().into()
    }
}

/// Ranges (start, end) in order, those that touch joined, empty ones left out.
#[must_use]
pub fn merged(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .copied()
        .filter(|(start, end)| start < end)
        .collect();
    sorted.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in sorted {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// A number that seed, purpose and index give: the first 8 bytes, little endian, of SHA-256 over seed, purpose and index.
fn random(seed: &Seed, purpose: &[u8], index: u64) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed)
        .chain_update(purpose)
        .chain_update(index.to_le_bytes())
        .finalize();
    u64::from_le_bytes(std::array::from_fn(|place| digest[place]))
}

/// Fills `bytes` with the pattern that is planted at `offset` of a disk: for every 32 bytes SHA-256 over seed, "plant"
/// and their offset.
pub fn pattern(seed: &Seed, offset: u64, bytes: &mut [u8]) {
    for (index, block) in (0_u64..).zip(bytes.chunks_mut(32)) {
        let digest = Sha256::new()
            .chain_update(seed)
            .chain_update(b"plant")
            .chain_update((offset + index * 32).to_le_bytes())
            .finalize();
        block.copy_from_slice(&digest[..block.len()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_joined_and_cut() {
        assert_eq!(
            merged(&[(5, 9), (0, 2), (2, 3), (7, 8), (4, 4)]),
            [(0, 3), (5, 9)]
        );
        let plan = SamplePlan::of_ranges([0; 32], &[(0, 3 << 20), (1 << 20, (3 << 20) + 512)], 512);
        assert_eq!(plan.bytes(), (3 << 20) + 512);
        assert_eq!(plan.samples().len(), 4);
    }

    #[test]
    fn the_recipe_stays_as_it_is_documented() {
        // Certificates of years ago must give the same places.
        let plan = SamplePlan::new([7; 32], 10 << 30, 512);
        assert_eq!(plan.samples().len(), 130);
        assert_eq!(
            hex::encode(plan.digest()),
            "fa79493c5d4d6b5c15567b51b153d9ce410b6371ffc78000e10371bfc65824c4"
        );
        let mut bytes = [0; 64];
        pattern(&[7; 32], 4096, &mut bytes);
        assert_eq!(hex::encode(&bytes[..8]), "53ba4afab04b6cfe");
        let mut half = [0; 32];
        pattern(&[7; 32], 4096 + 32, &mut half);
        assert_eq!(half, bytes[32..]);
    }

    proptest! {
        #[test]
        fn samples_are_in_order_aligned_and_inside(
            seed: [u8; 32],
            blocks in prop_oneof![0_u64..5000, 0_u64..(1 << 36)],
            block in prop_oneof![Just(512_u64), Just(4096), Just(8192)],
        ) {
            let len = blocks * block;
            let plan = SamplePlan::new(seed, len, block);
            let mut end = 0;
            for sample in plan.samples() {
                prop_assert!(sample.offset >= end && sample.len > 0 && sample.len <= LONGEST_BYTES);
                prop_assert!(sample.offset.is_multiple_of(block) && sample.len.is_multiple_of(block));
                prop_assert!(sample.role == Role::End || sample.offset.is_multiple_of(plan.unit()));
                end = sample.offset + sample.len;
                prop_assert!(end <= len);
            }
            prop_assert_eq!(&plan, &SamplePlan::new(seed, len, block));
            if let (Some(first), Some(last)) = (plan.samples().first(), plan.samples().last()) {
                prop_assert_eq!((first.offset, last.offset + last.len), (0, len));
            }
            // Nothing large goes unseen: two strata, and what does not divide evenly.
            let between = (plan.samples().len() as u64).saturating_sub(2).max(1);
            let widest = 2 * (len / between) + (between + 3) * plan.unit();
            let gaps = plan.samples().windows(2).map(|pair| pair[1].offset - pair[0].offset - pair[0].len);
            prop_assert!(gaps.max().unwrap_or(0) <= widest);
        }
    }
}
