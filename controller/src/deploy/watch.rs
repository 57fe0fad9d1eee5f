//! The time by which deployments wait, also when the machine's clock is set.
//!
//! Deadlines count from when something moved last. A clock that is set forward ends waits early, which is told and can be tried
//! again. One that is set back would have them last until it has come to the old time again: years, where it was wrong by
//! years. So what lies in the future then has happened just now, and every wait has its whole length once more, and no longer.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::{Deployments, error::DeployError};
use crate::{
    clock::{Clock, timestamp_from_ms},
    events::doing,
};

/// Clocks are adjusted by less all the time.
const SET_BACK: SignedDuration = SignedDuration::from_secs(2);

/// What is waited for with a time of its own: what lies in the future (`?1` is now) has happened now, and lasts as long from here.
const RIGHTED: [&str; 4] = [
    "UPDATE deployments SET moved_at = min(moved_at, ?1), phase_since = min(phase_since, ?1), \
     cancel_requested_at = min(cancel_requested_at, ?1) \
     WHERE state = 'running' AND (moved_at > ?1 OR phase_since > ?1 OR cancel_requested_at > ?1)",
    "UPDATE power_actions SET deadline = deadline - created_at + ?1, asked_at = min(asked_at, ?1), created_at = ?1 \
     WHERE state = 'running' AND created_at > ?1",
    "UPDATE power_actions SET ended_at = ?1 WHERE ended_at > ?1",
    "UPDATE volumes SET deadline = deadline - since + ?1, since = ?1 WHERE deadline IS NOT NULL AND since > ?1",
];

/// Since when the controller watches its deployments; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Times>);

#[derive(Debug)]
struct Times {
    since_ms: AtomicI64,
    /// When it was looked last; the first look is one behind a clock that may have been set while nobody watched.
    looked_ms: AtomicI64,
}

impl Watch {
    pub(super) fn begin(clock: &Clock) -> Self {
        Self(Arc::new(Times {
            since_ms: AtomicI64::new(clock.now_ms()),
            looked_ms: AtomicI64::new(i64::MAX),
        }))
    }

    /// Nothing moved while nobody watched: deadlines never count from before this.
    pub(super) fn since(&self) -> Timestamp {
        timestamp_from_ms(self.0.since_ms.load(Ordering::SeqCst))
    }

    /// By how much the clock was set back since the last look, if it was.
    fn look(&self, now_ms: i64) -> Option<SignedDuration> {
        let before = self.0.looked_ms.load(Ordering::SeqCst);
        let back = SignedDuration::from_millis(before.saturating_sub(now_ms));
        if back < SET_BACK {
            return None;
        }
        Some(back)
    }

    /// All that waits has followed by now.
    fn looked(&self, now_ms: i64) {
        self.0.since_ms.fetch_min(now_ms, Ordering::SeqCst);
        self.0.looked_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Deployments {
    /// Rights what waits, where the clock was set back since the last look, or may have been while the controller did not run.
    pub(super) async fn follow_clock(&self) -> Result<(), DeployError> {
        let now_ms = self.clock.now_ms();
        let Some(back) = self.watch.look(now_ms) else {
            self.watch.looked(now_ms);
            return Ok(());
        };
        self.hub.nothing_after(timestamp_from_ms(now_ms));
        let mut change = self.events.begin().await?;
        let mut righted = 0;
        for statement in RIGHTED {
            righted += sqlx::query(statement)
                .bind(now_ms)
                .execute(change.connection())
                .await
                .map_err(doing("follow the clock"))?
                .rows_affected();
        }
        if righted > 0 {
            change.commit().await?;
        }
        // Not before: what has failed is done at the next look.
        self.watch.looked(now_ms);
        if righted > 0 {
            tracing::warn!(%back, righted, "the clock was set back: what waits has its whole time once more");
        }
        Ok(())
    }
}
