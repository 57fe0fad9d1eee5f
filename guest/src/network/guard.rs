//! When a network that differs is put back: a decision without clock, file or kernel.
//!
//! ```text
//! right ──differs──> grace ──still differs──> putting back ──right──> told as restored
//!   ^                  │                          │  │
//!   └──right by itself─┘                          │  └─still differs: told once, tried again, less and less often
//!   └─────────────────────────────────────────────┘
//! ```
//!
//! What came right by itself is told too.
//!
//! What four attempts did not help is left until something else differs: a DHCP server that is gone does not come back by
//! restarting the services here. Somebody at work gets the grace, in which `accept` makes his files the right ones; it is shorter
//! where files and services are as they are to be and nobody is reached any more. A network that was not right yet since the guard
//! began is still coming up, and gets longer: switches and DHCP servers take their time. What no restoring can help, a cable that is out,
//! is waited for.

use std::time::Duration;

/// How patient the guard is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first look at which something differed to the first attempt.
    pub grace: Duration,
    /// The same where nobody is at work on the files, and nobody is reached.
    pub cut_off: Duration,
    /// The same where all was not right yet: the network is coming up.
    pub coming_up: Duration,
    /// From one attempt to the next; doubles each time.
    pub first_retry: Duration,
    /// Attempts before something else has to differ.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(20),
            cut_off: Duration::from_secs(8),
            coming_up: Duration::from_secs(40),
            first_retry: Duration::from_secs(20),
            tries: 4,
        }
    }
}

/// What a look at the network has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All is as it is to be.
    Right,
    /// Something differs, and putting it back may help.
    Differs {
        /// What is told.
        what: String,
        /// Files and services are as they are to be, and neither gateway nor controller is reached.
        cut_off: bool,
    },
    /// Something differs that only hands can change: no carrier.
    Unplugged,
}

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Put the files back and bring the network up.
    Restore {
        /// It was done before, and has not helped.
        again: bool,
    },
    /// Tell that it was put back: what had differed, and how long it took from the first look.
    TellRestored {
        /// What had differed.
        what: String,
        /// How long it was so.
        after: Duration,
    },
    /// Tell that it came right by itself: what had differed, and for how long.
    TellHealed {
        /// What had differed.
        what: String,
        /// How long it was so.
        after: Duration,
    },
    /// Tell that putting it back has not helped, and try again.
    TellAndRestore {
        /// What still differs.
        what: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Right,
    Grace {
        since: Duration,
        /// What differed at the first look.
        what: String,
        /// Whether all was right before.
        was_right: bool,
    },
    Restoring {
        since: Duration,
        what: String,
        /// What still differed at the last attempt.
        last: String,
        tried_at: Duration,
        tries: u32,
    },
}

/// The guard of one network.
#[derive(Debug)]
pub struct Guard {
    patience: Patience,
    phase: Phase,
    was_right: bool,
}

