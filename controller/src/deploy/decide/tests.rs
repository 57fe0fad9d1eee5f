use super::{
    testing::{at, begun},
    *,
};

pub(super) fn facts() -> Facts {
    Facts {
        now: at(1000),
        moved_at: at(1000),
        limits: Limits {
            queue: SignedDuration::from_secs(1000),
            boot: SignedDuration::from_secs(1800),
            step: SignedDuration::from_secs(600),
            first_boot: SignedDuration::from_secs(900),
            cancel: SignedDuration::from_secs(90),
        },
        ..begun()
    }
}

pub(super) fn connected(busy: bool, task_sent: bool, cancel_sent: bool) -> Agent {
    Agent::Connected {
        busy,
        task_sent,
        cancel_sent,
    }
}

pub(super) fn problem(step: &str) -> NodeProblem {
    NodeProblem {
        step: step.to_owned(),
        cause: "c".to_owned(),
        remedy: "r".to_owned(),
    }
}

/// One word for each decision, so that the table can be read.
fn word(decision: &Decision) -> String {
    match decision {
        Decision::Stay { waiting_for, until } => format!("stay {waiting_for:?} {}", until.as_second()),
        Decision::Act(effect) => format!("act {effect:?}"),
        Decision::Go(Next::Failed(problem)) => format!("fail {}", problem.step),
        Decision::Go(Next::Cancelled(problem)) => format!("cancelled {}", problem.is_some()),
        Decision::Go(next) => format!("go {next:?}"),
    }
}

