//! How long a source that fails is asked again, and how often.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::SourceError;

/// No server is asked again sooner than this, nor does it have to be back for longer to be noticed.
const DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));
/// A server may ask for this much rest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Waits that grow, with jitter so that a rack of machines doesn't ask in step, until nothing has come for too long.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    delays: ExponentialBackoff,
    failing_since: Option<Instant>,
    attempts: u32,
}

/// What to do after a failure.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Ask again after this time.
    Again { delay: Duration, attempt: u32 },
    /// It is enough.
    Enough(SourceError),
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Patience {
            limit,
            delays: delays(),
            failing_since: None,
            attempts: 0,
        }
    }

    /// Something came: the next failure is a first one again.
    pub(crate) fn progressed(&mut self) {
        *self = Patience::new(self.limit);
    }

    /// After a failure that isn't permanent. `progress_elsewhere` is when the same stores last gave something to
    /// anybody: as long as they do, one bad connection is no reason to stop.
    pub(crate) fn after(
        &mut self,
        error: SourceError,
        now: Instant,
        progress_elsewhere: Option<Instant>,
    ) -> Verdict {
        let failing_since = *self.failing_since.get_or_insert(now);
        let waited = now.duration_since(progress_elsewhere.map_or(failing_since, |at| at.max(failing_since)));
        self.attempts += 1;
        let attempts = self.attempts;
        if waited >= self.limit {
            return Verdict::Enough(SourceError::GaveUp {
                waited,
                attempts,
                last: Box::new(error),
            });
        }
        let delay = self.delays.next().unwrap_or(DELAYS.1);
        let rest = error.retry_after().unwrap_or_default().min(LONGEST_REST);
        // The last wait ends when patience does, so that giving up isn't late by a whole delay.
        Verdict::Again {
            delay: delay.max(rest).min(self.limit - waited),
            attempt: attempts,
        }
    }
}

fn delays() -> ExponentialBackoff {
    let (min, max) = DELAYS;
    ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Whether an attempt is worth telling people: the first ones, then ever fewer.
pub(crate) fn is_worth_a_note(attempt: u32) -> bool {
    attempt.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> SourceError {
        SourceError::Silent {
            url: "http://x".to_owned(),
            waited: Duration::from_secs(30),
        }
    }

    #[test]
    fn it_ends_when_nothing_came_for_the_whole_time() {
        let start = Instant::now();
        let mut now = start;
        let mut patience = Patience::new(Duration::from_secs(600));
        let attempts = loop {
            match patience.after(failure(), now, None) {
                Verdict::Again { delay, .. } => {
                    assert!(delay <= DELAYS.1 * 2, "{delay:?}");
                    now += delay;
                }
                Verdict::Enough(SourceError::GaveUp { attempts, .. }) => break attempts,
                Verdict::Enough(other) => panic!("{other}"),
            }
        };
        assert_eq!((now - start).as_secs(), 600);
        assert!((40..200).contains(&attempts), "{attempts}");
    }

    #[test]
    fn progress_of_others_prolongs_it_and_a_long_silence_before_it_does_not_shorten_it() {
        let limit = Duration::from_secs(10);
        let long_ago = Instant::now();
        let first = long_ago + Duration::from_secs(1000);
        let mut patience = Patience::new(limit);
        assert!(matches!(
            patience.after(failure(), first, Some(long_ago)),
            Verdict::Again { .. }
        ));
        let later = first + limit;
        assert!(matches!(
            patience.after(failure(), later, Some(later)),
            Verdict::Again { .. }
        ));
        assert!(matches!(
            patience.after(failure(), later, None),
            Verdict::Enough(_)
        ));
    }

    #[test]
    fn a_server_may_ask_for_rest() {
        let status = reqwest::StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = Some(Duration::from_secs(20));
        let busy = SourceError::Status {
            url: String::new(),
            status,
            retry_after,
        };
        let mut patience = Patience::new(Duration::from_secs(600));
        let Verdict::Again { delay, .. } = patience.after(busy, Instant::now(), None) else {
            panic!()
        };
        assert_eq!(delay, Duration::from_secs(20));
    }
}
