//! How many requests are in flight. Pure.

use std::time::{Duration, Instant};

/// In flight at the beginning: enough to fill most links, few enough for a server with many machines to serve.
const START: usize = 4;
/// Over this time a rate is measured.
const WINDOW: Duration = Duration::from_millis(200);
/// After a request more brought nothing, or a server was in trouble, it stays as it is for this long.
const REST: Duration = Duration::from_secs(5);

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Counts {
    /// Bytes received.
    pub(in super::super) fetched: u64,
    /// Time that requests spent waiting for memory, added up: the disk or the cores are the slower part.
    pub(in super::super) starved: Duration,
    /// Answers "busy", and silences.
    pub(in super::super) troubles: u32,
}

/// Adds requests as long as each one raises the rate, and halves them when a server is in trouble.
#[derive(Debug)]
pub(in super::super) struct Pace {
    most: usize,
    now: usize,
    since: Instant,
    before: Counts,
    /// The rate before the last request was added.
    rate_before: Option<f64>,
    rest_until: Option<Instant>,
}

impl Pace {
    pub(in super::super) fn new(most: usize, start: Instant) -> Self {
        Pace {
            most: most.max(1),
            now: START.min(most).max(1),
            since: start,
            before: Counts::default(),
            rate_before: None,
            rest_until: None,
        }
    }

    /// How many requests there may be.
    pub(in super::super) fn requests(&self) -> usize {
        self.now
    }

    /// Looks at the counters, with `in_flight` requests at the moment.
    pub(in super::super) fn look(&mut self, now: Instant, counts: Counts, in_flight: usize) {
        if counts.troubles > self.before.troubles {
            self.now = (self.now / 2).max(1);
            self.rest_until = Some(now + REST);
            self.rate_before = None;
            self.restart(now, counts);
            return;
        }
        let window = now.duration_since(self.since);
        if window < WINDOW {
            return;
        }
        let rate = (counts.fetched - self.before.fetched) as f64 / window.as_secs_f64();
        let starved = (counts.starved.saturating_sub(self.before.starved)).as_secs_f64()
            / (window.as_secs_f64() * self.now as f64);
        self.restart(now, counts);
        // More requests don't help where there is nothing to ask for, or no room for what would come.
        if in_flight < self.now || starved > 0.2 {
            self.rate_before = None;
            return;
        }
        match self.rate_before.take() {
            Some(before) if rate < before * 1.05 => {
                self.now = (self.now - 1).max(1);
                self.rest_until = Some(now + REST);
            }
            _ if self.now < self.most && self.rest_until.is_none_or(|until| now >= until) => {
                self.rate_before = Some(rate);
                self.now += 1;
            }
            _ => {}
        }
    }

    fn restart(&mut self, now: Instant, counts: Counts) {
        self.since = now;
        self.before = counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of which each request brings 10 bytes per millisecond, up to `link` in all.
    struct Link {
        at: Instant,
        counts: Counts,
        link: usize,
    }

    impl Link {
        fn new(link: usize) -> Self {
            Link {
                at: Instant::now(),
                counts: Counts::default(),
                link,
            }
        }

        fn run(&mut self, pace: &mut Pace, windows: usize) -> usize {
            for _ in 0..windows {
                self.at += WINDOW;
                let rate = (10 * pace.requests()).min(self.link);
                self.counts.fetched += rate as u64 * 200;
                pace.look(self.at, self.counts, pace.requests());
            }
            pace.requests()
        }
    }

    #[test]
    fn requests_are_added_while_each_one_helps() {
        let mut link = Link::new(1000);
        let mut pace = Pace::new(8, link.at);
        assert_eq!(pace.requests(), 4);
        assert_eq!(link.run(&mut pace, 4), 8);
        assert_eq!(link.run(&mut pace, 50), 8);
        assert_eq!(Pace::new(2, link.at).requests(), 2);
        assert_eq!(Pace::new(0, link.at).requests(), 1);
    }

    #[test]
    fn a_full_link_is_left_alone_and_tried_again_now_and_then() {
        let mut link = Link::new(60);
        let mut pace = Pace::new(8, link.at);
        assert_eq!(link.run(&mut pace, 4), 6);
        assert_eq!(link.run(&mut pace, 20), 6);
        link.link = 1000;
        assert_eq!(link.run(&mut pace, 50), 8);
    }

    #[test]
    fn a_server_in_trouble_gets_half_and_a_rest() {
        let mut link = Link::new(1000);
        let mut pace = Pace::new(8, link.at);
        link.run(&mut pace, 10);
        link.counts.troubles += 3;
        assert_eq!(link.run(&mut pace, 1), 4);
        assert_eq!(link.run(&mut pace, 20), 4);
        assert_eq!(link.run(&mut pace, 20), 8);
        for expected in [4, 2, 1, 1] {
            link.counts.troubles += 1;
            assert_eq!(link.run(&mut pace, 1), expected);
        }
    }

    #[test]
    fn nothing_is_added_when_the_disk_or_the_cores_are_the_slower_part() {
        let mut link = Link::new(1000);
        let mut pace = Pace::new(8, link.at);
        for _ in 0..10 {
            link.counts.starved += WINDOW * 2;
            assert_eq!(link.run(&mut pace, 1), 4);
        }
        // Nor when there is not enough to ask for.
        link.at += WINDOW;
        pace.look(link.at, link.counts, 2);
        assert_eq!(pace.requests(), 4);
    }
}
