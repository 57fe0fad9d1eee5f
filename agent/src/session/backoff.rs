//! Waiting longer after each failure, and not in step with a thousand other agents.

use std::{error::Error, fmt::Write as _, time::Duration};

const FIRST: Duration = Duration::from_millis(250);

/// Delays that double up to a cap, each somewhere in its upper half.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// With the longest delay.
    #[must_use]
    pub fn new(cap: Duration) -> Self {
        Self {
            next: FIRST.min(cap),
            cap,
        }
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.cap);
        // Random bits of a UUID are as good as any for this.
        let share = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
        delay / 2 + delay / 2 * share / 255
    }

    /// After a success.
    pub fn reset(&mut self) {
        *self = Self::new(self.cap);
    }
}

/// An error with all its causes, each said once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<tonic::Status>() {
        // Its Display is a dump of metadata; its source follows below.
        Some(status) => format!("{} ({:?})", status.message(), status.code()),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            write!(text, ": {part}").expect("a String takes all");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        let delays: Vec<Duration> = (0..12).map(|_| backoff.delay()).collect();
        assert!(delays[0] >= FIRST / 2 && delays[0] <= FIRST);
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(5)));
        assert!(delays[11] >= Duration::from_millis(2500));
        backoff.reset();
        assert!(backoff.delay() <= FIRST);
    }

    #[test]
    fn causes_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
        assert_eq!(chain(&tonic::Status::not_found("nobody")), "nobody (NotFound)");
    }
}
