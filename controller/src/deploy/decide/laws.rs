//! What holds of every decision, whatever it rests on.

use proptest::prelude::*;

use super::{
    testing::at,
    tests::{connected, facts, problem},
    *,
};

fn any_agent() -> impl Strategy<Value = Agent> {
    prop_oneof![
        Just(Agent::Away),
        (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(busy, task, cancel)| connected(busy, task, cancel)),
    ]
}

fn any_outcome() -> impl Strategy<Value = Option<Outcome>> {
    prop_oneof![
        Just(None),
        Just(Some(Outcome::Success)),
        Just(Some(Outcome::Unreported)),
        Just(Some(Outcome::Failure(problem("write")))),
        Just(Some(Outcome::Cancelled)),
    ]
}

fn any_report() -> impl Strategy<Value = Option<Report>> {
    prop_oneof![
        Just(None),
        Just(Some(Report::Works)),
        Just(Some(Report::Fault(problem("first_boot_report")))),
    ]
}

fn any_volume() -> impl Strategy<Value = VolumeFact> {
    prop_oneof![
        Just(VolumeFact::Ready),
        Just(VolumeFact::Lost(problem("attach_volume"))),
        (0_i64..100_000).prop_map(|until| VolumeFact::Awaited {
            why: "the card is asked".to_owned(),
            until: at(until),
        }),
    ]
}

fn any_power() -> impl Strategy<Value = PowerFact> {
    let state = prop_oneof![
        Just(TryState::Running),
        (0_i64..100_000).prop_map(|then| TryState::Done(at(then))),
        (0_i64..100_000).prop_map(|then| TryState::Failed(at(then))),
    ];
    let last = state.prop_map(|state| LastTry {
        state,
        why: "the BMC is slow".to_owned(),
        remedy: "Look at it.".to_owned(),
    });
    prop_oneof![
        Just(PowerFact::ByHand {
            instructions: "rack 4".to_owned()
        }),
        (0_u32..8, proptest::option::of(last)).prop_map(|(tries, last)| PowerFact::Bmc { tries, last }),
    ]
}

fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        Just(Turn::Now),
        Just(Turn::Never),
        Just(Turn::Maintenance),
        (0_u32..9).prop_map(Turn::Behind),
    ]
}

prop_compose! {
    fn any_facts()(
        now in 0_i64..100_000, moved in 0_i64..100_000, cancel in proptest::option::of(0_i64..100_000),
        agent in any_agent(), outcome in any_outcome(), reported in any_report(), step in proptest::sample::select(Step::ALL), attempt in 1_u32..5,
        flags in proptest::array::uniform8(any::<bool>()), volume in any_volume(),
        turn in any_turn(), power in any_power(), called in proptest::option::of(0_i64..100_000),
        purpose in proptest::sample::select(Purpose::ALL), stays in proptest::option::of(0_i64..100_000),
    ) -> Facts {
        Facts {
            purpose,
            turn,
            stays_until: stays.map(at),
            now: at(now),
            agent,
            powered: flags[0],
            step,
            accepted: flags[1],
            restarted: flags[2],
            attempt,
            outcome,
            volume,
            data_disk: flags[3],
            up: flags[4],
            reported,
            resend: flags[5],
            sent: flags[6],
            held: flags[7],
            power,
            called_at: called.map(at),
            moved_at: at(moved),
            cancel_requested_at: cancel.map(at),
            limits: facts().limits,
        }
    }
}

proptest! {
    #[test]
    fn every_stay_has_a_reason_and_a_deadline_ahead(phase in proptest::sample::select(Phase::ALL), facts in any_facts()) {
        if let Decision::Stay { waiting_for, until } = decide(phase, &facts) {
            prop_assert!(!waiting_for.to_string().trim().is_empty());
            prop_assert!(until > facts.now);
        }
    }

    #[test]
    fn every_failure_has_cause_and_remedy(phase in proptest::sample::select(Phase::ALL), facts in any_facts()) {
        if let Decision::Go(Next::Failed(problem) | Next::Cancelled(Some(problem))) = decide(phase, &facts) {
            prop_assert!(!problem.step.is_empty() && !problem.cause.is_empty() && !problem.remedy.is_empty());
        }
    }

    #[test]
    fn time_alone_ends_every_wait(phase in proptest::sample::select(Phase::ALL), facts in any_facts()) {
        let late = Facts { now: at(10_000_000), ..facts };
        let stays = matches!(decide(phase, &late), Decision::Stay { .. });
        prop_assert!(!stays);
    }

    /// Who restored a database does not know whose server it is by now.
    #[test]
    fn a_node_on_hold_is_neither_booted_nor_given_a_task(phase in proptest::sample::select(Phase::ALL), facts in any_facts()) {
        let held = Facts { held: true, ..facts };
        let decision = decide(phase, &held);
        let acts = matches!(decision, Decision::Act(Effect::BootRamdisk | Effect::SwitchOn | Effect::SendTask));
        prop_assert!(!acts, "{:?}", decision);
    }

    #[test]
    fn what_is_to_be_cancelled_begins_nothing(phase in proptest::sample::select(Phase::ALL), facts in any_facts()) {
        let unwanted = Facts { cancel_requested_at: Some(facts.now), ..facts };
        let decision = decide(phase, &unwanted);
        let begins = matches!(
            decision,
            Decision::Act(Effect::BootRamdisk | Effect::SendTask) | Decision::Go(Next::AwaitAgent | Next::NewAttempt)
        );
        prop_assert!(!begins, "{:?}", decision);
    }
}
