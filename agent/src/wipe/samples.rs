//! Samples before and after: what is noted and planted, and whether what is read back is as it must be.

use super::sampling::{Role, Sample, SamplePlan, pattern};
use crate::target::{AlignedBuf, Target, WriteError};
use sha2::{Digest as _, Sha256};

/// A unit that holds the same byte everywhere says nothing when it holds that afterwards, too.
const UNIFORM: u64 = 0;

/// What samples held before the disk was told to erase itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// For each sample a fingerprint of each of its units; empty where nothing can be compared.
    pub units: Vec<Vec<u64>>,
    /// How many samples hold the planted pattern.
    pub planted: u32,
}

impl Before {
    /// Whether there is anything that can be seen to change.
    #[must_use]
    pub fn tells_something(&self) -> bool {
        self.units.iter().flatten().any(|unit| *unit != UNIFORM)
    }
}

/// What samples have to be now.
#[derive(Debug, Clone)]
pub enum Expected {
    /// All zero.
    Zeroes,
    /// Nothing of what they were.
    Changed(Before),
}

/// The first sample that is not as expected.
#[derive(Debug)]
pub enum Wrong {
    /// It holds what it must not hold.
    Content {
        /// Where on the disk, in bytes.
        offset: u64,
    },
    /// It can't be read.
    Unreadable {
        /// Where the sample begins, in bytes.
        offset: u64,
        /// What the disk says.
        source: WriteError,
    },
}

impl Wrong {
    /// Where, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Self::Content { offset } | Self::Unreadable { offset, .. } => *offset,
        }
    }
}

/// What reading back has shown.
#[derive(Debug, Default)]
pub struct Found {
    /// Samples that are as expected.
    pub as_expected: u32,
    /// The first one that isn't.
    pub wrong: Option<Wrong>,
}

/// Notes and plants. A sample that the disk refuses to read or write is left out: the disk may still be able to erase
/// itself, and what counts is how many there are.
///
/// # Errors
/// When what was planted can't be flushed, or `go_on` says no.
pub fn prepare(
    target: &dyn Target,
    plan: &SamplePlan,
    mut go_on: impl FnMut() -> bool,
) -> Result<Option<Before>, WriteError> {
    let mut before = Before::default();
    for sample in plan.samples() {
        if !go_on() {
            return Ok(None);
        }
        let units = match sample.role {
            Role::End => None,
            Role::Noted => read(target, sample).ok().map(|bytes| fingerprints(&bytes, plan)),
            Role::Planted => {
                let bytes = planted(target, sample, plan);
                let written = target.write_at(&bytes, sample.offset).is_ok();
                before.planted += u32::from(written);
                written.then(|| fingerprints(&bytes, plan))
            }
        };
        before.units.push(units.unwrap_or_default());
    }
    if before.planted > 0 {
        target.flush()?;
    }
    Ok(Some(before))
}

/// Reads all samples back, past the page cache; none when `go_on` says no.
pub fn check(
    target: &dyn Target,
    plan: &SamplePlan,
    expected: &Expected,
    mut go_on: impl FnMut(&Sample) -> bool,
) -> Option<Found> {
    let mut found = Found::default();
    for (index, sample) in plan.samples().iter().enumerate() {
        if !go_on(sample) {
            return None;
        }
        let wrong = match read(target, sample) {
            Err(source) => Some(Wrong::Unreadable {
                offset: sample.offset,
                source,
            }),
            Ok(bytes) => match (expected, sample.role) {
                // The ends are zeroed after every method.
                (Expected::Zeroes, _) | (_, Role::End) => first_not_zero(&bytes),
                (Expected::Changed(before), _) => {
                    let before = before.units.get(index).map_or(&[][..], Vec::as_slice);
                    first_kept(&bytes, before, plan)
                }
            }
            .map(|place| Wrong::Content {
                offset: sample.offset + place,
            }),
        };
        match wrong {
            None => found.as_expected += 1,
            Some(wrong) => found.wrong = found.wrong.or(Some(wrong)),
        }
    }
    Some(found)
}

fn buffer(target: &dyn Target, len: u64) -> AlignedBuf {
    let block = target.logical_block().get() as usize;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    // A file of an odd size ends within a block.
    AlignedBuf::new(len.next_multiple_of(block))
}

fn read(target: &dyn Target, sample: &Sample) -> Result<AlignedBuf, WriteError> {
    let mut bytes = buffer(target, sample.len);
    target.read_at(&mut bytes, sample.offset)?;
    Ok(bytes)
}

fn planted(target: &dyn Target, sample: &Sample, plan: &SamplePlan) -> AlignedBuf {
    let mut bytes = buffer(target, sample.len);
    pattern(plan.seed(), sample.offset, &mut bytes);
    bytes
}

fn units<'a>(bytes: &'a [u8], plan: &SamplePlan) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    bytes.chunks(usize::try_from(plan.unit()).unwrap_or(usize::MAX))
}

