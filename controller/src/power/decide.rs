//! What a change of power does next. Pure: what the BMC said and how long ago it was asked come in as facts.
//!
//! Nothing is done because it was done before, but because the server is not yet as it should be: whatever ends the
//! controller or its connection in the middle, the next look goes on from what the server is.

use std::time::Duration;

use super::{
    BmcError, BootTarget, PowerState, PowerWish, Stage,
    bmc::{Override, Switch},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub wish: PowerWish,
    pub force: bool,
    pub boot: Option<BootTarget>,
}

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// What the BMC says of the power now.
    pub look: Result<PowerState, BmcError>,
    /// How long ago the present stage was asked for last.
    pub asked_ago: Option<Duration>,
    /// It is to be given up.
    pub late: bool,
    /// How long a change may take, until it is asked for again.
    pub patience: Duration,
    /// Whoever it is for still waits for it: an operator always, a deployment as long as it has the server, waits for its
    /// agent where the power is taken away, and its node is not on hold.
    pub wanted: bool,
}

/// A sentence for people, and what they can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reason {
    pub why: String,
    pub remedy: String,
}

impl Reason {
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: String::new(),
        }
    }
}

impl From<&BmcError> for Reason {
    fn from(error: &BmcError) -> Self {
        Self {
            why: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Look again in a while.
    Stay(Reason),
    /// Have it switched, then look again.
    Switch(Switch, Reason),
    /// Have the boot order overridden; [`overridden`] says what then.
    Boot(BootTarget),
    /// On to the next stage.
    Go(Stage),
    /// It is reached.
    Done(Reason),
    /// It is given up.
    Fail(Reason),
}

/// Decides by what the BMC says of the power.
pub(super) fn decide(plan: Plan, stage: Stage, facts: &Facts) -> Decision {
    if !facts.wanted && is_untouched(stage, facts) {
        return Decision::Fail(unwanted());
    }
    let state = match &facts.look {
        Ok(state) => *state,
        Err(error) if !error.passes() => return Decision::Fail(error.into()),
        Err(error) if facts.late => return Decision::Fail(error.into()),
        Err(error) => return Decision::Stay(error.into()),
    };
    let decision = match stage {
        Stage::Look => looked(plan, state),
        Stage::Try | Stage::Boot => match plan.boot {
            Some(target) => Decision::Boot(target),
            None => Decision::Go(Stage::On),
        },
        Stage::Off => match state {
            PowerState::Off if plan.wish == PowerWish::Off => Decision::Done(Reason::default()),
            PowerState::Off => after_off(plan),
            _ => ask(off_by(plan), facts),
        },
        Stage::On => match state {
            PowerState::On => Decision::Done(Reason::default()),
            _ => ask(Switch::On, facts),
        },
    };
    match decision {
        // Whoever has the server by now may be in service. What is off by our hand is switched on again all the same.
        Decision::Switch(Switch::Off | Switch::ShutDown, _) if !facts.wanted => Decision::Fail(unwanted()),
        Decision::Stay(_) | Decision::Switch(..) | Decision::Boot(_) if facts.late => {
            too_late(plan, stage, state)
        }
        decision => decision,
    }
}

/// Whether nothing was asked for yet.
fn is_untouched(stage: Stage, facts: &Facts) -> bool {
    match stage {
        Stage::Look | Stage::Try => true,
        Stage::Off => facts.asked_ago.is_none(),
        Stage::Boot | Stage::On => false,
    }
}

fn unwanted() -> Reason {
    Reason {
        why: "the deployment that it was for does not wait for it any more".to_owned(),
        remedy: "Nothing is to be done; imprint node power NODE status shows how the server is.".to_owned(),
    }
}

fn looked(plan: Plan, state: PowerState) -> Decision {
    let already = |what| Decision::Done(Reason::new(format!("it was {what} already")));
    match (state, plan.wish) {
        (PowerState::On, PowerWish::On) if plan.boot.is_none() => already("on"),
        (PowerState::On, PowerWish::On) => Decision::Done(Reason {
            why: "it was on already, and boots nothing anew".to_owned(),
            remedy: "cycle switches it off for that.".to_owned(),
        }),
        (PowerState::Off, PowerWish::Off) => already("off"),
        (PowerState::On, PowerWish::Cycle) if plan.boot.is_some() => Decision::Go(Stage::Try),
        (PowerState::On, _) => Decision::Go(Stage::Off),
        (PowerState::Off, _) => after_off(plan),
        (PowerState::Changing, _) => Decision::Stay(Reason::new("the power of the server is just changing")),
        (PowerState::Unknown, _) => {
            Decision::Stay(Reason::new("the BMC does not say whether the server is on"))
        }
    }
}

fn after_off(plan: Plan) -> Decision {
    Decision::Go(if plan.boot.is_some() {
        Stage::Boot
    } else {
        Stage::On
    })
}

/// Whoever wants it off is asked first; who wants it to start anew wants that now.
fn off_by(plan: Plan) -> Switch {
    if plan.wish == PowerWish::Off && !plan.force {
        Switch::ShutDown
    } else {
        Switch::Off
    }
}

fn ask(switch: Switch, facts: &Facts) -> Decision {
    let reason = Reason::new(match switch {
        Switch::On => "the server was told to power on",
        Switch::Off => "the server was told to power off",
        Switch::ShutDown => "the system was asked to shut down",
    });
    match facts.asked_ago {
        Some(ago) if ago < facts.patience => Decision::Stay(reason),
        _ => Decision::Switch(switch, reason),
    }
}

fn too_late(plan: Plan, stage: Stage, state: PowerState) -> Decision {
    let (why, remedy) = match stage {
        Stage::Off if off_by(plan) == Switch::ShutDown => (
            "the system did not shut down in time".to_owned(),
            "Switch it off by force (--force); what it has not written is lost then.",
        ),
        _ => (
            format!("the server was not switched in time; the BMC says that its power is {state}"),
            "Look at the server and at the BMC's own log. If it only takes longer: --quirk power-seconds=300.",
        ),
    };
    Decision::Fail(Reason {
        why,
        remedy: remedy.to_owned(),
    })
}

/// Decides by what came of the override. Without it a deployment goes on: the boot order may have the network first.
/// Whoever asked for it by name gets it, or nothing is changed.
pub(super) fn overridden(
    stage: Stage,
    for_deployment: bool,
    late: bool,
    came: Result<Override, BmcError>,
) -> (Decision, Option<Reason>) {
    let next = if stage == Stage::Try {
        Stage::Off
    } else {
        Stage::On
    };
    match came {
        Ok(Override::Once | Override::Stays) => (Decision::Go(next), None),
        Ok(Override::Unconfirmed) => {
            let note = Reason::new("the BMC took the override of the boot order, and does not show it");
            (Decision::Go(next), Some(note))
        }
        Err(error) if error.passes() && !late => (Decision::Stay((&error).into()), None),
        Err(error) if for_deployment => {
            let note = Reason {
                why: format!("the server follows its own boot order: {error}"),
                remedy: error.remedy(),
            };
            (Decision::Go(next), Some(note))
        }
        Err(error) => (Decision::Fail((&error).into()), None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn plan(wish: PowerWish, boot: Option<BootTarget>) -> Plan {
        Plan {
            wish,
            force: false,
            boot,
        }
    }

    fn facts(state: PowerState) -> Facts {
        Facts {
            look: Ok(state),
            asked_ago: None,
            late: false,
            patience: MINUTE,
            wanted: true,
        }
    }

    fn silent() -> BmcError {
        BmcError::Silent {
            address: "a".to_owned(),
            said: "nothing".to_owned(),
        }
    }

    /// A server that does what it is told, after some looks.
    struct Server {
        state: PowerState,
        lags: usize,
        pending: Option<(usize, PowerState)>,
        switched: Vec<Switch>,
        booted: usize,
    }

    impl Server {
        fn look(&mut self) -> PowerState {
            match &mut self.pending {
                Some((0, state)) => {
                    self.state = *state;
                    self.pending = None;
                }
                Some((looks, _)) => *looks -= 1,
                None => {}
            }
            self.state
        }

        fn switch(&mut self, switch: Switch) {
            self.switched.push(switch);
            let state = if switch == Switch::On {
                PowerState::On
            } else {
                PowerState::Off
            };
            self.pending = Some((self.lags, state));
        }
    }

    /// Runs a plan to its end, as the shell does.
    fn run(plan: Plan, server: &mut Server) -> Decision {
        let (mut stage, mut asked) = (Stage::Look, None);
        for look in 0..200_u64 {
            let facts = Facts {
                asked_ago: asked.map(|at: u64| Duration::from_secs(look - at)),
                ..facts(server.look())
            };
            match decide(plan, stage, &facts) {
                Decision::Stay(_) => {}
                Decision::Switch(switch, _) => {
                    server.switch(switch);
                    asked = Some(look);
                }
                Decision::Boot(_) => {
                    server.booted += 1;
                    let (Decision::Go(next), None) = overridden(stage, false, false, Ok(Override::Once))
                    else {
                        panic!("an override that was taken goes on");
                    };
                    (stage, asked) = (next, None);
                }
                Decision::Go(next) => (stage, asked) = (next, None),
                end => return end,
            }
        }
        panic!("no end: {:?}", server.switched);
    }

    proptest! {
        /// However slow a server is and whatever it was: it ends as it is wanted, and was told no more than it has to be.
        #[test]
        fn every_plan_ends_where_it_should(
            wish in prop::sample::select(PowerWish::ALL.to_vec()),
            boot in prop::option::of(prop::sample::select(BootTarget::ALL.to_vec())),
            was_on: bool,
            lags in 0_usize..40,
        ) {
            let mut server = Server {
                state: if was_on { PowerState::On } else { PowerState::Off },
                lags,
                pending: None,
                switched: Vec::new(),
                booted: 0,
            };
            let boot = boot.filter(|_| wish != PowerWish::Off);
            let ended = run(plan(wish, boot), &mut server);
            prop_assert!(matches!(ended, Decision::Done(_)), "{ended:?}");
            let expected = if wish == PowerWish::Off { PowerState::Off } else { PowerState::On };
            prop_assert_eq!(server.state, expected);
            prop_assert!(server.switched.len() <= 2, "{:?}", server.switched);
            prop_assert_eq!(server.switched.contains(&Switch::Off), was_on && wish == PowerWish::Cycle);
            // Set last while it is off: some forget it after a minute.
            let booted = match (boot, was_on, wish) {
                (None, ..) | (_, true, PowerWish::On) => 0,
                (Some(_), true, _) => 2,
                (Some(_), false, _) => 1,
            };
            prop_assert_eq!(server.booted, booted);
        }

        /// Whatever is said and however long ago: who waits says for what, and nothing is waited for in the end.
        #[test]
        fn nothing_waits_without_a_reason_or_for_ever(
            wish in prop::sample::select(PowerWish::ALL.to_vec()),
            stage in prop::sample::select(Stage::ALL.to_vec()),
            state in prop::sample::select(PowerState::ALL.to_vec()),
            boot in prop::option::of(prop::sample::select(BootTarget::ALL.to_vec())),
            asked in prop::option::of(0_u64..200),
            late: bool,
            is_silent: bool,
            wanted: bool,
        ) {
            let facts = Facts {
                look: if is_silent { Err(silent()) } else { Ok(state) },
                asked_ago: asked.map(Duration::from_secs),
                late,
                patience: MINUTE,
                wanted,
            };
            let decision = decide(plan(wish, boot), stage, &facts);
            if let Decision::Switch(Switch::Off | Switch::ShutDown, _) = decision {
                prop_assert!(wanted, "nobody loses his power for what is not wanted any more");
            }
            match decision {
                Decision::Stay(reason) | Decision::Switch(_, reason) => {
                    prop_assert!(!late && !reason.why.is_empty());
                }
                Decision::Boot(_) => prop_assert!(!late),
                Decision::Fail(reason) => prop_assert!(!reason.why.is_empty() && !reason.remedy.is_empty()),
                Decision::Go(_) | Decision::Done(_) => {}
            }
        }
    }

    #[test]
    fn what_is_asked_for_in_vain_is_asked_for_again_and_not_before() {
        let on = plan(PowerWish::On, None);
        let asked = |ago| Facts {
            asked_ago: Some(Duration::from_secs(ago)),
            ..facts(PowerState::Off)
        };
        assert!(matches!(decide(on, Stage::On, &asked(59)), Decision::Stay(_)));
        assert!(matches!(
            decide(on, Stage::On, &asked(60)),
            Decision::Switch(Switch::On, _)
        ));
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun_and_what_is_off_is_switched_on_again() {
        let cycle = plan(PowerWish::Cycle, Some(BootTarget::Pxe));
        let unwanted = |state| Facts {
            wanted: false,
            ..facts(state)
        };
        // Whatever the BMC says, also when it says nothing.
        let silent = Facts {
            look: Err(silent()),
            ..unwanted(PowerState::On)
        };
        for stage in [Stage::Look, Stage::Try, Stage::Off] {
            for facts in [&silent, &unwanted(PowerState::On), &unwanted(PowerState::Off)] {
                let ended = decide(cycle, stage, facts);
                assert!(matches!(ended, Decision::Fail(_)), "{stage:?}: {ended:?}");
            }
        }
        // What was asked for may be under way.
        let asked = |state, ago| Facts {
            asked_ago: Some(Duration::from_secs(ago)),
            ..unwanted(state)
        };
        let on = PowerState::On;
        assert!(matches!(
            decide(cycle, Stage::Off, &asked(on, 1)),
            Decision::Stay(_)
        ));
        assert!(matches!(
            decide(cycle, Stage::Off, &asked(on, 60)),
            Decision::Fail(_)
        ));
        let off = PowerState::Off;
        assert_eq!(
            decide(cycle, Stage::Off, &asked(off, 1)),
            Decision::Go(Stage::Boot)
        );
        assert!(matches!(
            decide(cycle, Stage::On, &unwanted(off)),
            Decision::Switch(Switch::On, _)
        ));
    }

    #[test]
    fn a_wrong_password_is_not_tried_again() {
        let wrong = BmcError::Credentials {
            address: "a".to_owned(),
            user: "root".to_owned(),
        };
        let facts = Facts {
            look: Err(wrong),
            ..facts(PowerState::Off)
        };
        let ended = decide(plan(PowerWish::On, None), Stage::On, &facts);
        assert!(matches!(ended, Decision::Fail(_)), "{ended:?}");
    }

    #[test]
    fn a_system_is_asked_before_it_is_switched_off_unless_by_force() {
        let off = plan(PowerWish::Off, None);
        let on = facts(PowerState::On);
        assert!(matches!(
            decide(off, Stage::Off, &on),
            Decision::Switch(Switch::ShutDown, _)
        ));
        let force = Plan { force: true, ..off };
        assert!(matches!(
            decide(force, Stage::Off, &on),
            Decision::Switch(Switch::Off, _)
        ));
        let late = Facts { late: true, ..on };
        let Decision::Fail(reason) = decide(off, Stage::Off, &late) else {
            panic!("it is late");
        };
        assert!(reason.remedy.contains("--force"), "{reason:?}");
    }

    #[test]
    fn without_an_override_a_deployment_goes_on_and_an_operator_is_told() {
        let none = || BmcError::Target {
            address: "a".to_owned(),
            target: BootTarget::Pxe,
            allowed: vec!["Hdd".to_owned()],
        };
        let (decision, note) = overridden(Stage::Boot, true, false, Err(none()));
        assert_eq!(decision, Decision::Go(Stage::On));
        assert!(note.unwrap().why.contains("boot order"));
        let (decision, _) = overridden(Stage::Try, false, false, Err(none()));
        assert!(matches!(decision, Decision::Fail(_)), "{decision:?}");
        let (decision, _) = overridden(Stage::Try, true, false, Err(silent()));
        assert!(matches!(decision, Decision::Stay(_)), "{decision:?}");
        let (decision, _) = overridden(Stage::Try, true, true, Err(silent()));
        assert_eq!(decision, Decision::Go(Stage::Off));
    }
}
