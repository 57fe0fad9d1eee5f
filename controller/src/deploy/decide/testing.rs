//! What the tests of decisions begin with.

use super::*;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// One second after a deployment began; nothing has happened. Every wait ends after 1000 seconds.
pub(super) fn begun() -> Facts {
    let limit = SignedDuration::from_secs(1000);
    Facts {
        purpose: Purpose::Install,
        turn: Turn::Now,
        now: at(1),
        agent: Agent::Away,
        called_at: None,
        powered: false,
        power: PowerFact::default(),
        step: Step::Power,
        sent: false,
        accepted: false,
        resend: false,
        restarted: false,
        held: false,
        attempt: 1,
        outcome: None,
        stays_until: None,
        volume: VolumeFact::Ready,
        data_disk: false,
        up: false,
        reported: None,
        moved_at: at(0),
        cancel_requested_at: None,
        limits: Limits {
            queue: limit,
            boot: limit,
            step: limit,
            first_boot: limit,
            cancel: limit,
        },
    }
}
