//! The tables of `docs/lifecycle.md`, written by the code itself: `UPDATE_DOCS=1` writes them anew.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    testing::{at, begun},
    *,
};
use crate::{inventory::NodeState, lifecycle::NodeEvent, testing::generated};

/// The agent is there and has the task.
fn works() -> Facts {
    Facts {
        powered: true,
        step: Step::Write,
        sent: true,
        accepted: true,
        agent: Agent::Connected {
            busy: false,
            task_sent: true,
            cancel_sent: false,
        },
        ..begun()
    }
}

fn problem() -> NodeProblem {
    NodeProblem {
        step: "write".to_owned(),
        cause: "as told".to_owned(),
        remedy: "as told".to_owned(),
    }
}

const LATE: i64 = 2000;

fn late(facts: Facts) -> Facts {
    Facts {
        now: at(LATE),
        ..facts
    }
}

fn away(facts: Facts) -> Facts {
    Facts {
        agent: Agent::Away,
        ..facts
    }
}

fn cancelled(facts: Facts) -> Facts {
    Facts {
        cancel_requested_at: Some(at(0)),
        ..facts
    }
}

fn bmc(tries: u32, state: Option<TryState>) -> PowerFact {
    PowerFact::Bmc {
        tries,
        last: state.map(|state| LastTry {
            state,
            why: "as the BMC tells it".to_owned(),
            remedy: "What can be done.".to_owned(),
        }),
    }
}

fn free() -> Agent {
    Agent::Connected {
        busy: false,
        task_sent: false,
        cancel_sent: false,
    }
}

