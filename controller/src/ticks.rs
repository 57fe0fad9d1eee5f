//! Work that is done again and again until the controller ends.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Times at which something is to be done.
#[derive(Debug)]
pub struct Ticks {
    interval: Interval,
    shutdown: CancellationToken,
}

impl Ticks {
    /// The first one now, the others each `period` after the work of the one before has begun, or when it has ended.
    #[must_use]
    pub fn every(period: Duration, shutdown: CancellationToken) -> Self {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, shutdown }
    }

    /// Waits for the next one. False: the controller ends.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            _ = self.interval.tick() => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_come_until_the_end() {
        let shutdown = CancellationToken::new();
        let mut ticks = Ticks::every(Duration::from_millis(1), shutdown.clone());
        assert!(ticks.next().await && ticks.next().await);
        shutdown.cancel();
        assert!(!ticks.next().await, "the end comes before work that is due");
    }
}
