//! The time, as something that is handed in: deadlines and expiries can then be tested without waiting.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

/// Where the controller gets the time from.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Fake(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` (to the millisecond) until [`Clock::advance`] moves it. Clones share it.
    pub fn fake(start: Timestamp) -> Self {
        Self(Source::Fake(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Fake(ms) => timestamp_from_ms(ms.load(Ordering::SeqCst)),
        }
    }

    /// The time now as the database keeps it: milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// Moves a fake clock; the clock of the machine is left alone.
    pub fn advance(&self, by: SignedDuration) {
        if let Source::Fake(ms) = &self.0 {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            ms.fetch_add(by, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(system)"),
            Source::Fake(_) => write!(f, "Clock(fake, {})", self.now()),
        }
    }
}

/// A time from the database. What no calendar can hold becomes the nearest end of the calendar.
pub fn timestamp_from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_clock_moves_only_by_hand_and_together_with_its_clones() {
        let clock = Clock::fake(timestamp_from_ms(1_000));
        let clone = clock.clone();
        assert_eq!(clone.now_ms(), 1_000);
        clock.advance(SignedDuration::from_secs(2));
        assert_eq!(clone.now_ms(), 3_000);
    }
}
