//! Numbers that a seed decides: the same fleet again.

use std::time::Duration;

/// A source of numbers for one purpose of one node (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Of a node of a fleet; each purpose has numbers of its own, so that one more throw here changes nothing there.
    #[must_use]
    pub fn of(seed: u64, node: u32, purpose: u64) -> Self {
        let mut dice = Self(seed ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f));
        let salt = dice.number();
        Self(salt ^ (u64::from(node) + 1).wrapping_mul(0xe703_7ed1_a0b4_28db))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = self.below(from.len() as u64);
        &from[usize::try_from(place).unwrap_or(0)]
    }

    /// A time between two, in milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis();
        least + Duration::from_millis(self.below(u64::try_from(span).unwrap_or(u64::MAX - 1) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_the_node_and_the_purpose_decide() {
        let throw = |seed, node, purpose| Dice::of(seed, node, purpose).number();
        assert_eq!(throw(1, 2, 3), throw(1, 2, 3));
        let others = [throw(2, 2, 3), throw(1, 3, 3), throw(1, 2, 4)];
        assert!(!others.contains(&throw(1, 2, 3)));
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
        let mut dice = Dice::of(7, 7, 7);
        for _ in 0..1000 {
            assert!((least..=most).contains(&dice.between(least, most)));
            assert!(dice.below(3) < 3);
        }
    }
}
