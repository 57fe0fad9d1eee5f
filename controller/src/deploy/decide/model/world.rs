//! What is walked through: a server, its agent, the connection and the controller, and how each event changes them.

use super::super::{
    testing::{at, begun},
    *,
};

/// Lost sessions (a restart of the controller is one), power cuts and cancellations in one run.
pub(super) const MAX_FAULTS: u8 = 4;

/// A task: that of an older deployment is 0, those of this one count its attempts.
pub(super) type TaskNumber = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    System,
    /// A data disk, or a release: the agent's word ends it.
    AgentOnly,
    Rescue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Disk {
    /// As it was before.
    Old,
    /// Its head is withheld.
    Part(TaskNumber),
    Whole(TaskNumber),
    Cleared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    Success,
    Failure,
    Cancelled,
}

/// The machine, its agent, and what the agent has not been thanked for yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Machine {
    Off,
    Ramdisk {
        works_on: Option<TaskNumber>,
        outbox: Option<(TaskNumber, Ending)>,
    },
    /// Its own system runs.
    System,
}

/// What the controller knows of an open session, and what is on its way to the agent, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Session {
    pub(super) busy: bool,
    pub(super) task_sent: bool,
    pub(super) cancel_sent: bool,
    pub(super) task_on_its_way: Option<TaskNumber>,
    pub(super) cancel_on_its_way: Option<TaskNumber>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    Succeeded,
    Failed,
    /// Whether the agent is known to have stopped.
    Cancelled(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) machine: Machine,
    pub(super) disk: Disk,
    pub(super) session: Option<Session>,
    // What is written down.
    pub(super) end: Option<End>,
    pub(super) phase: Phase,
    pub(super) powered: bool,
    pub(super) attempt: TaskNumber,
    pub(super) sent: bool,
    pub(super) accepted: bool,
    pub(super) cancel: bool,
    /// Nothing has moved for longer than any deadline.
    pub(super) late: bool,
    pub(super) faults: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The server starts: into the ramdisk, or from its disk.
    Boots,
    /// The power is cut, or the kernel panics.
    PowerCut,
    AgentCalls,
    /// The connection, or the controller, dies.
    SessionLost,
    /// The agent takes the next message.
    AgentReads,
    /// The agent says that it works.
    AgentTells,
    AgentEnds(Ending),
    /// The controller takes the agent's last word and thanks for it.
    ControllerTakesEnd,
    SystemReports(bool),
    OperatorCancels,
    /// The time of every deadline passes.
    TimePasses,
}

pub(super) const EVENTS: [Event; 14] = [
    Event::Boots,
    Event::PowerCut,
    Event::AgentCalls,
    Event::SessionLost,
    Event::AgentReads,
    Event::AgentTells,
    Event::AgentEnds(Ending::Success),
    Event::AgentEnds(Ending::Failure),
    Event::AgentEnds(Ending::Cancelled),
    Event::ControllerTakesEnd,
    Event::SystemReports(true),
    Event::SystemReports(false),
    Event::OperatorCancels,
    Event::TimePasses,
];

/// What has just happened and is written down nowhere else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    pub(super) outcome: Option<Ending>,
    pub(super) restarted: bool,
    pub(super) reported: Option<bool>,
}

pub(super) fn some_problem() -> NodeProblem {
    NodeProblem {
        step: "write".to_owned(),
        cause: "c".to_owned(),
        remedy: "r".to_owned(),
    }
}

impl World {
    fn is_present(&self, task: TaskNumber) -> bool {
        self.end.is_none() && task == self.attempt
    }

    /// The task of this rescue, not of something before it.
    fn is_rescue(&self, task: TaskNumber) -> bool {
        self.kind == Kind::Rescue && task != 0
    }

    fn moved(&mut self) {
        self.late = false;
    }

