//! How a server comes to boot the ramdisk: by its BMC, or by hand. What a BMC does not do stops nothing: the server may be
//! powered by hand all the same, until the deadline.

use jiff::{SignedDuration, Timestamp};

use super::{Waiting, later};

/// How often a BMC is asked to have the server boot the ramdisk.
pub const MAX_TRIES: u32 = 3;
/// An agent whose session has just been lost calls again by itself.
const GRACE: SignedDuration = SignedDuration::from_secs(15);
/// How long a server with much memory may check it before it asks for the ramdisk.
const BOOTS: SignedDuration = SignedDuration::from_mins(10);
/// What was heard of a moment ago goes on by itself: a network that was cut comes back, and firmware takes its time.
const QUIET: SignedDuration = SignedDuration::from_mins(2);
/// How often a BMC is asked about one deployment at all: the starts of the ramdisk, and what was lost in the middle.
const MAX_ALL: u32 = 2 * MAX_TRIES;
/// After the first failure; longer after each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// How the power of a deployment's server is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PowerFact {
    /// By hand.
    ByHand {
        /// What people have to know.
        instructions: String,
    },
    /// By its BMC.
    Bmc {
        /// How often it was asked for this deployment.
        tries: u32,
        /// What is under way, or came of the last time.
        last: Option<LastTry>,
    },
}

impl Default for PowerFact {
    fn default() -> Self {
        Self::ByHand {
            instructions: String::new(),
        }
    }
}

/// What came of asking a BMC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastTry {
    /// How it stands.
    pub state: TryState,
    /// What is waited for, went wrong or is worth knowing.
    pub why: String,
    /// What can be done.
    pub remedy: String,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryState {
    /// It goes on.
    Running,
    /// The server was switched on then.
    Done(Timestamp),
    /// It was given up then.
    Failed(Timestamp),
}

/// What is to be done so that the server boots the ramdisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ByBmc {
    /// The BMC is to be asked now.
    Ask,
    /// Nothing, but to wait for this.
    Wait(Waiting),
}

/// The pause after so many failures.
fn pause(tries: u32) -> SignedDuration {
    FIRST_PAUSE
        .checked_mul(1 << (2 * tries.saturating_sub(1)).min(8))
        .unwrap_or(SignedDuration::MAX)
}

/// Decides for a server that has not asked for the ramdisk since `moved_at`.
pub(super) fn by_bmc(power: &PowerFact, now: Timestamp, moved_at: Timestamp) -> ByBmc {
    let (tries, last) = match power {
        PowerFact::ByHand { instructions } if instructions.is_empty() => return ByBmc::Wait(Waiting::Power),
        PowerFact::ByHand { instructions } => {
            return ByBmc::Wait(Waiting::PowerByHand(instructions.clone()));
        }
        PowerFact::Bmc { tries, last } => (*tries, last),
    };
    let Some(last) = last else {
        return if now < later(moved_at, GRACE) {
            ByBmc::Wait(Waiting::PowerByBmc("it is asked in a moment".to_owned()))
        } else {
            ByBmc::Ask
        };
    };
    let may_ask = tries < MAX_TRIES;
    match last.state {
        TryState::Running => ByBmc::Wait(Waiting::PowerByBmc(last.why.clone())),
        TryState::Failed(at) if may_ask && now >= later(at, pause(tries)) => ByBmc::Ask,
        TryState::Done(at) if may_ask && now >= later(at, BOOTS) => ByBmc::Ask,
        TryState::Failed(_) => ByBmc::Wait(Waiting::PowerFailed {
            why: last.why.clone(),
            remedy: last.remedy.clone(),
            again: may_ask,
        }),
        TryState::Done(_) => ByBmc::Wait(Waiting::NetworkBoot(last.why.clone())),
    }
}

/// Whether a BMC is to switch a server on, should it be off: nothing was heard of it since `moved_at`, where somebody should
/// have been. One that is on is left alone: whoever works there may only be cut off.
pub(super) fn on_again(power: &PowerFact, now: Timestamp, moved_at: Timestamp) -> bool {
    let PowerFact::Bmc { tries, last } = power else {
        return false;
    };
    if *tries >= MAX_ALL || now < later(moved_at, QUIET) {
        return false;
    }
    match last.as_ref().map(|last| last.state) {
        None => true,
        Some(TryState::Running) => false,
        // That was before it was lost.
        Some(TryState::Done(at) | TryState::Failed(at)) if at < moved_at => true,
        Some(TryState::Done(at)) => now >= later(at, BOOTS),
        Some(TryState::Failed(at)) => now >= later(at, pause(*tries)),
    }
}

/// What a BMC has last said of a server that was lost since `moved_at`; empty when it was not asked.
pub(super) fn said(power: &PowerFact, moved_at: Timestamp) -> String {
    let PowerFact::Bmc { last: Some(last), .. } = power else {
        return String::new();
    };
    match last.state {
        TryState::Done(at) if at >= moved_at => {
            format!(
                " Its BMC says that it is on{}.",
                if last.why.is_empty() {
                    String::new()
                } else {
                    format!(": {}", last.why)
                }
            )
        }
        TryState::Failed(at) if at >= moved_at => format!(" Its BMC has not helped: {}.", last.why),
        TryState::Done(_) | TryState::Failed(_) | TryState::Running => String::new(),
    }
}