#[rustfmt::skip]
fn situations() -> Vec<(&'static str, Phase, Facts)> {
    use Phase::{AgentWorks as Works, AwaitAgent as Await, AwaitReport as Report, Queued};
    let volume = VolumeFact::Awaited { why: "the card is asked".to_owned(), until: at(1500) };
    let boots = Facts { powered: true, step: Step::Boot, ..begun() };
    let rescue = Facts { purpose: Purpose::Rescue, stays_until: Some(at(1500)), ..works() };
    let asleep = Facts { purpose: Purpose::Rescue, stays_until: Some(at(1500)), ..begun() };
    let first = Facts { step: Step::FirstBootReport, ..away(works()) };
    vec![
        ("of a batch, others are before it", Queued, Facts { turn: Turn::Behind(3), ..begun() }),
        ("of a batch, its node is in maintenance", Queued, Facts { turn: Turn::Maintenance, ..begun() }),
        ("its turn has come", Queued, begun()),
        ("the batch was stopped", Queued, Facts { turn: Turn::Never, ..begun() }),
        ("its turn did not come", Queued, late(Facts { turn: Turn::Behind(3), ..begun() })),
        ("its node stays in maintenance", Queued, late(Facts { turn: Turn::Maintenance, ..begun() })),
        ("cancelled", Queued, cancelled(begun())),
        ("begun", Await, begun()),
        ("begun, the server has a BMC", Await, Facts { now: at(20), power: bmc(0, None), ..begun() }),
        ("the BMC is asked", Await, Facts { power: bmc(1, Some(TryState::Running)), ..begun() }),
        ("the BMC has switched the server on", Await, Facts { power: bmc(1, Some(TryState::Done(at(0)))), ..begun() }),
        ("the BMC has failed", Await, Facts { power: bmc(1, Some(TryState::Failed(at(0)))), ..begun() }),
        ("the BMC has failed some time ago", Await, Facts { now: at(100), power: bmc(1, Some(TryState::Failed(at(0)))), ..begun() }),
        ("the BMC has failed too often", Await, Facts { now: at(100), power: bmc(3, Some(TryState::Failed(at(0)))), ..begun() }),
        ("the server has asked for the ramdisk", Await, boots.clone()),
        ("the server has asked for the ramdisk and is silent, it has a BMC", Await, Facts { now: at(200), power: bmc(1, Some(TryState::Done(at(-60)))), ..boots.clone() }),
        ("the server never asked for the ramdisk", Await, late(begun())),
        ("the agent never called", Await, late(boots)),
        ("the agent calls", Await, Facts { agent: free(), ..begun() }),
        ("the agent calls, its volume is not there yet", Await, Facts { agent: free(), volume: volume.clone(), ..begun() }),
        ("a rescue: the agent of another boot is there, the server has a BMC", Await, Facts { now: at(20), agent: free(), power: bmc(0, None), ..asleep.clone() }),
        ("a rescue: the same without a BMC", Await, Facts { agent: free(), ..asleep.clone() }),
        ("a rescue: its time is over", Await, late(asleep)),
        ("the volume did not come", Await, late(Facts { agent: free(), volume, ..begun() })),
        ("the volume is lost", Await, Facts { volume: VolumeFact::Lost(problem()), ..begun() }),
        ("cancelled", Await, cancelled(begun())),
        ("a backup was restored, and the agent calls without the task", Await, Facts { held: true, agent: free(), ..begun() }),
        ("a backup was restored, and the agent lost the task", Works, Facts { held: true, restarted: true, agent: free(), ..works() }),
        ("the agent is free", Works, Facts { agent: free(), sent: false, accepted: false, ..works() }),
        ("the agent still has an older task", Works, Facts { agent: Agent::Connected { busy: true, task_sent: false, cancel_sent: false }, accepted: false, ..works() }),
        ("the task was sent", Works, Facts { accepted: false, ..works() }),
        ("the task was sent and not taken for a while", Works, Facts { accepted: false, resend: true, ..works() }),
        ("the agent never took the task", Works, late(Facts { accepted: false, ..works() })),
        ("the agent works", Works, works()),
        ("nothing moves any more", Works, late(works())),
        ("the session is lost", Works, away(works())),
        ("the session is lost for a while, the server has a BMC", Works, Facts { now: at(200), power: bmc(1, Some(TryState::Done(at(-60)))), ..away(works()) }),
        ("the session is lost, the BMC says that the server is on", Works, Facts { now: at(200), power: bmc(2, Some(TryState::Done(at(130)))), ..away(works()) }),
        ("the session is lost and stays so", Works, late(away(works()))),
        ("the server was restarted in mid-work", Works, Facts { restarted: true, ..works() }),
        ("it was restarted once too often", Works, Facts { restarted: true, attempt: MAX_ATTEMPTS, ..works() }),
        ("the agent is done", Works, Facts { outcome: Some(Outcome::Success), ..works() }),
        ("it is done: a data disk, or a release", Works, Facts { outcome: Some(Outcome::Success), data_disk: true, ..works() }),
        ("it is done: a system that cannot report", Works, Facts { outcome: Some(Outcome::Unreported), ..works() }),
        ("the agent gave up", Works, Facts { outcome: Some(Outcome::Failure(problem())), ..works() }),
        ("the agent stopped and nobody had asked", Works, Facts { outcome: Some(Outcome::Cancelled), ..works() }),
        ("the volume is lost in mid-write", Works, Facts { volume: VolumeFact::Lost(problem()), ..works() }),
        ("the system reports before the agent's last word came", Works, Facts { up: true, ..works() }),
        ("a rescue: somebody works", Works, rescue.clone()),
        ("a rescue: a new session", Works, Facts { agent: free(), ..rescue.clone() }),
        ("a rescue: the session is lost", Works, away(rescue.clone())),
        ("a rescue: the server was restarted", Works, Facts { restarted: true, agent: free(), ..rescue.clone() }),
        ("a rescue: its time is over", Works, late(rescue.clone())),
        ("a rescue: the agent has ended it", Works, Facts { outcome: Some(Outcome::Success), data_disk: true, ..rescue.clone() }),
        ("a rescue: somebody asked for its end", Works, cancelled(rescue.clone())),
        ("a rescue: the agent has ended it as it was asked to", Works, cancelled(Facts { outcome: Some(Outcome::Success), data_disk: true, ..rescue.clone() })),
        ("a rescue: the agent never confirms its end", Works, late(cancelled(away(rescue)))),
        ("cancelled, the task was never sent", Works, cancelled(Facts { agent: free(), sent: false, accepted: false, ..works() })),
        ("cancelled, the agent works", Works, cancelled(works())),
        ("cancelled, the agent was told", Works, cancelled(Facts { agent: Agent::Connected { busy: false, task_sent: true, cancel_sent: true }, ..works() })),
        ("cancelled, the agent is away", Works, cancelled(away(works()))),
        ("cancelled, the agent says that it has stopped", Works, cancelled(Facts { outcome: Some(Outcome::Cancelled), ..works() })),
        ("cancelled, the agent never confirms", Works, late(cancelled(away(works())))),
        ("the system starts", Report, first.clone()),
        ("the system does not report for a while, the server has a BMC", Report, Facts { now: at(200), power: bmc(1, Some(TryState::Done(at(-60)))), ..first.clone() }),
        ("a backup was restored; the system does not report for a while, the server has a BMC", Report, Facts { held: true, now: at(200), power: bmc(1, Some(TryState::Done(at(-60)))), ..first.clone() }),
        ("the system never reports", Report, late(first.clone())),
        ("the system is up, its cloud-init goes on", Report, Facts { up: true, ..first.clone() }),
        ("cloud-init does not end", Report, late(Facts { up: true, ..first.clone() })),
        ("the system reports that it works", Report, Facts { reported: Some(super::Report::Works), ..first.clone() }),
        ("the system reports a fault", Report, Facts { reported: Some(super::Report::Fault(problem())), ..first.clone() }),
        ("cancelled", Report, cancelled(first)),
    ]
}