#[test]
fn table() {
    use Phase::{AgentWorks, AwaitAgent, AwaitReport};
    let ready = connected(false, false, false);
    let working = connected(false, true, false);
    let stopping = connected(false, true, true);
    let base = facts();
    let rows: Vec<(&str, Phase, Facts, &str)> = vec![
        ("nobody there", AwaitAgent, base.clone(), "stay Power 2800"),
        (
            "asked for ramdisk",
            AwaitAgent,
            Facts {
                powered: true,
                ..base.clone()
            },
            "stay AgentCall 2800",
        ),
        (
            "boot deadline",
            AwaitAgent,
            Facts {
                now: at(2800),
                ..base.clone()
            },
            "fail power",
        ),
        (
            "boot deadline after power",
            AwaitAgent,
            Facts {
                now: at(2800),
                powered: true,
                step: Step::Boot,
                ..base.clone()
            },
            "fail boot",
        ),
        (
            "agent came",
            AwaitAgent,
            Facts {
                agent: ready,
                ..base.clone()
            },
            "go AgentWorks",
        ),
        (
            "agent came at the deadline",
            AwaitAgent,
            Facts {
                agent: ready,
                now: at(9999),
                ..base.clone()
            },
            "go AgentWorks",
        ),
        (
            "cancelled early",
            AwaitAgent,
            Facts {
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "cancelled false",
        ),
        (
            "task to send",
            AgentWorks,
            Facts {
                agent: ready,
                ..base.clone()
            },
            "act SendTask",
        ),
        (
            "busy first",
            AgentWorks,
            Facts {
                agent: connected(true, false, false),
                ..base.clone()
            },
            "stay OlderTask 1600",
        ),
        (
            "task sent, no answer",
            AgentWorks,
            Facts {
                agent: working,
                resend: true,
                ..base.clone()
            },
            "act SendTask",
        ),
        (
            "task sent, never an answer",
            AgentWorks,
            Facts {
                agent: working,
                resend: true,
                now: at(1600),
                ..base.clone()
            },
            "fail power",
        ),
        (
            "no second time once it is taken",
            AgentWorks,
            Facts {
                agent: working,
                resend: true,
                accepted: true,
                step: Step::Write,
                ..base.clone()
            },
            "stay Work(Write) 1600",
        ),
        (
            "task sent",
            AgentWorks,
            Facts {
                agent: working,
                ..base.clone()
            },
            "stay Acceptance 1600",
        ),
        (
            "writing",
            AgentWorks,
            Facts {
                agent: working,
                accepted: true,
                step: Step::Write,
                ..base.clone()
            },
            "stay Work(Write) 1600",
        ),
        (
            "moved",
            AgentWorks,
            Facts {
                agent: working,
                accepted: true,
                step: Step::Write,
                now: at(5000),
                moved_at: at(4990),
                ..base.clone()
            },
            "stay Work(Write) 5590",
        ),
        (
            "stalled",
            AgentWorks,
            Facts {
                agent: working,
                accepted: true,
                step: Step::Write,
                now: at(1600),
                ..base.clone()
            },
            "fail write",
        ),
        (
            "agent lost",
            AgentWorks,
            Facts {
                accepted: true,
                step: Step::Write,
                ..base.clone()
            },
            "stay AgentReturn(Write) 2800",
        ),
        (
            "agent gone for good",
            AgentWorks,
            Facts {
                accepted: true,
                step: Step::Seed,
                now: at(2800),
                ..base.clone()
            },
            "fail seed",
        ),
        (
            "success",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Success),
                ..base.clone()
            },
            "go AwaitReport",
        ),
        (
            "success after the deadline still counts",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Success),
                now: at(9999),
                ..base.clone()
            },
            "go AwaitReport",
        ),
        (
            "data disk",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Success),
                data_disk: true,
                ..base.clone()
            },
            "go Succeeded",
        ),
        (
            "failure",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Failure(problem("write"))),
                ..base.clone()
            },
            "fail write",
        ),
        (
            "reported although the outcome was lost",
            AgentWorks,
            Facts {
                reported: Some(Report::Works),
                ..base.clone()
            },
            "go Succeeded",
        ),
        (
            "stopped by itself",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Cancelled),
                ..base.clone()
            },
            "fail power",
        ),
        (
            "restarted",
            AgentWorks,
            Facts {
                restarted: true,
                agent: ready,
                ..base.clone()
            },
            "go NewAttempt",
        ),
        (
            "restarted too often",
            AgentWorks,
            Facts {
                restarted: true,
                agent: ready,
                attempt: MAX_ATTEMPTS,
                step: Step::Write,
                ..base.clone()
            },
            "fail write",
        ),
        (
            "cancel before the task went out",
            AgentWorks,
            Facts {
                agent: ready,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "cancelled false",
        ),
        (
            "cancel after a session was lost in which the task was sent",
            AgentWorks,
            Facts {
                sent: true,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "stay CancelConfirmation 1090",
        ),
        (
            "cancel, and nobody can say whether the task arrived",
            AgentWorks,
            Facts {
                sent: true,
                cancel_requested_at: Some(at(1000)),
                now: at(1090),
                ..base.clone()
            },
            "cancelled true",
        ),
        (
            "cancel, and the agent that called again does not hold the task",
            AgentWorks,
            Facts {
                agent: ready,
                sent: true,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "cancelled false",
        ),
        (
            "cancel before it is known what the agent holds",
            AgentWorks,
            Facts {
                agent: connected(true, false, false),
                sent: true,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "act SendCancel",
        ),
        (
            "cancel while it works",
            AgentWorks,
            Facts {
                agent: working,
                accepted: true,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "act SendCancel",
        ),
        (
            "cancel sent",
            AgentWorks,
            Facts {
                agent: stopping,
                accepted: true,
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "stay CancelConfirmation 1090",
        ),
        (
            "cancel confirmed",
            AgentWorks,
            Facts {
                outcome: Some(Outcome::Cancelled),
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "cancelled false",
        ),
        (
            "cancel never confirmed",
            AgentWorks,
            Facts {
                accepted: true,
                cancel_requested_at: Some(at(1000)),
                now: at(1090),
                ..base.clone()
            },
            "cancelled true",
        ),
        (
            "report awaited",
            AwaitReport,
            Facts {
                step: Step::FirstBootReport,
                ..base.clone()
            },
            "stay FirstBootReport 1900",
        ),
        (
            "reported",
            AwaitReport,
            Facts {
                reported: Some(Report::Works),
                now: at(9999),
                ..base.clone()
            },
            "go Succeeded",
        ),
        (
            "reported with a fault",
            AwaitReport,
            Facts {
                reported: Some(Report::Fault(problem("first_boot_report"))),
                ..base.clone()
            },
            "fail first_boot_report",
        ),
        (
            "up although the outcome was lost",
            AgentWorks,
            Facts {
                up: true,
                ..base.clone()
            },
            "go AwaitReport",
        ),
        (
            "up, and cloud-init runs",
            AwaitReport,
            Facts {
                up: true,
                ..base.clone()
            },
            "stay CloudInit 1900",
        ),
        (
            "up, and cloud-init runs too long",
            AwaitReport,
            Facts {
                up: true,
                now: at(1900),
                step: Step::FirstBootReport,
                ..base.clone()
            },
            "fail first_boot_report",
        ),
        (
            "no report",
            AwaitReport,
            Facts {
                now: at(1900),
                step: Step::FirstBootReport,
                ..base.clone()
            },
            "fail first_boot_report",
        ),
        (
            "cancel while the system boots",
            AwaitReport,
            Facts {
                cancel_requested_at: Some(at(1000)),
                ..base.clone()
            },
            "cancelled false",
        ),
    ];
    for (name, phase, facts, expected) in rows {
        assert_eq!(word(&decide(phase, &facts)), expected, "{name}");
    }
}

/// Who was away longer than a step may take has the time of one from its call on, and not for ever.
#[test]
fn an_agent_that_calls_late_has_the_time_to_take_its_task() {
    let called = |at_second, now| Facts {
        agent: connected(false, false, false),
        called_at: Some(at(at_second)),
        now: at(now),
        sent: true,
        ..facts()
    };
    let next = |facts: &Facts| word(&decide(Phase::AgentWorks, facts));
    let sends = next(&called(1000, 1001));
    assert_eq!(next(&called(1700, 1701)), sends);
    assert_eq!(next(&called(1700, 2299)), sends);
    assert_ne!(next(&called(1700, 2300)), sends);
    // 1800 seconds after the last thing that moved, and 600 more, it is over, whenever it called.
    assert_eq!(next(&called(3300, 3399)), sends);
    assert_ne!(next(&called(3399, 3400)), sends);
}
