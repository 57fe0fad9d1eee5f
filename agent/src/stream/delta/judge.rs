//! Whether reading the disk pays. Pure.

use std::collections::VecDeque;

use super::Mode;

/// A full pull has to be this much faster to be worth its bytes: they cost the store and the network as well.
const WORTH_THE_BYTES: f64 = 1.1;
/// Once all is fetched, reading has to be this much faster: what was asked for is on its way already.
const WORTH_TURNING_BACK: f64 = 0.7;
/// So many of the latest looks tell what the next ones will be like.
const RECENT: usize = 16;
/// And so many of the nearest samples.
const AHEAD: usize = 8;

/// What is known when the judge is asked.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Facts {
    /// Bytes of the disk that nobody has looked at.
    pub(in super::super) open: f64,
    /// Bytes of the disk that are known to differ and not asked for yet.
    pub(in super::super) wanted: f64,
    /// Which part of the open bytes is probably right.
    pub(in super::super) share: f64,
    /// Bytes of the disk that are read and hashed in a second, if nothing else uses it.
    pub(in super::super) read_rate: f64,
    /// Bytes of the disk that the stores deliver in a second; unknown until something was fetched.
    pub(in super::super) delivery_rate: Option<f64>,
}

/// Who should go on.
///
/// A disk takes writes no faster than reads, as far as is known before it was tried. So with `r` the rate of the disk
/// and `d` that of delivery, the time for what is open and wanted is
///
/// * `max(all / r, all / d)` for a pull;
/// * `max(open / r + differing / r, differing / d)` for a check: the disk reads and writes, the network only brings
///   what differs.
///
/// While nothing was fetched, nothing is known against a check.
pub(in super::super) fn judge(now: Mode, facts: &Facts) -> Mode {
    let (Some(delivery), true) = (facts.delivery_rate, facts.read_rate > 0.0) else {
        return if now == Mode::Pulling { now } else { Mode::Checking };
    };
    let differing = facts.wanted + (1.0 - facts.share) * facts.open;
    let all = facts.wanted + facts.open;
    let check = ((facts.open + differing) / facts.read_rate).max(differing / delivery);
    let pull = (all / facts.read_rate).max(all / delivery);
    let worth = if now == Mode::Pulling {
        WORTH_TURNING_BACK
    } else {
        WORTH_THE_BYTES
    };
    if check <= worth * pull {
        Mode::Checking
    } else {
        Mode::Pulling
    }
}

/// What the looks at the disk have shown so far.
#[derive(Debug, Default)]
pub(in super::super) struct Tally {
    recent: VecDeque<bool>,
    samples: Vec<(usize, bool)>,
    matches: usize,
}

impl Tally {
    /// A chunk of the sample was looked at.
    pub(in super::super) fn sampled(&mut self, position: usize, right: bool) {
        self.samples.push((position, right));
        self.matches += usize::from(right);
    }

    /// Another chunk was looked at.
    pub(in super::super) fn looked(&mut self, right: bool) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(right);
    }

    /// Others have gone on from where the latest looks were.
    pub(in super::super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    pub(in super::super) fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Chunks of the sample that were right.
    pub(in super::super) fn matches(&self) -> usize {
        self.matches
    }

    /// Which part of the chunks from `position` on is probably right, for the next stretch of them: a disk whose
    /// write broke off half-way is right at first and wrong from there on.
    pub(in super::super) fn share_from(&self, position: usize) -> f64 {
        let mut ahead: Vec<_> = self.samples.iter().filter(|(at, _)| *at >= position).collect();
        ahead.sort_unstable();
        let looks = self.recent.iter().copied();
        let looks: Vec<bool> = looks
            .chain(ahead.into_iter().take(AHEAD).map(|(_, right)| *right))
            .collect();
        if looks.is_empty() {
            return 0.0;
        }
        let right = looks.iter().filter(|right| **right).count();
        right as f64 / looks.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    fn facts(share: f64, read_rate: f64, delivery_rate: Option<f64>) -> Facts {
        Facts {
            open: 1000.0 * MB,
            wanted: 0.0,
            share,
            read_rate: read_rate * MB,
            delivery_rate: delivery_rate.map(|rate| rate * MB),
        }
    }

    #[test]
    fn the_disk_is_read_when_that_is_faster_or_as_fast_with_far_fewer_bytes() {
        let table = [
            // Gigabit and an SSD: fetching is the slow part, whatever differs.
            (0.6, 1000.0, Some(350.0), Mode::Checking),
            (0.1, 1000.0, Some(350.0), Mode::Checking),
            // A fast network: reading half of the disk for nothing would cost more than fetching all.
            (0.6, 1000.0, Some(3000.0), Mode::Pulling),
            // Nearly all is right: a pull would write as much as a check reads.
            (1.0, 1000.0, Some(3000.0), Mode::Checking),
            (0.95, 150.0, Some(3000.0), Mode::Checking),
            (0.6, 150.0, Some(3000.0), Mode::Pulling),
            // A slow disk, and a network that is slower still.
            (0.5, 150.0, Some(40.0), Mode::Checking),
            // Nothing was fetched yet.
            (0.3, 150.0, None, Mode::Checking),
        ];
        for (share, read, delivery, expected) in table {
            assert_eq!(
                judge(Mode::Sampling, &facts(share, read, delivery)),
                expected,
                "{share} {read} {delivery:?}"
            );
        }
    }

    #[test]
    fn it_does_not_waver() {
        // Just as fast: whoever is at it goes on.
        let even = facts(0.5, 1000.0, Some(600.0));
        assert_eq!(judge(Mode::Checking, &even), Mode::Checking);
        assert_eq!(judge(Mode::Pulling, &even), Mode::Pulling);
        // A network that turns out to be slow.
        assert_eq!(
            judge(Mode::Pulling, &facts(0.5, 1000.0, Some(100.0))),
            Mode::Checking
        );
        assert_eq!(judge(Mode::Pulling, &facts(0.5, 1000.0, None)), Mode::Pulling);
    }

    #[test]
    fn while_the_network_has_enough_to_bring_reading_on_costs_nothing() {
        let mut busy = facts(0.5, 500.0, Some(600.0));
        assert_eq!(judge(Mode::Checking, &busy), Mode::Pulling);
        busy.delivery_rate = Some(200.0 * MB);
        busy.wanted = 5000.0 * MB;
        assert_eq!(judge(Mode::Checking, &busy), Mode::Checking);
    }

    #[test]
    fn the_next_stretch_counts_not_the_whole_disk() {
        let mut tally = Tally::default();
        assert_eq!(tally.share_from(0), 0.0);
        for position in 0..32 {
            tally.sampled(position * 100, position < 16);
        }
        assert_eq!((tally.samples(), tally.matches()), (32, 16));
        assert_eq!(tally.share_from(0), 1.0);
        assert_eq!(tally.share_from(1300), 0.375);
        assert_eq!(tally.share_from(1600), 0.0);
        for _ in 0..40 {
            tally.looked(true);
        }
        assert_eq!(tally.share_from(1600), 16.0 / 24.0);
        assert_eq!(tally.share_from(9999), 1.0);
        tally.forget_recent();
        assert_eq!(tally.share_from(9999), 0.0);
    }
}
