//! What a running deployment does next. Pure: the time and everything else come in as facts.

use jiff::{SignedDuration, Timestamp};

use super::{
    batch::Turn,
    state::{Phase, Purpose, Step},
    volume::VolumeFact,
};
use crate::inventory::NodeProblem;

mod power;
mod rescue;

#[cfg(test)]
mod document;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod waiting;

pub use waiting::Waiting;

use power::{ByBmc, by_bmc, in_vain, on_again, said};
pub use power::{LastTry, PowerFact, TryState};

/// How often a machine that restarts in the middle of the work is given the task anew.
pub const MAX_ATTEMPTS: u32 = 3;
/// The same of a rescue, in which whoever works there restarts the machine as often as he has to.
pub const MAX_RESCUE_ATTEMPTS: u32 = 50;

/// Where the agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// No session is open.
    Away,
    /// A session is open.
    Connected {
        /// It still holds a task of an earlier deployment.
        busy: bool,
        /// The present task was sent in this session.
        task_sent: bool,
        /// The cancellation was sent in this session.
        cancel_sent: bool,
    },
}

/// How the agent's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is verified and released.
    Success,
    /// The same, on a system that will not report its first boot.
    Unreported,
    /// It gave up.
    Failure(NodeProblem),
    /// It stopped because it was told to.
    Cancelled,
}

/// What the installed system's own report comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It works.
    Works,
    /// It is up, but not all of it went well.
    Fault(NodeProblem),
}

/// How long nothing may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until its turn comes.
    pub queue: SignedDuration,
    /// Until the agent calls.
    pub boot: SignedDuration,
    /// While the agent works.
    pub step: SignedDuration,
    /// Until the installed system reports.
    pub first_boot: SignedDuration,
    /// Until the agent confirms a cancellation.
    pub cancel: SignedDuration,
}

impl Limits {
    /// Until an agent that is lost in mid-work calls again: a server that restarts has its firmware's checks before it.
    fn away(&self) -> SignedDuration {
        self.step.max(self.boot)
    }
}

/// Everything a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What has taken the node.
    pub purpose: Purpose,
    /// Whether its turn has come.
    pub turn: Turn,
    /// The time now.
    pub now: Timestamp,
    /// Where the agent is.
    pub agent: Agent,
    /// When it called, where it is there.
    pub called_at: Option<Timestamp>,
    /// The machine has asked the boot services what to boot since the deployment began.
    pub powered: bool,
    /// How its power is changed.
    pub power: PowerFact,
    /// The step that was reached.
    pub step: Step,
    /// The present task has left for the agent at some time, in this session or in an earlier one.
    pub sent: bool,
    /// The agent has said at least one thing about the present task.
    pub accepted: bool,
    /// The task was sent a while ago: an agent that says nothing about it may have been busy and is told again.
    pub resend: bool,
    /// The machine was restarted in the middle of the task, so that the agent no longer knows it.
    pub restarted: bool,
    /// The node is on hold: the database is older than the world, and the agent has not confirmed since what it says.
    pub held: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How the agent's work ended.
    pub outcome: Option<Outcome>,
    /// The task goes on until then by its nature: a rescue.
    pub stays_until: Option<Timestamp>,
    /// How the volume is that it goes onto.
    pub volume: VolumeFact,
    /// The image is the whole of it: no finishing, no report.
    pub data_disk: bool,
    /// The installed system has called: it is up.
    pub up: bool,
    /// What it is, as it has just reported.
    pub reported: Option<Report>,
    /// When something moved last; never before this controller began to watch.
    pub moved_at: Timestamp,
    /// When somebody asked to stop; never before this controller began to watch.
    pub cancel_requested_at: Option<Timestamp>,
    /// How long nothing may move.
    pub limits: Limits,
}

impl Facts {
    /// A remedy, with what is to be asked for again.
    fn remedy(&self, text: &str) -> String {
        text.replace("{again}", self.purpose.again())
    }
}

/// What has to be done; doing it twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Have the BMC boot the ramdisk.
    BootRamdisk,
    /// Have the BMC switch the server on, should it be off.
    SwitchOn,
    /// Send the present task over the open session.
    SendTask,
    /// Tell the agent to stop.
    SendCancel,
}

