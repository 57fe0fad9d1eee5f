//! For how long something goes on, however many of it at once.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts what is going on. What has not ended yet counts as well.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u32,
    most: u32,
    since: Option<Instant>,
    time: Time,
}

/// Time on a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Time {
    /// During which at least one went on.
    pub(super) any: Duration,
    /// Of all together.
    pub(super) sum: Duration,
}

impl Time {
    pub(super) fn since(self, before: Time) -> Time {
        Time {
            any: self.any.saturating_sub(before.any),
            sum: self.sum.saturating_sub(before.sum),
        }
    }
}

/// One that goes on, until this is dropped.
#[derive(Debug)]
pub(super) struct Going<'a>(&'a Clock);

impl Clock {
    /// Runs something.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _going = self.begin();
        work()
    }

    /// Something begins.
    pub(super) fn begin(&self) -> Going<'_> {
        self.enter();
        Going(self)
    }

    /// Something begins; [`leave`](Self::leave) ends it.
    pub(super) fn enter(&self) {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.count += 1;
        state.most = state.most.max(state.count);
    }

    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.count -= 1;
    }

    /// How many go on.
    pub(super) fn count(&self) -> u32 {
        self.lock().count
    }

    /// How many went on at once, at most.
    pub(super) fn most(&self) -> u32 {
        self.lock().most
    }

    /// The time until now.
    pub(super) fn time(&self) -> Time {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.time
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn advance(&mut self, now: Instant) {
        if let Some(since) = self.since.replace(now)
            && self.count > 0
        {
            let passed = now.saturating_duration_since(since);
            self.time.any += passed;
            self.time.sum += passed * self.count;
        }
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_while_something_goes_on_and_for_each_of_them() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut state = State::default();
        for (second, count) in [(0, 1), (2, 3), (3, 0), (10, 2)] {
            state.advance(at(second));
            state.count = count;
        }
        state.advance(at(11));
        let expected = Time {
            any: Duration::from_secs(4),
            sum: Duration::from_secs(2 + 3 + 2),
        };
        assert_eq!(state.time, expected);
    }

    #[test]
    fn what_has_not_ended_counts() {
        let clock = Clock::default();
        let first = clock.begin();
        let before = clock.time();
        let second = clock.begin();
        assert!(clock.time().since(before).sum > Duration::ZERO);
        assert_eq!((clock.count(), clock.most()), (2, 2));
        drop((first, second));
        assert_eq!((clock.count(), clock.most()), (0, 2));
        let after = clock.time();
        assert_eq!(clock.time(), after);
    }
}
