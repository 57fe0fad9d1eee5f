//! What is decided of a rescue: it has no work that moves, but an end that was asked for.

use super::*;

/// The ramdisk that a server has booted before its rescue has no ssh server. Where it has a BMC, that boots the one that has;
/// otherwise, or when the BMC fails, the agent restarts the server.
pub(super) fn waits_for_bmc(facts: &Facts) -> bool {
    facts.purpose == Purpose::Rescue
        && !facts.powered
        && match by_bmc(&facts.power, facts.now, facts.moved_at) {
            ByBmc::Ask => facts.now < later(facts.moved_at, facts.limits.boot),
            ByBmc::Wait(Waiting::PowerByBmc(_) | Waiting::NetworkBoot(_)) => true,
            ByBmc::Wait(_) => false,
        }
}

/// Its time was over before the agent called.
pub(super) fn never_began(facts: &Facts) -> NodeProblem {
    NodeProblem {
        step: facts.step.to_string(),
        cause: "The time of the rescue was over before the server had booted its ramdisk.".to_owned(),
        remedy: facts.remedy(
            "Power the server on or restart it, with network boot first in its boot order, and {again}, for longer.",
        ),
    }
}

/// The agent has it, or is to have it. It is sent in each session anew: the password may be another one by then.
pub(super) fn goes_on(facts: &Facts, until: Timestamp) -> Decision {
    if facts.now >= until {
        return cancelling(facts, until);
    }
    if facts.restarted {
        return Decision::Go(if facts.attempt < MAX_RESCUE_ATTEMPTS {
            Next::NewAttempt
        } else {
            Next::Failed(restarts_again(facts))
        });
    }
    let taking = taking(facts);
    let in_time = facts.now < later(taking.moved_at, facts.limits.step);
    match facts.agent {
        Agent::Connected { busy: true, .. } => wait(
            facts,
            Waiting::OlderTask,
            facts.limits.step,
            "The agent did not give up the task of an earlier deployment.",
            "Restart the server, then {again}.",
        ),
        Agent::Connected { task_sent: false, .. } if facts.accepted || in_time => {
            Decision::Act(Effect::SendTask)
        }
        Agent::Connected { .. } if facts.accepted => Decision::Stay {
            waiting_for: Waiting::Rescue,
            until,
        },
        Agent::Connected { .. } if facts.resend && in_time => Decision::Act(Effect::SendTask),
        Agent::Connected { .. } => wait(
            &taking,
            Waiting::Acceptance,
            facts.limits.step,
            "The agent did not take the task.",
            "Read what the agent said (imprint deployment log), restart the server and {again}.",
        ),
        Agent::Away if facts.accepted => Decision::Stay {
            waiting_for: Waiting::RescueAlone,
            until,
        },
        Agent::Away => lost(
            facts,
            Waiting::AgentReturn(facts.step),
            facts.limits.away(),
            "The agent was lost before it had the task, and did not call again.",
            "Check the server's power and its network, restart it and {again}.",
        ),
    }
}