    fn facts(&self, news: News) -> Facts {
        let agent = self.session.map_or(Agent::Away, |session| Agent::Connected {
            busy: session.busy,
            task_sent: session.task_sent,
            cancel_sent: session.cancel_sent,
        });
        Facts {
            purpose: if self.kind == Kind::Rescue {
                Purpose::Rescue
            } else {
                Purpose::Install
            },
            now: at(if self.late { 1000 } else { 1 }),
            agent,
            powered: self.powered,
            step: Step::Write,
            sent: self.sent,
            accepted: self.accepted,
            resend: self.session.is_some_and(|session| session.task_sent),
            restarted: news.restarted,
            attempt: self.attempt.into(),
            outcome: news.outcome.map(|ending| match ending {
                Ending::Success => Outcome::Success,
                Ending::Failure => Outcome::Failure(some_problem()),
                Ending::Cancelled => Outcome::Cancelled,
            }),
            stays_until: (self.kind == Kind::Rescue).then(|| at(500)),
            data_disk: self.kind != Kind::System,
            reported: news.reported.map(|works| {
                if works {
                    Report::Works
                } else {
                    Report::Fault(some_problem())
                }
            }),
            cancel_requested_at: self.cancel.then(|| at(0)),
            limits: Limits {
                cancel: SignedDuration::from_secs(10),
                ..begun().limits
            },
            ..begun()
        }
    }

    /// As the shell does it: decides until there is nothing to decide, then acts.
    pub(super) fn settle(&mut self, mut news: News) {
        let mut effects = Vec::new();
        while self.end.is_none() {
            match decide(self.phase, &self.facts(news)) {
                Decision::Stay { until, .. } => {
                    assert!(until > at(if self.late { 1000 } else { 1 }), "{self:?}");
                    break;
                }
                Decision::Act(effect) => {
                    effects.push(effect);
                    break;
                }
                Decision::Go(next) => {
                    let stops = matches!(next, Next::Failed(_) | Next::Cancelled(_))
                        && news.outcome.is_none()
                        && self.phase == Phase::AgentWorks;
                    if stops && self.session.is_some_and(|session| session.task_sent) {
                        effects.push(Effect::SendCancel);
                    }
                    self.go(&next);
                    news = News::default();
                }
            }
        }
        for effect in effects {
            self.act(effect);
        }
    }

    fn go(&mut self, next: &Next) {
        self.moved();
        match next {
            Next::AwaitAgent => self.phase = Phase::AwaitAgent,
            Next::AgentWorks => self.phase = Phase::AgentWorks,
            Next::NewAttempt => {
                self.attempt += 1;
                (self.sent, self.accepted) = (false, false);
                if let Some(session) = &mut self.session {
                    (session.task_sent, session.cancel_sent) = (false, false);
                }
            }
            Next::AwaitReport => self.phase = Phase::AwaitReport,
            Next::Succeeded => {
                let whole = self.disk == Disk::Whole(self.attempt);
                assert!(
                    whole || self.kind == Kind::Rescue,
                    "it succeeds without a whole disk of its own: {self:?}"
                );
                self.end = Some(End::Succeeded);
            }
            Next::Failed(problem) => {
                assert!(!problem.cause.is_empty() && !problem.remedy.is_empty());
                self.end = Some(End::Failed);
            }
            Next::Cancelled(problem) => {
                let certain = problem.is_none();
                assert!(
                    !certain || !self.may_still_write(),
                    "it is cancelled, and the agent may go on: {self:?}"
                );
                self.end = Some(End::Cancelled(certain));
            }
        }
    }

    /// The agent works on this deployment's task, or is about to.
    fn may_still_write(&self) -> bool {
        let works =
            matches!(self.machine, Machine::Ramdisk { works_on: Some(task), .. } if task == self.attempt);
        let comes = self
            .session
            .is_some_and(|session| session.task_on_its_way == Some(self.attempt));
        works || comes
    }

    fn act(&mut self, effect: Effect) {
        let (attempt, live) = (
            self.attempt,
            self.end.is_none() && !self.cancel && self.phase == Phase::AgentWorks,
        );
        let Some(session) = &mut self.session else { return };
        match effect {
            Effect::SendTask => {
                assert!(live, "a task is sent without a claim that lives: {self:?}");
                assert!(
                    !session.busy,
                    "a task is sent to an agent that has another one: {self:?}"
                );
                session.task_sent = true;
                session.task_on_its_way = Some(attempt);
                self.sent = true;
            }
            Effect::BootRamdisk | Effect::SwitchOn => {
                unreachable!("these servers are powered by hand")
            }
            Effect::SendCancel => {
                if self.end.is_some() {
                    session.busy = true;
                }
                if !session.cancel_sent {
                    session.cancel_sent = true;
                    session.cancel_on_its_way = Some(attempt);
                }
            }
        }
    }

