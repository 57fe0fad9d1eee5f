//! What becomes of a volume, from what a card has answered. Pure.

use std::time::Duration;

use super::{Presence, ProviderError, VolumeState};

/// What a card is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To show the volume.
    Show,
    /// To show it no more.
    Hide,
    /// Whether it shows it.
    Look,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It shows it, under this name.
    Shown(String),
    /// It shows it no more.
    Hidden,
    /// What it shows.
    Seen(Presence),
    /// It did not do it.
    Failed {
        /// What happened.
        why: String,
        /// What can be done.
        remedy: String,
        /// Whether it can go better later.
        passing: bool,
    },
}

impl From<ProviderError> for Answer {
    fn from(error: ProviderError) -> Self {
        Self::Failed {
            why: error.to_string(),
            remedy: error.remedy().to_owned(),
            passing: error.passes(),
        }
    }
}

impl Answer {
    /// Whether the card may well say nothing to the next question either.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Failed { passing: true, .. })
    }
}

/// What becomes of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays as it is, for this reason; none: all is well.
    Stay(Reason),
    /// It changes.
    Go(VolumeState, Reason),
}

/// Why something is as it is, and what can be done; both are empty when all is well.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What is waited for, or what went wrong.
    pub why: String,
    /// What can be done.
    pub remedy: String,
}

/// How long attaching and detaching are tried.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Reason {
    /// Why a volume that comes into this state is there, before anything was answered.
    #[must_use]
    pub fn at_first(state: VolumeState) -> Self {
        let why = match state {
            VolumeState::Attaching => "the card is asked to show the volume",
            VolumeState::Detaching => "the card is asked to take the volume away",
            VolumeState::Preparing => "the back-end makes the volume",
            VolumeState::Deleting => "the back-end deletes the volume",
            VolumeState::Available | VolumeState::Attached | VolumeState::Error => "",
        };
        Self::new(why, "")
    }

    fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

/// What a volume's card is to be asked for.
#[must_use]
pub fn wish(state: VolumeState) -> Option<Wish> {
    match state {
        VolumeState::Attaching => Some(Wish::Show),
        VolumeState::Detaching => Some(Wish::Hide),
        VolumeState::Attached => Some(Wish::Look),
        VolumeState::Available | VolumeState::Error | VolumeState::Preparing | VolumeState::Deleting => None,
    }
}

/// How long a state may last before it is given up; `None`: for ever.
#[must_use]
pub fn patience(state: VolumeState) -> Option<Duration> {
    match state {
        VolumeState::Attaching | VolumeState::Detaching => Some(PATIENCE),
        VolumeState::Available
        | VolumeState::Attached
        | VolumeState::Error
        | VolumeState::Preparing
        | VolumeState::Deleting => None,
    }
}

/// `late`: the state's deadline has passed.
#[must_use]
pub fn decide(state: VolumeState, answer: &Answer, late: bool) -> Decision {
    use VolumeState as S;
    let well = Reason::default;
    match (state, answer) {
        (S::Attaching, Answer::Shown(_)) => Decision::Go(S::Attached, well()),
        (S::Detaching, Answer::Hidden) => Decision::Go(S::Available, well()),
        (S::Attached, Answer::Seen(presence)) => seen(*presence),
        // What a server works with is not given up because its card is silent.
        (S::Attached, Answer::Failed { why, remedy, .. }) => Decision::Stay(Reason::new(why, remedy)),
        (S::Attaching | S::Detaching, Answer::Failed { why, remedy, passing }) => {
            let reason = Reason::new(why, remedy);
            if *passing && !late {
                Decision::Stay(reason)
            } else {
                Decision::Go(S::Error, reason)
            }
        }
        // An answer to an older question.
        _ => Decision::Stay(well()),
    }
}

/// What the card shows is the truth.
fn seen(presence: Presence) -> Decision {
    match presence {
        Presence::Shown => Decision::Stay(Reason::default()),
        Presence::Offline => Decision::Stay(Reason::new(
            "the card does not reach the storage behind the volume; the server's requests wait",
            "Check the storage system and the card's network.",
        )),
        Presence::Unclear(number) => Decision::Stay(Reason::new(
            format!("the card says state {number}, which this controller does not know"),
            "Look at the card; update the controller.",
        )),
        Presence::Absent => Decision::Go(
            VolumeState::Error,
            Reason::new(
                "the card does not show the volume any more; somebody else has taken it away, or the card has lost its books",
                "Attach the volume again where it was, or detach it.",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(passing: bool) -> Answer {
        Answer::Failed {
            why: "no".into(),
            remedy: "do".into(),
            passing,
        }
    }

    #[test]
    fn a_failure_that_can_pass_waits_until_the_deadline() {
        for state in [VolumeState::Attaching, VolumeState::Detaching] {
            assert_eq!(
                decide(state, &failed(true), false),
                Decision::Stay(Reason::new("no", "do"))
            );
            for (passing, late) in [(true, true), (false, false), (false, true)] {
                let gone = Decision::Go(VolumeState::Error, Reason::new("no", "do"));
                assert_eq!(decide(state, &failed(passing), late), gone);
            }
        }
        assert!(matches!(
            decide(VolumeState::Attached, &failed(false), true),
            Decision::Stay(_)
        ));
    }

    #[test]
    fn what_waits_says_for_what_and_until_when() {
        for state in VolumeState::ALL {
            let waits = matches!(state, VolumeState::Attaching | VolumeState::Detaching);
            assert_eq!(patience(*state).is_some(), waits, "{state}");
            // The back-end takes the time that it needs.
            let works = matches!(state, VolumeState::Preparing | VolumeState::Deleting);
            assert_eq!(
                !Reason::at_first(*state).why.is_empty(),
                waits || works,
                "{state}"
            );
        }
    }

    #[test]
    fn what_the_card_shows_is_the_truth() {
        let attached = |presence| decide(VolumeState::Attached, &Answer::Seen(presence), false);
        assert_eq!(attached(Presence::Shown), Decision::Stay(Reason::default()));
        assert!(matches!(
            attached(Presence::Absent),
            Decision::Go(VolumeState::Error, _)
        ));
        assert!(matches!(attached(Presence::Offline), Decision::Stay(reason) if !reason.why.is_empty()));
        assert!(
            matches!(attached(Presence::Unclear(77)), Decision::Stay(reason) if reason.why.contains("77"))
        );
    }

    #[test]
    fn every_change_for_the_worse_has_a_reason_and_a_remedy() {
        let answers = [
            Answer::Shown("x".into()),
            Answer::Hidden,
            Answer::Seen(Presence::Absent),
            Answer::Seen(Presence::Shown),
            Answer::Seen(Presence::Offline),
            Answer::Seen(Presence::Unclear(9)),
            failed(true),
            failed(false),
        ];
        for state in VolumeState::ALL {
            for answer in &answers {
                for late in [false, true] {
                    if let Decision::Go(VolumeState::Error, reason) = decide(*state, answer, late) {
                        assert!(!reason.why.is_empty() && !reason.remedy.is_empty());
                    }
                    let moves = wish(*state).is_some();
                    assert!(moves || matches!(decide(*state, answer, late), Decision::Stay(_)));
                }
            }
        }
    }
}