fn fingerprints(bytes: &[u8], plan: &SamplePlan) -> Vec<u64> {
    units(bytes, plan).map(fingerprint).collect()
}

fn fingerprint(unit: &[u8]) -> u64 {
    let first = unit.first();
    if unit.iter().all(|byte| Some(byte) == first) {
        return UNIFORM;
    }
    let digest = Sha256::digest(unit);
    u64::from_le_bytes(std::array::from_fn(|place| digest[place])).max(1)
}

fn first_not_zero(bytes: &[u8]) -> Option<u64> {
    let place = bytes.iter().position(|byte| *byte != 0)?;
    u64::try_from(place).ok()
}

fn first_kept(bytes: &[u8], before: &[u64], plan: &SamplePlan) -> Option<u64> {
    (0..)
        .zip(units(bytes, plan).zip(before))
        .find(|(_, (unit, before))| **before != UNIFORM && fingerprint(unit) == **before)
        .map(|(index, _): (u64, _)| index * plan.unit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Operation;
    use crate::target::faulty::{DiskFault, FaultyTarget, Rule};

    const LEN: u64 = 8 << 20;

    fn plan() -> SamplePlan {
        SamplePlan::new([9; 32], LEN, 512)
    }

    fn text(len: u64) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn place_of(role: Role) -> u64 {
        plan()
            .samples()
            .iter()
            .find(|sample| sample.role == role)
            .unwrap()
            .offset
    }

    #[test]
    fn zeroes_are_zeroes_in_every_sampled_byte() {
        let (plan, disk) = (plan(), FaultyTarget::filled(LEN, 0));
        let count = u32::try_from(plan.samples().len()).unwrap();
        let found = check(&disk, &plan, &Expected::Zeroes, |_| true).unwrap();
        assert_eq!((found.as_expected, found.wrong.is_none()), (count, true));
        for role in [Role::End, Role::Noted, Role::Planted] {
            let place = place_of(role) + 5;
            let mut content = vec![0; usize::try_from(LEN).unwrap()];
            content[usize::try_from(place).unwrap()] = 1;
            let disk = FaultyTarget::holding(content);
            let found = check(&disk, &plan, &Expected::Zeroes, |_| true).unwrap();
            assert_eq!(found.as_expected, count - 1);
            assert_eq!(found.wrong.unwrap().offset(), place);
        }
        assert!(check(&disk, &plan, &Expected::Zeroes, |_| false).is_none());
    }

    #[test]
    fn what_stays_is_found_and_what_goes_is_not_missed() {
        let (plan, disk) = (plan(), FaultyTarget::holding(text(LEN)));
        let before = prepare(&disk, &plan, || true).unwrap().unwrap();
        assert!(before.planted > 10 && before.tells_something() && disk.is_flushed());
        let planted = disk.content();
        let check_with = |content: Vec<u8>| {
            let disk = FaultyTarget::holding(content);
            crate::target::clear_ends(&disk).unwrap();
            check(&disk, &plan, &Expected::Changed(before.clone()), |_| true).unwrap()
        };
        for byte in [0, 0xFF] {
            assert!(check_with(vec![byte; planted.len()]).wrong.is_none());
        }
        // One unit of one sample has survived.
        for role in [Role::Noted, Role::Planted] {
            let place = usize::try_from(place_of(role)).unwrap();
            let mut content = vec![0xFF; planted.len()];
            content[place..place + 4096].copy_from_slice(&planted[place..place + 4096]);
            assert_eq!(check_with(content).wrong.unwrap().offset(), place_of(role));
        }
        assert_eq!(
            check_with(planted).as_expected,
            2,
            "a disk that only says that it erases"
        );
    }

    #[test]
    fn a_blank_disk_tells_something_once_it_is_planted() {
        let (plan, disk) = (plan(), FaultyTarget::filled(LEN, 0));
        let before = prepare(&disk, &plan, || true).unwrap().unwrap();
        assert!(before.tells_something());
        let refusing = FaultyTarget::filled(LEN, 0);
        for sample in plan.samples() {
            refusing.refuse(sample.offset, nix::libc::EIO);
        }
        let before = prepare(&refusing, &plan, || true).unwrap().unwrap();
        assert!(!before.tells_something() && before.planted == 0);
        assert_eq!(prepare(&disk, &plan, || false).unwrap(), None);
    }

    #[test]
    fn a_sample_that_cannot_be_read_is_wrong() {
        let (plan, disk) = (plan(), FaultyTarget::filled(LEN, 0));
        let place = place_of(Role::Noted);
        disk.inject(Rule {
            operation: Operation::Read,
            place,
            skip: 0,
            times: 1,
            fault: DiskFault::Errno(nix::libc::EIO),
        });
        let found = check(&disk, &plan, &Expected::Zeroes, |_| true).unwrap();
        assert!(matches!(found.wrong, Some(Wrong::Unreadable { offset, .. }) if offset == place));
    }
}
