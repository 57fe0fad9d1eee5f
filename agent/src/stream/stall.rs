//! Which part of the path doesn't move, and how often that is told.

use std::time::Duration;

use super::progress::{Limit, Stall};

/// A part that doesn't move for so long stalls.
const AFTER: Duration = Duration::from_secs(10);

/// What stalls: an operation that doesn't come back from the disk holds up all else in the end, so it goes first.
pub(super) fn judge(in_disk: Duration, silence: Duration) -> Option<Stall> {
    let stalls = |by, waited| (waited >= AFTER).then_some(Stall { by, waited });
    stalls(Limit::Disk, in_disk).or_else(|| stalls(Limit::Network, silence))
}

/// Tells a stall when it begins, and again each time it has lasted twice as long.
#[derive(Debug, Default)]
pub(super) struct Teller {
    told: Option<Stall>,
}

impl Teller {
    /// Whether this is to be told now.
    pub(super) fn tells(&mut self, now: Option<Stall>) -> Option<Stall> {
        let Some(stall) = now else {
            self.told = None;
            return None;
        };
        let due = match self.told {
            Some(told) if told.by == stall.by => stall.waited >= told.waited * 2,
            _ => true,
        };
        if due {
            self.told = Some(stall);
        }
        due.then_some(stall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(by: Limit, seconds: u64) -> Stall {
        Stall {
            by,
            waited: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_part_that_does_not_move_is_named() {
        let table = [
            (0, 0, None),
            (9, 9, None),
            (11, 60, Some(stall(Limit::Disk, 11))),
            (3, 12, Some(stall(Limit::Network, 12))),
        ];
        for (disk, network, expected) in table {
            assert_eq!(
                judge(Duration::from_secs(disk), Duration::from_secs(network)),
                expected
            );
        }
    }

    #[test]
    fn a_stall_is_told_once_and_then_more_and_more_seldom() {
        let mut teller = Teller::default();
        let told: Vec<u64> = (10..100)
            .filter(|&second| teller.tells(Some(stall(Limit::Disk, second))).is_some())
            .collect();
        assert_eq!(told, [10, 20, 40, 80]);
        assert!(teller.tells(Some(stall(Limit::Network, 12))).is_some());
        assert_eq!(teller.tells(None), None);
        assert!(teller.tells(Some(stall(Limit::Network, 10))).is_some());
    }
}