/// What an operator is told, and how long it may last.
fn told(facts: &Facts, decision: &Decision) -> (String, &'static str) {
    match decision {
        Decision::Stay { waiting_for, until } => {
            assert!(*until > facts.now, "{waiting_for} has no deadline ahead");
            let limit = match waiting_for {
                Waiting::Turn(_) | Waiting::Maintenance => "`queue_seconds`",
                Waiting::Power
                | Waiting::PowerByHand(_)
                | Waiting::PowerByBmc(_)
                | Waiting::PowerFailed { .. }
                | Waiting::NetworkBoot(_)
                | Waiting::AgentCall => "`boot_seconds`",
                Waiting::Volume(_) => "the volume's own",
                Waiting::OlderTask | Waiting::Acceptance | Waiting::Work(_) => {
                    "`step_progress_seconds` without progress"
                }
                Waiting::Rescue | Waiting::RescueAlone => "the end that was asked for",
                Waiting::AgentReturn(_) | Waiting::Restored => {
                    "the longer of `step_progress_seconds` and `boot_seconds`"
                }
                Waiting::CancelConfirmation => "`agent_silence_seconds`",
                Waiting::FirstBootReport | Waiting::CloudInit => "`first_boot_seconds`",
            };
            (format!("stays: {waiting_for}"), limit)
        }
        Decision::Act(Effect::BootRamdisk) => (
            "has the BMC boot the ramdisk: off, network boot once, on".to_owned(),
            "",
        ),
        Decision::Act(Effect::SwitchOn) => (
            "has the BMC switch the server on, should it be off".to_owned(),
            "",
        ),
        Decision::Act(Effect::SendTask) => ("sends the task".to_owned(), ""),
        Decision::Act(Effect::SendCancel) => ("tells the agent to stop".to_owned(), ""),
        Decision::Go(Next::AwaitAgent) => ("→ `await-agent`".to_owned(), ""),
        Decision::Go(Next::AgentWorks) => ("→ `agent-works`".to_owned(), ""),
        Decision::Go(Next::NewAttempt) => ("→ `agent-works`, a new attempt with a new task".to_owned(), ""),
        Decision::Go(Next::AwaitReport) => ("→ `await-report`".to_owned(), ""),
        Decision::Go(Next::Succeeded) => ("ends: succeeded".to_owned(), ""),
        Decision::Go(Next::Failed(problem)) => {
            assert!(!problem.cause.is_empty() && !problem.remedy.is_empty());
            (
                format!("ends: failed in step `{}`, with cause and remedy", problem.step),
                "",
            )
        }
        Decision::Go(Next::Cancelled(None)) => ("ends: cancelled".to_owned(), ""),
        Decision::Go(Next::Cancelled(Some(_))) if facts.purpose == Purpose::Rescue => (
            "ends: cancelled, with that as its problem, and the node is what it was before".to_owned(),
            "",
        ),
        Decision::Go(Next::Cancelled(Some(_))) => (
            "ends: cancelled, and the node is `failed`: nobody knows whether the agent has stopped"
                .to_owned(),
            "",
        ),
    }
}

fn deployments() -> String {
    let mut text = String::from("| phase | when | then | at most |\n|---|---|---|---|\n");
    for (name, phase, facts) in situations() {
        let (then, limit) = told(&facts, &decide(phase, &facts));
        writeln!(text, "| `{phase}` | {name} | {then} | {limit} |").unwrap();
    }
    text
}

fn nodes() -> String {
    let mut text = String::from("| event |");
    for state in NodeState::ALL {
        write!(text, " `{state}` |").unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(NodeState::ALL.len()));
    text.push('\n');
    for event in NodeEvent::ALL {
        write!(text, "| {event} |").unwrap();
        for state in NodeState::ALL {
            match state.after(event) {
                Some(next) if next == state => text.push_str(" = |"),
                Some(next) => write!(text, " `{next}` |").unwrap(),
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_documentation_has_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lifecycle.md");
    let page = fs::read_to_string(&path).unwrap();
    let new = generated(
        &generated(&page, "nodes", &nodes()),
        "deployments",
        &deployments(),
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &new).unwrap();
    }
    assert!(
        page == new || std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/lifecycle.md is not what the code does: run this test with UPDATE_DOCS=1"
    );
}

/// Every state of a node has a way out, and every state but the first ones a way in.
#[test]
fn no_state_of_a_node_is_a_trap() {
    for state in NodeState::ALL {
        let out = NodeEvent::ALL.iter().filter_map(|event| state.after(*event));
        assert!(
            out.clone().any(|next| next != state),
            "there is no way out of {state}"
        );
        let reached = NodeState::ALL.iter().filter(|from| **from != state).any(|from| {
            NodeEvent::ALL
                .iter()
                .any(|event| from.after(*event) == Some(state))
        });
        let first = matches!(state, NodeState::Discovered | NodeState::Enrolled);
        assert!(reached != first, "{state}");
    }
}

/// What has taken a node is the only one that has: nothing begins before it has ended.
#[test]
fn a_node_that_is_taken_cannot_be_taken() {
    let takes = Purpose::ALL.iter().map(|purpose| purpose.takes());
    for state in NodeState::ALL.into_iter().filter(|state| state.is_taken()) {
        for event in takes.clone().chain([NodeEvent::Retire, NodeEvent::Approved]) {
            assert_eq!(state.after(event), None, "{state}, {event}");
        }
    }
}