/// The way on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Its turn has come.
    AwaitAgent,
    /// The agent is there: its part begins.
    AgentWorks,
    /// The machine lost the task by a restart: a new attempt with a new task.
    NewAttempt,
    /// The installed system's turn.
    AwaitReport,
    /// Done.
    Succeeded,
    /// Over, with the reason.
    Failed(NodeProblem),
    /// Stopped. With a problem when it is not certain that the agent has stopped.
    Cancelled(Option<NodeProblem>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing to do before something happens or the deadline passes.
    Stay {
        /// What it waits for.
        waiting_for: Waiting,
        /// When the waiting ends.
        until: Timestamp,
    },
    /// Something to do now.
    Act(Effect),
    /// Another phase, or the end.
    Go(Next),
}

/// Decides. For a deployment that has ended there is nothing to decide: do not ask.
#[must_use]
pub fn decide(phase: Phase, facts: &Facts) -> Decision {
    match phase {
        Phase::Queued => queued(facts),
        Phase::AwaitAgent => await_agent(facts),
        Phase::AgentWorks => agent_works(facts),
        Phase::AwaitReport | Phase::Ended => await_report(facts),
    }
}

fn queued(facts: &Facts) -> Decision {
    if facts.cancel_requested_at.is_some() {
        return Decision::Go(Next::Cancelled(None));
    }
    match facts.turn {
        Turn::Now => Decision::Go(Next::AwaitAgent),
        Turn::Never => Decision::Go(Next::Cancelled(None)),
        Turn::Behind(before) => wait(
            facts,
            Waiting::Turn(before),
            facts.limits.queue,
            "Its turn in its batch did not come in time.",
            "Look at what those do that run (imprint batch show), then {again}.",
        ),
        Turn::Maintenance => wait(
            facts,
            Waiting::Maintenance,
            facts.limits.queue,
            "The node was in maintenance, and its turn in its batch did not come in time.",
            "When the work on it is done, end the maintenance (imprint node maintenance NODE --end) and {again}.",
        ),
    }
}

/// Whether it ends only because time has passed: with the clock at the beginning of time it would not.
#[must_use]
pub fn is_missed_deadline(phase: Phase, facts: &Facts) -> bool {
    let earlier = Facts {
        now: Timestamp::MIN,
        ..facts.clone()
    };
    let ends = |facts: &Facts| {
        matches!(
            decide(phase, facts),
            Decision::Go(Next::Failed(_) | Next::Cancelled(Some(_)))
        )
    };
    ends(facts) && !ends(&earlier)
}

fn await_agent(facts: &Facts) -> Decision {
    if facts.cancel_requested_at.is_some() {
        return Decision::Go(Next::Cancelled(None));
    }
    if facts.held {
        return restored(facts);
    }
    if let VolumeFact::Lost(problem) = &facts.volume {
        return Decision::Go(Next::Failed(problem.clone()));
    }
    if facts.stays_until.is_some_and(|until| facts.now >= until) {
        return Decision::Go(Next::Failed(rescue::never_began(facts)));
    }
    if facts.agent != Agent::Away && !rescue::waits_for_bmc(facts) {
        return match &facts.volume {
            VolumeFact::Awaited { why, until } if facts.now < *until => Decision::Stay {
                waiting_for: Waiting::Volume(why.clone()),
                until: *until,
            },
            VolumeFact::Awaited { why, .. } => Decision::Go(Next::Failed(NodeProblem {
                step: Step::AttachVolume.to_string(),
                cause: format!("The volume was not shown to the server in time: {why}."),
                remedy: facts.remedy(
                    "Look at the card and at the storage behind the volume (imprint volume show), then {again}.",
                ),
            })),
            _ => Decision::Go(Next::AgentWorks),
        };
    }
    if facts.powered {
        return lost(
            facts,
            Waiting::AgentCall,
            facts.limits.boot,
            "The server asked for the ramdisk, but the agent in it did not call in time.",
            "Look at the server's console: the ramdisk needs 768 MiB of RAM and a route to the controller's TLS port. Then {again}.",
        );
    }
    let waiting_for = match by_bmc(&facts.power, facts.now, facts.moved_at) {
        ByBmc::Ask if facts.now < later(facts.moved_at, facts.limits.boot) => {
            return Decision::Act(Effect::BootRamdisk);
        }
        ByBmc::Ask => Waiting::Power,
        ByBmc::Wait(waiting_for) => waiting_for,
    };
    let (cause, remedy) = in_vain(&facts.power).unwrap_or_else(|| {
        (
            "The server did not boot the ramdisk from the network in time.".to_owned(),
            "Power the server on or restart it, with network boot first in its boot order, and {again}."
                .to_owned(),
        )
    });
    wait(facts, waiting_for, facts.limits.boot, &cause, &remedy)
}