/// Why a server has not booted the ramdisk in time, and what can be done, as far as its BMC knows.
pub(super) fn in_vain(power: &PowerFact) -> Option<(String, String)> {
    let PowerFact::Bmc { last: Some(last), .. } = power else {
        return None;
    };
    let note = if last.why.is_empty() {
        String::new()
    } else {
        format!(" ({})", last.why)
    };
    Some(match last.state {
        TryState::Running | TryState::Failed(_) => (
            format!(
                "The server did not boot the ramdisk in time; its BMC has not switched it on: {}.",
                last.why
            ),
            format!(
                "{} Or power the server on by hand, with network boot first in its boot order; then {{again}}.",
                last.remedy
            ),
        ),
        TryState::Done(_) => (
            format!("The BMC has switched the server on{note}, but it did not boot the ramdisk in time."),
            "Look at the server's console: does it try the network, and does DHCP answer? Does it find its CD, where it is to boot one? Put the network first in its boot order, then {again}."
                .to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tried(tries: u32, state: TryState) -> PowerFact {
        PowerFact::Bmc {
            tries,
            last: Some(LastTry {
                state,
                why: "no answer".to_owned(),
                remedy: "Look.".to_owned(),
            }),
        }
    }

    #[test]
    fn a_bmc_is_asked_once_and_again_with_pauses_and_then_no_more() {
        let fresh = PowerFact::Bmc { tries: 0, last: None };
        for (power, second, asks) in [
            (PowerFact::default(), 100, false),
            (fresh.clone(), 14, false),
            (fresh, 15, true),
            (tried(1, TryState::Running), 1000, false),
            (tried(1, TryState::Failed(at(100))), 159, false),
            (tried(1, TryState::Failed(at(100))), 160, true),
            (tried(2, TryState::Failed(at(100))), 339, false),
            (tried(2, TryState::Failed(at(100))), 340, true),
            (tried(MAX_TRIES, TryState::Failed(at(100))), 100_000, false),
            (tried(1, TryState::Done(at(100))), 699, false),
            (tried(1, TryState::Done(at(100))), 700, true),
            (tried(MAX_TRIES, TryState::Done(at(100))), 100_000, false),
        ] {
            let decided = by_bmc(&power, at(second), at(0));
            assert_eq!(decided == ByBmc::Ask, asks, "{power:?} at {second}: {decided:?}");
        }
    }

    #[test]
    fn what_is_waited_for_names_the_problem_of_the_bmc() {
        let wait = |power| match by_bmc(&power, at(101), at(0)) {
            ByBmc::Wait(waiting) => waiting.to_string(),
            ByBmc::Ask => panic!("it waits"),
        };
        let failed = wait(tried(1, TryState::Failed(at(100))));
        assert!(
            failed.contains("no answer") && failed.contains("by hand") && failed.contains("again"),
            "{failed}"
        );
        let over = wait(tried(MAX_TRIES, TryState::Failed(at(100))));
        assert!(
            !over.contains("asked again") && over.contains("by hand"),
            "{over}"
        );
        let by_hand = wait(PowerFact::ByHand {
            instructions: "rack 4".to_owned(),
        });
        assert!(by_hand.contains("rack 4"), "{by_hand}");
        let (cause, remedy) = in_vain(&tried(3, TryState::Failed(at(100)))).unwrap();
        assert!(
            cause.contains("no answer") && remedy.contains("Look. Or power"),
            "{cause} {remedy}"
        );
    }

    #[test]
    fn a_lost_server_is_switched_on_again_after_a_while() {
        let fresh = PowerFact::Bmc { tries: 0, last: None };
        // It was lost at second 1000.
        for (power, second, asks) in [
            (PowerFact::default(), 9000, false),
            (fresh.clone(), 1119, false),
            (fresh, 1120, true),
            (tried(1, TryState::Done(at(900))), 1120, true),
            (tried(1, TryState::Failed(at(900))), 1120, true),
            (tried(1, TryState::Running), 9000, false),
            (tried(2, TryState::Done(at(1120))), 1719, false),
            (tried(2, TryState::Done(at(1120))), 1720, true),
            (tried(2, TryState::Failed(at(1120))), 1359, false),
            (tried(2, TryState::Failed(at(1120))), 1360, true),
            (tried(MAX_ALL, TryState::Done(at(900))), 9000, false),
        ] {
            assert_eq!(
                on_again(&power, at(second), at(1000)),
                asks,
                "{power:?} at {second}"
            );
        }
        assert_eq!(said(&tried(1, TryState::Done(at(900))), at(1000)), "");
        assert!(said(&tried(1, TryState::Done(at(1000))), at(1000)).contains("it is on: no answer"));
        assert!(said(&tried(1, TryState::Failed(at(1000))), at(1000)).contains("not helped: no answer"));
    }

    proptest! {
        /// However long it goes on and whatever comes of it: a BMC is asked a bounded number of times.
        #[test]
        fn asking_ends(outcomes in prop::collection::vec(any::<bool>(), 10)) {
            let (mut power, mut asked) = (PowerFact::Bmc { tries: 0, last: None }, 0);
            let mut outcomes = outcomes.into_iter();
            for second in 0..20_000 {
                if by_bmc(&power, at(second), at(0)) == ByBmc::Ask {
                    asked += 1;
                    let good = outcomes.next().unwrap_or(false);
                    let state = if good { TryState::Done(at(second)) } else { TryState::Failed(at(second)) };
                    power = tried(asked, state);
                }
            }
            prop_assert_eq!(asked, MAX_TRIES);
        }
    }
}