impl Guard {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            phase: Phase::Right,
            was_right: false,
        }
    }

    /// One whose network was put back before it began to look, at boot: what had differed is told when all is right.
    #[must_use]
    pub fn after(patience: Patience, what: String) -> Self {
        Self {
            patience,
            phase: Phase::Restoring {
                since: Duration::ZERO,
                last: String::new(),
                what,
                tried_at: patience.coming_up.saturating_sub(patience.first_retry),
                tries: 1,
            },
            was_right: false,
        }
    }

    /// After a look, at a time that only rises.
    pub fn decide(&mut self, now: Duration, found: Found) -> Act {
        self.was_right |= found == Found::Right;
        match (&mut self.phase, found) {
            (Phase::Right, Found::Right) => Act::Nothing,
            (Phase::Right, Found::Differs { what, .. }) => {
                self.phase = Phase::Grace {
                    since: now,
                    what,
                    was_right: self.was_right,
                };
                Act::Nothing
            }
            (Phase::Right | Phase::Grace { .. }, Found::Unplugged) => {
                self.phase = Phase::Right;
                Act::Nothing
            }
            (
                Phase::Grace {
                    since,
                    what,
                    was_right,
                },
                Found::Right,
            ) => {
                let act = match was_right {
                    true => Act::TellHealed {
                        what: std::mem::take(what),
                        after: now.saturating_sub(*since),
                    },
                    // It has only come up.
                    false => Act::Nothing,
                };
                self.phase = Phase::Right;
                act
            }
            (Phase::Grace { since, .. }, Found::Differs { what, cut_off }) => {
                let grace = match (self.was_right, cut_off) {
                    (false, _) => self.patience.coming_up,
                    (true, true) => self.patience.cut_off,
                    (true, false) => self.patience.grace,
                };
                if now.saturating_sub(*since) < grace {
                    return Act::Nothing;
                }
                self.phase = Phase::Restoring {
                    since: *since,
                    last: what.clone(),
                    what,
                    tried_at: now,
                    tries: 1,
                };
                Act::Restore { again: false }
            }
            (Phase::Restoring { since, what, .. }, Found::Right) => {
                let act = Act::TellRestored {
                    what: std::mem::take(what),
                    after: now.saturating_sub(*since),
                };
                self.phase = Phase::Right;
                act
            }
            (Phase::Restoring { tried_at, .. }, Found::Unplugged) => {
                *tried_at = now;
                Act::Nothing
            }
            (
                Phase::Restoring {
                    tried_at,
                    tries,
                    last,
                    ..
                },
                Found::Differs { what: still, .. },
            ) => {
                if *tries >= self.patience.tries && *last == still {
                    return Act::Nothing;
                }
                let factor = 1 << (*tries - 1).min(16);
                if now.saturating_sub(*tried_at) < self.patience.first_retry * factor {
                    return Act::Nothing;
                }
                *tried_at = now;
                *tries = if *tries >= self.patience.tries {
                    1
                } else {
                    *tries + 1
                };
                last.clone_from(&still);
                match *tries {
                    2 => Act::TellAndRestore { what: still },
                    _ => Act::Restore { again: *tries > 1 },
                }
            }
        }
    }

    /// How long to wait for something to happen before the next look.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        match self.phase {
            // Files tell nobody that they were changed.
            Phase::Right => Duration::from_secs(5),
            Phase::Grace { .. } | Phase::Restoring { .. } => Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn differs(what: &str) -> Found {
        Found::Differs {
            what: what.into(),
            cut_off: false,
        }
    }

    fn cut_off(what: &str) -> Found {
        Found::Differs {
            what: what.into(),
            cut_off: true,
        }
    }

    /// One whose network was right.
    fn guard() -> Guard {
        let mut guard = Guard::new(Patience::default());
        assert_eq!(guard.decide(at(0), Found::Right), Act::Nothing);
        guard
    }

    const RESTORE: Act = Act::Restore { again: false };

    #[test]
    fn what_differs_is_put_back_after_the_grace_and_told() {
        let mut guard = guard();
        assert_eq!(guard.decide(at(10), differs("a")), Act::Nothing);
        assert_eq!(guard.decide(at(29), differs("a")), Act::Nothing);
        assert_eq!(guard.decide(at(30), differs("b")), RESTORE);
        assert_eq!(guard.decide(at(32), differs("b")), Act::Nothing);
        let told = Act::TellRestored {
            what: "b".into(),
            after: at(24),
        };
        assert_eq!(guard.decide(at(34), Found::Right), told);
        assert_eq!(guard.decide(at(36), Found::Right), Act::Nothing);
    }

    #[test]
    fn who_is_cut_off_and_not_at_work_waits_less() {
        let mut guard = guard();
        assert_eq!(guard.decide(at(0), cut_off("a")), Act::Nothing);
        assert_eq!(guard.decide(at(7), cut_off("a")), Act::Nothing);
        // The controller was reached in between: somebody may be at work.
        assert_eq!(guard.decide(at(9), differs("a")), Act::Nothing);
        assert_eq!(guard.decide(at(11), cut_off("a")), RESTORE);
    }

    #[test]
    fn a_network_that_comes_up_is_given_time() {
        let mut guard = Guard::new(Patience::default());
        for second in 0..40 {
            assert_eq!(guard.decide(at(second), cut_off("no address yet")), Act::Nothing);
        }
        assert_eq!(guard.decide(at(40), cut_off("no address yet")), RESTORE);
    }

    #[test]
    fn what_was_put_back_at_boot_is_told_when_all_is_right() {
        let told = Act::TellRestored {
            what: "file".into(),
            after: at(6),
        };
        let mut guard = Guard::after(Patience::default(), "file".into());
        assert_eq!(guard.decide(at(2), differs("no address yet")), Act::Nothing);
        assert_eq!(guard.decide(at(6), Found::Right), told);
        assert_eq!(guard.decide(at(8), Found::Right), Act::Nothing);
        let mut guard = Guard::after(Patience::default(), "file".into());
        assert_eq!(guard.decide(at(39), differs("x")), Act::Nothing);
        assert!(matches!(
            guard.decide(at(40), differs("x")),
            Act::TellAndRestore { .. }
        ));
    }

    #[test]
    fn what_heals_or_is_accepted_in_the_grace_is_left_alone() {
        let mut guard = Guard::new(Patience::default());
        for round in 0..3 {
            let begin = round * 100;
            assert_eq!(guard.decide(at(begin), differs("a")), Act::Nothing);
            assert_eq!(guard.decide(at(begin + 10), differs("b")), Act::Nothing);
            let healed = Act::TellHealed {
                what: "a".into(),
                after: at(15),
            };
            // The first time it has only come up.
            let expected = if round == 0 { Act::Nothing } else { healed };
            assert_eq!(guard.decide(at(begin + 15), Found::Right), expected);
        }
    }

    #[test]
    fn a_cable_is_waited_for() {
        let mut guard = guard();
        for second in 0..1000 {
            assert_eq!(guard.decide(at(second), Found::Unplugged), Act::Nothing);
        }
        assert_eq!(
            guard.decide(at(1000), differs("a")),
            Act::Nothing,
            "the grace begins with it"
        );
        assert_eq!(guard.decide(at(1020), differs("a")), RESTORE);
    }

    #[test]
    fn what_does_not_help_is_told_once_and_tried_less_and_less() {
        let mut guard = guard();
        let mut acts = Vec::new();
        for second in 0..4000 {
            match guard.decide(at(second), differs("x")) {
                Act::Nothing => {}
                act => acts.push((second, act)),
            }
        }
        let times: Vec<u64> = acts.iter().map(|(second, _)| *second).collect();
        assert_eq!(times, [20, 40, 80, 160], "then nothing helps");
        let again = Act::Restore { again: true };
        assert_eq!((&acts[0].1, &acts[2].1), (&RESTORE, &again));
        let told = acts
            .iter()
            .filter(|(_, act)| matches!(act, Act::TellAndRestore { .. }));
        assert_eq!(told.map(|(second, _)| *second).collect::<Vec<_>>(), [40]);
        let other = guard.decide(at(4000), differs("y"));
        assert_eq!(other, RESTORE, "that is another matter");
    }

    proptest! {
        /// Whatever is found in whatever order: nothing is put back sooner than the grace after the last time all was right,
        /// and nothing is told as restored that was not put back.
        #[test]
        fn nobody_is_fought(looks in proptest::collection::vec((1_u64..30, 0_u8..4), 1..200)) {
            let mut guard = Guard::new(Patience::default());
            let (mut now, mut last_right, mut restored) = (0, None, false);
            for (pause, what) in looks {
                now += pause;
                let found = match what {
                    0 => Found::Right,
                    1 => differs("x"),
                    2 => cut_off("x"),
                    _ => Found::Unplugged,
                };
                let right = found == Found::Right;
                let grace = if found == cut_off("x") { 8 } else { 20 };
                match guard.decide(at(now), found) {
                    Act::Restore { .. } | Act::TellAndRestore { .. } => {
                        prop_assert!(last_right.is_none_or(|right| now - right >= grace));
                        restored = true;
                    }
                    Act::TellRestored { .. } => {
                        prop_assert!(restored && right);
                        restored = false;
                    }
                    Act::TellHealed { .. } => prop_assert!(right && !restored),
                    Act::Nothing => {}
                }
                if right {
                    last_right = Some(now);
                    restored = false;
                }
            }
        }
    }
}