fn agent_works(facts: &Facts) -> Decision {
    // Only a system that was installed whole has the token: the power may fail between the work's end and its report.
    if let Some(report) = &facts.reported {
        return reported(report);
    }
    if facts.up {
        return Decision::Go(Next::AwaitReport);
    }
    if let Some(asked_at) = facts.cancel_requested_at {
        return cancelling(facts, asked_at);
    }
    match &facts.outcome {
        Some(Outcome::Cancelled) if facts.purpose == Purpose::Rescue => {
            return Decision::Go(Next::Cancelled(None));
        }
        Some(Outcome::Unreported) => return Decision::Go(Next::Succeeded),
        Some(Outcome::Success) if facts.data_disk => return Decision::Go(Next::Succeeded),
        Some(Outcome::Success) => return Decision::Go(Next::AwaitReport),
        Some(Outcome::Failure(problem)) => return Decision::Go(Next::Failed(problem.clone())),
        Some(Outcome::Cancelled) => return Decision::Go(Next::Failed(stopped_by_itself(facts))),
        None => {}
    }
    if facts.held {
        return restored(facts);
    }
    if let VolumeFact::Lost(problem) = &facts.volume {
        return Decision::Go(Next::Failed(problem.clone()));
    }
    if let Some(until) = facts.stays_until {
        return rescue::goes_on(facts, until);
    }
    if facts.restarted {
        return Decision::Go(if facts.attempt < MAX_ATTEMPTS {
            Next::NewAttempt
        } else {
            Next::Failed(restarts_again(facts))
        });
    }
    match facts.agent {
        Agent::Connected { busy: true, .. } => wait(
            facts,
            Waiting::OlderTask,
            facts.limits.step,
            "The agent did not give up the task of an earlier deployment.",
            "Restart the server, then {again}.",
        ),
        Agent::Connected { task_sent, .. }
            if (!task_sent || facts.resend && !facts.accepted)
                && facts.now < later(taking(facts).moved_at, facts.limits.step) =>
        {
            Decision::Act(Effect::SendTask)
        }
        Agent::Connected { .. } if !facts.accepted => wait(
            &taking(facts),
            Waiting::Acceptance,
            facts.limits.step,
            "The agent did not take the task.",
            "Read what the agent said (imprint deployment log), restart the server and {again}.",
        ),
        Agent::Connected { .. } => wait(
            facts,
            Waiting::Work(facts.step),
            facts.limits.step,
            &format!(
                "Nothing moved in step {} for {}.",
                facts.step,
                shown(facts.limits.step)
            ),
            "Read what the agent and its kernel said (imprint deployment log), look at disk and network of the server, then {again}.",
        ),
        Agent::Away => {
            let limit = facts.limits.away();
            lost(
                facts,
                Waiting::AgentReturn(facts.step),
                limit,
                &format!(
                    "The agent was lost in step {} and did not call again for {}.",
                    facts.step,
                    shown(limit)
                ),
                "Check the server's power and its network, restart it and {again}.",
            )
        }
    }
}

/// An agent that was away has the time to take its task from its call on. However often it goes and calls, that ends.
fn taking(facts: &Facts) -> Facts {
    let last = later(facts.moved_at, facts.limits.away());
    let called_at = facts.called_at.unwrap_or(facts.moved_at);
    Facts {
        moved_at: facts.moved_at.max(called_at.min(last)),
        ..facts.clone()
    }
}

/// Nobody is heard of where somebody should be: the power of the server may have failed, which its BMC can mend.
fn lost(facts: &Facts, waiting_for: Waiting, limit: SignedDuration, cause: &str, remedy: &str) -> Decision {
    // What is on hold is left alone: it may be somebody else's server by now.
    let may_ask = !facts.held && on_again(&facts.power, facts.now, facts.moved_at);
    if may_ask && facts.now < later(facts.moved_at, limit) {
        return Decision::Act(Effect::SwitchOn);
    }
    let cause = format!("{cause}{}", said(&facts.power, facts.moved_at));
    wait(facts, waiting_for, limit, &cause, remedy)
}