    /// The world after an event; `None` where that cannot happen.
    pub(super) fn after(mut self, event: Event) -> Option<Self> {
        match event {
            Event::Boots => self.boots()?,
            Event::PowerCut => {
                self.fault()?;
                if self.machine == Machine::Off {
                    return None;
                }
                self.machine = Machine::Off;
                self.session = None;
            }
            Event::SessionLost => {
                self.fault()?;
                self.session.take()?;
            }
            Event::OperatorCancels => {
                if self.cancel || self.end.is_some() {
                    return None;
                }
                self.fault()?;
                self.cancel = true;
                self.moved();
                self.settle(News::default());
            }
            Event::AgentCalls => self.agent_calls()?,
            Event::AgentReads => self.agent_reads()?,
            Event::AgentTells => {
                let Machine::Ramdisk {
                    works_on: Some(task), ..
                } = self.machine
                else {
                    return None;
                };
                if !self.is_rescue(task) {
                    self.disk = Disk::Part(task);
                }
                self.heard_of(task, false)?;
            }
            Event::AgentEnds(ending) => {
                let Machine::Ramdisk {
                    works_on: Some(task),
                    outbox: None,
                } = self.machine
                else {
                    return None;
                };
                // A rescue ends by itself when its time is over.
                if ending == Ending::Cancelled
                    || self.is_rescue(task) && ending == Ending::Success && !self.late
                {
                    return None;
                }
                if !self.is_rescue(task) {
                    self.disk = if ending == Ending::Success {
                        Disk::Whole(task)
                    } else {
                        Disk::Cleared
                    };
                }
                self.machine = Machine::Ramdisk {
                    works_on: None,
                    outbox: Some((task, ending)),
                };
            }
            Event::ControllerTakesEnd => self.controller_takes_end()?,
            Event::SystemReports(works) => {
                if self.machine != Machine::System
                    || self.end.is_some()
                    || self.disk != Disk::Whole(self.attempt)
                {
                    return None;
                }
                self.settle(News {
                    reported: Some(works),
                    ..News::default()
                });
            }
            Event::TimePasses => {
                if self.end.is_some() || self.late {
                    return None;
                }
                self.late = true;
                self.settle(News::default());
            }
        }
        Some(self)
    }

    fn fault(&mut self) -> Option<()> {
        self.faults += 1;
        (self.faults <= MAX_FAULTS).then_some(())
    }

    fn boots(&mut self) -> Option<()> {
        if self.machine != Machine::Off {
            return None;
        }
        let own_disk = match self.end {
            None => self.phase == Phase::AwaitReport,
            Some(End::Succeeded) => self.kind != Kind::AgentOnly,
            Some(_) if self.kind == Kind::Rescue => true,
            Some(_) => matches!(self.disk, Disk::Whole(_)),
        };
        self.machine = if !own_disk {
            Machine::Ramdisk {
                works_on: None,
                outbox: None,
            }
        } else if matches!(self.disk, Disk::Whole(_) | Disk::Old) {
            Machine::System
        } else {
            return None;
        };
        if self.end.is_none() && self.phase == Phase::AwaitAgent && !self.powered {
            self.powered = true;
            self.moved();
        }
        Some(())
    }

    /// The greeting: what the agent holds is compared with what it should hold.
    fn agent_calls(&mut self) -> Option<()> {
        let Machine::Ramdisk { works_on, outbox } = self.machine else {
            return None;
        };
        if self.session.is_some() {
            return None;
        }
        let held = works_on.or(outbox.map(|(task, _)| task));
        let mut session = Session::default();
        let mut news = News::default();
        match held {
            Some(task) if !self.is_present(task) => {
                session.busy = true;
                session.cancel_on_its_way = Some(task);
            }
            Some(_) if self.phase == Phase::AgentWorks => self.accepted = true,
            None if self.phase == Phase::AgentWorks && self.end.is_none() => news.restarted = self.accepted,
            _ => {}
        }
        self.session = Some(session);
        self.settle(news);
        Some(())
    }

