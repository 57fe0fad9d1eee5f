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
        delay / 2 + part_of(delay / 2)
    }

    /// The delay after something that held for long: when that ends, it has mostly ended for thousands of others in the same
    /// moment. So it is anywhere within this time, and the delays that follow begin as long.
    pub fn after_loss(&mut self, within: Duration) -> Duration {
        self.next = within.min(self.cap);
        part_of(within)
    }
}

/// A part of a time, each as likely as any other.
fn part_of(whole: Duration) -> Duration {
    // Random bits of a UUID are as good as any for this.
    let [one, other, ..] = *uuid::Uuid::new_v4().as_bytes();
    whole * u32::from(u16::from_le_bytes([one, other])) / u32::from(u16::MAX)
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
    }

    #[test]
    fn what_was_lost_by_all_at_once_is_looked_for_at_different_times() {
        let within = Duration::from_secs(2);
        let mut delays: Vec<Duration> = (0..1000)
            .map(|_| Backoff::new(Duration::from_secs(5)).after_loss(within))
            .collect();
        delays.sort_unstable();
        assert!(delays[999] <= within);
        // Far wider than a thousand throws ever differ.
        for quarter in delays.chunks(250) {
            let span = *quarter.last().unwrap() - quarter[0];
            assert!(
                span > Duration::from_millis(300) && span < Duration::from_millis(700),
                "{span:?}"
            );
        }
        let mut backoff = Backoff::new(Duration::from_secs(5));
        backoff.after_loss(within);
        assert!(backoff.delay() >= Duration::from_secs(1));
        assert!(backoff.delay() >= Duration::from_secs(2));
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