/// The world has gone on without this database: what it takes for a server to be written may long be in service.
fn restored(facts: &Facts) -> Decision {
    wait(
        facts,
        Waiting::Restored,
        facts.limits.away(),
        "The controller was restored from a backup or an older copy, and no agent has said since that it holds this task.",
        "Find out what runs on the server. Confirm it (imprint node confirm NODE), then {again} if that is still wanted.",
    )
}

fn cancelling(facts: &Facts, asked_at: Timestamp) -> Decision {
    if facts.purpose == Purpose::Rescue && facts.outcome == Some(Outcome::Success) {
        return Decision::Go(Next::Succeeded);
    }
    if facts.outcome.is_some() || facts.restarted {
        return Decision::Go(Next::Cancelled(None));
    }
    // A task that was sent in a session that is lost may have arrived. An agent that has called again since then would
    // have named it.
    let calls_without_it = matches!(
        facts.agent,
        Agent::Connected {
            busy: false,
            task_sent: false,
            ..
        }
    );
    if !facts.accepted && (!facts.sent || calls_without_it) {
        return Decision::Go(Next::Cancelled(None));
    }
    if let Agent::Connected {
        cancel_sent: false, ..
    } = facts.agent
    {
        return Decision::Act(Effect::SendCancel);
    }
    let until = later(asked_at, facts.limits.cancel);
    if facts.now < until {
        return Decision::Stay {
            waiting_for: Waiting::CancelConfirmation,
            until,
        };
    }
    Decision::Go(Next::Cancelled(Some(NodeProblem {
        step: facts.step.to_string(),
        cause: match facts.purpose {
            Purpose::Rescue => {
                "The rescue is over, but the agent did not confirm that its ssh server has ended.".to_owned()
            }
            purpose => format!(
                "The {} was cancelled, but the agent did not confirm that it has stopped.",
                purpose.noun()
            ),
        },
        remedy: facts.remedy("Restart the server so that it boots the ramdisk again, then {again}."),
    })))
}

fn reported(report: &Report) -> Decision {
    Decision::Go(match report {
        Report::Works => Next::Succeeded,
        Report::Fault(problem) => Next::Failed(problem.clone()),
    })
}

fn await_report(facts: &Facts) -> Decision {
    if let Some(report) = &facts.reported {
        return reported(report);
    }
    if facts.cancel_requested_at.is_some() {
        return Decision::Go(Next::Cancelled(None));
    }
    if facts.up {
        return wait(
            facts,
            Waiting::CloudInit,
            facts.limits.first_boot,
            "The installed system started, and has not said since that its cloud-init has ended.",
            "Look at the server's console: does it still run, and reach the controller? Its /var/log/cloud-init-output.log says how far it is. Then {again}, or take the system as it is (imprint deployment accept).",
        );
    }
    lost(
        facts,
        Waiting::FirstBootReport,
        facts.limits.first_boot,
        "The installed system did not report from its first boot in time.",
        "Look at the server's console: does it boot its disk, has it an address, can it reach the controller's TLS port? Then {again}.",
    )
}

fn wait(facts: &Facts, waiting_for: Waiting, limit: SignedDuration, cause: &str, remedy: &str) -> Decision {
    let until = later(facts.moved_at, limit);
    if facts.now < until {
        return Decision::Stay { waiting_for, until };
    }
    Decision::Go(Next::Failed(NodeProblem {
        step: facts.step.to_string(),
        cause: cause.to_owned(),
        remedy: facts.remedy(remedy),
    }))
}

fn stopped_by_itself(facts: &Facts) -> NodeProblem {
    NodeProblem {
        step: facts.step.to_string(),
        cause: "The agent says that the task was cancelled, but nobody asked for it.".to_owned(),
        remedy: facts.remedy(
            "Read what the agent said (imprint deployment log; its console has all of it), then {again}.",
        ),
    }
}

fn restarts_again(facts: &Facts) -> NodeProblem {
    NodeProblem {
        step: facts.step.to_string(),
        cause: format!(
            "The server was restarted in the middle of the work {} times.",
            facts.attempt
        ),
        remedy: facts.remedy("Find out what restarts it (power, watchdog, memory), then {again}."),
    }
}

fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// "10 minutes", for sentences.
fn shown(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 120 && seconds % 60 == 0 {
        format!("{} minutes", seconds / 60)
    } else {
        format!("{seconds} seconds")
    }
}
