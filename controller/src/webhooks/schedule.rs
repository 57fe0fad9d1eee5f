//! What follows a refusal. Pure.

use jiff::{SignedDuration, Timestamp};

/// Fewer refusals than this are no reason to give up, however long they took.
const FEWEST_ATTEMPTS: i64 = 5;
/// The longest wait.
const LONGEST_SECONDS: i64 = 3600;

/// What a webhook refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// For people.
    pub error: String,
    /// The receiver says that it is no more: 410.
    pub gone: bool,
    /// When it wants to be asked again.
    pub retry_after: Option<SignedDuration>,
}

/// How long refusals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// The wait after the first one.
    pub first_wait: SignedDuration,
    /// From the first one until the webhook is disabled.
    pub give_up: SignedDuration,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Send it again.
    Again { at: Timestamp },
    /// Send nothing more.
    Disable { why: String },
}

/// After `attempts` refusals in a row (this one counted), the first of them at `since`. `jitter` is 0 to 1: receivers that
/// come back are not asked by all at once.
pub(super) fn after(
    refused: &Refused,
    attempts: i64,
    since: Timestamp,
    now: Timestamp,
    patience: Patience,
    jitter: f64,
) -> Then {
    if refused.gone {
        return Then::Disable {
            why: format!("the receiver says that it is gone for good: {}", refused.error),
        };
    }
    if attempts >= FEWEST_ATTEMPTS && now.duration_since(since) >= patience.give_up {
        return Then::Disable {
            why: format!(
                "the same event was refused {attempts} times since {since}; the last time: {}",
                refused.error
            ),
        };
    }
    let doublings = u32::try_from(attempts - 1).unwrap_or(u32::MAX).min(20);
    let wait = patience
        .first_wait
        .as_secs()
        .saturating_mul(1 << doublings)
        .min(LONGEST_SECONDS);
    let wait = SignedDuration::from_secs(wait);
    let spread = wait.mul_f64(0.2 * jitter.clamp(0.0, 1.0));
    let asked = refused
        .retry_after
        .unwrap_or_default()
        .clamp(SignedDuration::ZERO, SignedDuration::from_secs(LONGEST_SECONDS));
    let at = now
        .checked_add(wait.max(asked) + spread)
        .unwrap_or(Timestamp::MAX);
    Then::Again { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);
    const PATIENCE: Patience = Patience {
        first_wait: SignedDuration::from_secs(5),
        give_up: DAY,
    };

    fn refused() -> Refused {
        Refused {
            error: "it answered 500".to_owned(),
            gone: false,
            retry_after: None,
        }
    }

    fn wait(refused: &Refused, attempts: i64, jitter: f64) -> i64 {
        let now = Timestamp::UNIX_EPOCH;
        match after(refused, attempts, now, now, PATIENCE, jitter) {
            Then::Again { at } => at.duration_since(now).as_secs(),
            Then::Disable { why } => panic!("{why}"),
        }
    }

    #[test]
    fn waits_grow_to_an_hour_and_spread() {
        let waits: Vec<i64> = (1..=12).map(|n| wait(&refused(), n, 0.0)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(
            (wait(&refused(), 100, 0.0), wait(&refused(), i64::MAX, 0.0)),
            (3600, 3600)
        );
        assert_eq!((wait(&refused(), 1, 1.0), wait(&refused(), 12, 1.0)), (6, 4320));
    }

    #[test]
    fn a_receiver_may_ask_for_time_but_not_for_ever() {
        let asks = |seconds| Refused {
            retry_after: Some(SignedDuration::from_secs(seconds)),
            ..refused()
        };
        assert_eq!(wait(&asks(120), 1, 0.0), 120);
        assert_eq!(wait(&asks(1), 3, 0.0), 20);
        assert_eq!(wait(&asks(i64::MAX), 1, 0.0), 3600);
        assert_eq!(wait(&asks(-5), 1, 0.0), 5);
    }

    #[test]
    fn it_is_given_up_after_its_time_and_not_after_a_few_tries() {
        let (since, late) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + DAY);
        let then = |attempts, now| after(&refused(), attempts, since, now, PATIENCE, 0.0);
        assert!(matches!(then(FEWEST_ATTEMPTS - 1, late), Then::Again { .. }));
        let early = late - SignedDuration::from_secs(1);
        assert!(matches!(then(1000, early), Then::Again { .. }));
        let Then::Disable { why } = then(FEWEST_ATTEMPTS, late) else {
            panic!("it goes on")
        };
        assert!(why.contains("it answered 500"), "{why}");
        let gone = Refused {
            gone: true,
            ..refused()
        };
        assert!(matches!(
            after(&gone, 1, since, since, PATIENCE, 0.0),
            Then::Disable { .. }
        ));
    }
}