    fn agent_reads(&mut self) -> Option<()> {
        let Machine::Ramdisk { works_on, outbox } = &mut self.machine else {
            return None;
        };
        let session = self.session.as_mut()?;
        if let Some(task) = session
            .cancel_on_its_way
            .take_if(|_| session.task_on_its_way.is_none())
        {
            if *works_on == Some(task) {
                // A rescue that is ended has done what it was for.
                let ending = match (self.kind, task) {
                    (Kind::Rescue, 1..) => Ending::Success,
                    _ => Ending::Cancelled,
                };
                (*works_on, *outbox) = (None, Some((task, ending)));
                if self.disk == Disk::Part(task) {
                    self.disk = Disk::Cleared;
                }
            } else if *outbox == Some((task, Ending::Success)) && (self.kind != Kind::Rescue || task == 0) {
                // Not wanted any more: the head is cleared before the machine restarts.
                self.disk = Disk::Cleared;
            }
            return Some(());
        }
        let task = session.task_on_its_way.take()?;
        match works_on {
            Some(other) if *other == task => {}
            Some(_) => panic!("two tasks that write at a time: {self:?}"),
            // What has ended already is not begun again.
            None if outbox.is_some_and(|(ended, _)| ended == task) => {}
            None => *works_on = Some(task),
        }
        Some(())
    }

    /// A step of a task has arrived.
    fn heard_of(&mut self, task: TaskNumber, ends: bool) -> Option<()> {
        let session = self.session.as_mut()?;
        if self.end.is_none() && task == self.attempt && self.phase == Phase::AgentWorks {
            self.accepted = true;
            self.moved();
            if !ends {
                self.settle(News::default());
            }
        } else if !ends {
            session.cancel_on_its_way = Some(task);
        }
        Some(())
    }

    fn controller_takes_end(&mut self) -> Option<()> {
        let Machine::Ramdisk {
            works_on,
            outbox: Some((task, ending)),
        } = self.machine
        else {
            return None;
        };
        // Behind what is on its way to the agent already.
        self.session
            .filter(|session| session.cancel_on_its_way.is_none())?;
        let present = self.is_present(task) && self.phase == Phase::AgentWorks;
        self.heard_of(task, true)?;
        if present {
            self.settle(News {
                outcome: Some(ending),
                ..News::default()
            });
        } else {
            let session = self.session.as_mut()?;
            session.busy = false;
            self.settle(News::default());
        }
        let unwanted = task == self.attempt && matches!(self.end, Some(End::Failed | End::Cancelled(_)));
        self.machine = Machine::Ramdisk {
            works_on,
            outbox: None,
        };
        if self.is_rescue(task) && ending == Ending::Success {
            // It restarts, whatever the controller thinks of it.
            self.machine = Machine::Off;
            self.session = None;
        } else if ending == Ending::Success && unwanted {
            self.disk = Disk::Cleared;
        } else if ending == Ending::Success && task == self.attempt && self.kind == Kind::System && !unwanted
        {
            // It restarts into what it has written.
            self.machine = Machine::Off;
            self.session = None;
        }
        Some(())
    }

    /// What time alone makes of it.
    pub(super) fn left_alone(mut self) -> Self {
        for _ in 0..6 {
            if let Some(next) = self.after(Event::TimePasses) {
                self = next;
            }
            self.late = true;
            self.settle(News::default());
        }
        self
    }

    /// What becomes of it without another fault, when messages arrive and nobody asks for more.
    pub(super) fn comes_to_rest(mut self) -> Self {
        for _ in 0..30 {
            let calm = [
                Event::AgentCalls,
                Event::AgentReads,
                Event::ControllerTakesEnd,
                Event::AgentTells,
            ];
            for event in calm {
                if let Some(next) = self.after(event) {
                    self = next;
                }
            }
        }
        self
    }
}
