//! Sets of small numbers.

/// A set of small numbers. The first 64, which are mostly all, are compared at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits {
    first: u64,
    rest: Vec<u64>,
}

impl Bits {
    pub(super) fn insert(&mut self, number: usize) {
        let (word, bit) = (number / 64, 1_u64 << (number % 64));
        if word == 0 {
            self.first |= bit;
            return;
        }
        if self.rest.len() < word {
            self.rest.resize(word, 0);
        }
        self.rest[word - 1] |= bit;
    }

    /// Whether all of these are in `other` as well.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        if self.first & !other.first != 0 {
            return false;
        }
        self.rest.is_empty() || {
            let other = other.rest.iter().copied().chain(std::iter::repeat(0));
            self.rest
                .iter()
                .zip(other)
                .all(|(mine, theirs)| mine & !theirs == 0)
        }
    }

    /// Whether one of these is in `other` as well.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.first & other.first != 0
            || self
                .rest
                .iter()
                .zip(&other.rest)
                .any(|(mine, theirs)| mine & theirs != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.iter().all(|word| *word == 0)
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_compared_past_the_first_word() {
        let of = |numbers: &[usize]| numbers.iter().copied().collect::<Bits>();
        let table = [
            (of(&[]), of(&[]), true, false),
            (of(&[]), of(&[3]), true, false),
            (of(&[3]), of(&[3, 70]), true, true),
            (of(&[3, 70]), of(&[3]), false, true),
            (of(&[200]), of(&[3, 200]), true, true),
            (of(&[200]), of(&[201]), false, false),
        ];
        for (a, b, within, meets) in table {
            assert_eq!(a.is_within(&b), within, "{a:?} {b:?}");
            assert_eq!(a.meets(&b), meets, "{a:?} {b:?}");
            assert_eq!(b.meets(&a), meets, "{a:?} {b:?}");
        }
        assert!(of(&[]).is_empty() && !of(&[99]).is_empty());
    }
}
