//! A server in the time of a fake clock: its power, its disk, and an agent that holds its task, its numbered messages and its
//! session as the real one does. The controller is the real one; messages go to it without a network, so that nothing
//! depends on who is quicker.

use std::collections::{BTreeMap, VecDeque};

use imprint_proto::agent::v1::{self as wire, Step as S, controller_message, outcome, task::Kind};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::rig::*;
use crate::{
    boot::{BootAction, BootFacts},
    deploy::*,
    inventory::{Node, NodeState},
};

/// What is on the one disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Nothing that boots, and nobody has begun.
    Blank,
    /// Somebody has begun to write or to wipe; the head is withheld.
    Part,
    /// The whole image of a deployment, and the token of its report.
    Whole(String, String),
}

/// So long a real agent asks a store that gives nothing (`WriteOptions::patience`).
const PATIENCE: SignedDuration = SignedDuration::from_mins(9);
/// What a store says that is away, as the controller passes it on.
const NO_STORE: &str = "https://10.0.0.1:8443/v1/store/packs/3f1c answered 503 Service Unavailable";

/// What an agent works on, and the steps that are to come.
#[derive(Debug, Clone)]
pub(super) struct Work {
    task: wire::Task,
    /// The step that was begun last.
    doing: Option<S>,
    left: VecDeque<S>,
    /// Since when the store has given nothing, and how often it was asked.
    fetch: Option<(Timestamp, u32)>,
}

/// A machine that has booted the ramdisk.
#[derive(Debug, Default)]
pub(super) struct Ramdisk {
    boot_id: String,
    /// It has the ssh server of rescues.
    pub rescue: bool,
    /// How often the agent was started.
    pub starts: u32,
    pub work: Option<Work>,
    /// Numbered messages that nobody has acknowledged, oldest first.
    outbox: VecDeque<Numbered>,
    sequence: u64,
    /// The task that it holds, or whose end is not acknowledged.
    held: String,
    pub session: Option<(Seat, mpsc::Receiver<Outgoing>)>,
    /// Its task was a rescue: the machine restarts in any case.
    rescue_ended: bool,
}

#[derive(Debug, Clone)]
enum Numbered {
    Step(Box<wire::StepEvent>),
    Outcome(Box<wire::Outcome>),
}

impl Numbered {
    fn sequence(&self) -> u64 {
        match self {
            Self::Step(event) => event.sequence,
            Self::Outcome(outcome) => outcome.sequence,
        }
    }

    fn is_success(&self) -> bool {
        matches!(self, Self::Outcome(outcome) if matches!(outcome.result, Some(outcome::Result::Success(_))))
    }
}

#[derive(Debug)]
pub(super) enum Power {
    Off,
    Ramdisk(Box<Ramdisk>),
    System,
}

/// A server.
#[derive(Debug)]
pub(super) struct Machine {
    shown: wire::Fingerprint,
    pub node_id: String,
    pub power: Power,
    pub content: Content,
    boots: u64,
    /// Pieces that the next image is written in.
    pub pieces: u64,
    /// Tasks that were begun, by deployment.
    pub begun: BTreeMap<String, u32>,
    /// Tasks that were stopped by the controller.
    pub stopped: u64,
    /// Attempts to read an image that the store did not answer.
    pub unanswered: u64,
    /// A call to the controller has failed: in these tests it is dead then.
    pub alone: bool,
}

impl Machine {
    /// A server in service that is switched off.
    pub(super) async fn in_service(rig: &Rig, index: u64) -> Self {
        let shown = wire::Fingerprint {
            smbios_uuid: format!("9f1b0000-2222-4333-8444-10000000{index:04x}"),
            smbios_serial: format!("DAY-{index}"),
            macs: vec![format!("52:54:00:da:{:02x}:{:02x}", index >> 8, index & 0xff)],
        };
        let nodes = &rig.app().nodes;
        let node = nodes.enroll(&shown, "0.1.0").await.unwrap();
        nodes
            .record_inventory(&node.id, &inventory().into())
            .await
            .unwrap();
        nodes.approve(&admin(), &node.id, None).await.unwrap();
        Self {
            shown,
            node_id: node.id,
            power: Power::Off,
            content: Content::Blank,
            boots: 0,
            pieces: 1,
            begun: BTreeMap::new(),
            stopped: 0,
            unanswered: 0,
            alone: false,
        }
    }

    pub(super) async fn node(&self, rig: &Rig) -> Node {
        rig.app().nodes.get(&self.node_id).await.unwrap()
    }

    pub(super) fn ramdisk(&mut self) -> Option<&mut Ramdisk> {
        match &mut self.power {
            Power::Ramdisk(ramdisk) => Some(ramdisk),
            Power::Off | Power::System => None,
        }
    }

    /// The step that the agent is to do next; none without a task.
    pub(super) fn next_step(&mut self) -> Option<S> {
        self.ramdisk()?.work.as_ref()?.left.front().copied()
    }

    /// Power on: what the boot services say decides.
    pub(super) async fn boots(&mut self, rig: &Rig) {
        self.boots += 1;
        let shown = &self.shown;
        let facts =
            BootFacts::parse(&shown.macs[0], &shown.smbios_uuid, &shown.smbios_serial, "efi").unwrap();
        let Ok(action) = rig.app().deployments.boot_action(&facts).await else {
            return self.is_alone();
        };
        self.power = match action {
            BootAction::Ramdisk { rescue, .. } => Power::Ramdisk(Box::new(Ramdisk {
                boot_id: format!("boot-{}", self.boots),
                rescue,
                ..Ramdisk::default()
            })),
            // A disk that is not whole has nothing that boots: the server stays where it is.
            BootAction::LocalDisk { .. } if matches!(self.content, Content::Whole(..)) => Power::System,
            BootAction::LocalDisk { .. } => Power::Off,
        };
    }

    pub(super) async fn loses_power(&mut self, rig: &Rig) {
        self.hangs_up(rig).await;
        self.power = Power::Off;
    }

    /// The agent calls, if it has no session.
    pub(super) async fn calls(&mut self, rig: &Rig) {
        let node_id = self.node_id.clone();
        let Some(ramdisk) = self.ramdisk().filter(|it| it.session.is_none()) else {
            return;
        };
        let (sender, inbox) = mpsc::channel(64);
        let hello = wire::Hello {
            start_count: ramdisk.starts + 1,
            ..hello(&ramdisk.boot_id, &ramdisk.held)
        };
        let app = rig.app();
        let seat = app
            .deployments
            .attach(&node_id, &hello, sender, app.authority.ca_pem(), "0.1.0")
            .await;
        match seat {
            Ok(seat) => ramdisk.session = Some((seat, inbox)),
            Err(_) => self.is_alone(),
        }
    }

    pub(super) async fn hangs_up(&mut self, rig: &Rig) {
        if let Some((seat, _)) = self.ramdisk().and_then(|it| it.session.take()) {
            let deployments = &rig.app().deployments;
            if deployments.detach(&seat, "it was cut").await.is_err() {
                self.is_alone();
            }
        }
    }

    /// The agent is killed and started again: what it knows is in its state folder.
    pub(super) async fn agent_dies(&mut self, rig: &Rig) {
        self.hangs_up(rig).await;
        if let Some(ramdisk) = self.ramdisk() {
            ramdisk.starts += 1;
        }
    }

    /// The controller is gone, and the session with it.
    fn is_alone(&mut self) {
        self.alone = true;
        if let Some(ramdisk) = self.ramdisk() {
            ramdisk.session = None;
        }
    }

    /// Everything that the controller has sent.
    pub(super) async fn reads(&mut self, rig: &Rig) {
        loop {
            let Some((_, inbox)) = self.ramdisk().and_then(|it| it.session.as_mut()) else {
                return;
            };
            let Ok(Outgoing::Message(message)) = inbox.try_recv() else {
                return;
            };
            match message.message.unwrap() {
                controller_message::Message::Welcome(_) | controller_message::Message::Log(_) => {}
                controller_message::Message::Task(task) => self.takes(rig, task).await,
                controller_message::Message::Cancel(cancel) => self.stops(&cancel.task_id),
                controller_message::Message::Ack(ack) => self.is_thanked(rig, &ack).await,
            }
        }
    }

    /// A task arrives: whoever begins has a claim that lives.
    async fn takes(&mut self, rig: &Rig, task: wire::Task) {
        let (id, left) = match task.kind.as_ref().unwrap() {
            Kind::Deploy(deploy) => {
                let writes = std::iter::repeat_n(S::Write, usize::try_from(self.pieces).unwrap());
                let finish = [S::Partitions, S::Seed, S::Guest, S::BootEntry, S::Reboot];
                let volume = deploy.volume.as_ref().map(|_| S::AttachVolume);
                (
                    deploy.deployment_id.clone(),
                    volume
                        .into_iter()
                        .chain([S::ClaimDisk])
                        .chain(writes)
                        .chain(finish)
                        .collect(),
                )
            }
            Kind::Wipe(wipe) => (wipe.release_id.clone(), VecDeque::from([S::Wipe, S::Wipe])),
            Kind::Rescue(rescue) => (rescue.rescue_id.clone(), VecDeque::from([S::Rescue])),
            Kind::Reboot(_) => panic!("nobody asked for that"),
        };
        let node_id = self.node_id.clone();
        let ramdisk = self.ramdisk().unwrap();
        if ramdisk.held == task.task_id {
            if let Some(work) = &mut ramdisk.work {
                work.task = task;
            }
            return;
        }
        if let Some(work) = &ramdisk.work {
            panic!("{node_id} is given {task:?} while it works on {work:?}");
        }
        ramdisk.held.clone_from(&task.task_id);
        (ramdisk.sequence, ramdisk.outbox) = (0, VecDeque::new());
        ramdisk.work = Some(Work {
            task,
            doing: None,
            left,
            fetch: None,
        });
        let begun = self.begun.entry(id.clone()).or_default();
        *begun += 1;
        assert!(*begun <= 3, "{id} begins for the {begun}th time");
        let deployment = rig.deployment(&id).await;
        assert_eq!(deployment.node_id, node_id);
        assert_eq!(
            deployment.state,
            DeploymentState::Running,
            "a task of what has ended"
        );
    }

    fn stops(&mut self, task_id: &str) {
        let touched = self.content == Content::Part;
        let whole = matches!(self.content, Content::Whole(..));
        let ramdisk = self.ramdisk().unwrap();
        if ramdisk
            .work
            .as_ref()
            .is_some_and(|work| work.task.task_id == task_id)
        {
            let rescue = ramdisk.is_rescued();
            ramdisk.work = None;
            let stopped = wire::Cancelled {
                head_cleared: touched,
            };
            let result = if rescue {
                outcome::Result::Success(wire::Success::default())
            } else {
                outcome::Result::Cancelled(stopped)
            };
            ramdisk.rescue_ended = rescue;
            ramdisk.ends(task_id, result, Vec::new());
            self.stopped += 1;
        } else if ramdisk.held == task_id && whole && !ramdisk.rescue_ended {
            // It has ended well, and nobody wants it: the head is cleared.
            self.content = Content::Part;
        }
    }

    /// One step of the work, or its end.
    pub(super) fn works(&mut self) {
        let Some(ramdisk) = self.ramdisk() else { return };
        let Some(work) = &mut ramdisk.work else { return };
        let task = work.task.clone();
        work.fetch = None;
        if let Some(step) = work.left.pop_front() {
            work.doing = Some(step);
            let rescue = (step == S::Rescue && ramdisk.rescue).then(|| access(&ramdisk.boot_id));
            ramdisk.tells(&task.task_id, step, wire::StepKind::Started, |event| {
                event.rescue = rescue;
            });
            if matches!(step, S::Write | S::Wipe) {
                self.content = Content::Part;
            }
            return;
        }
        if ramdisk.is_rescued() {
            // Until somebody ends it.
            return;
        }
        ramdisk.work = None;
        let disk = wire::Disk {
            serial: "D1".to_owned(),
            ..wire::Disk::default()
        };
        match task.kind.as_ref().unwrap() {
            Kind::Deploy(deploy) => {
                let success = wire::Success {
                    disk: Some(disk),
                    image_digest: deploy.image.as_ref().unwrap().image_digest.clone(),
                    ..wire::Success::default()
                };
                ramdisk.ends(&task.task_id, outcome::Result::Success(success), Vec::new());
                self.content = Content::Whole(deploy.deployment_id.clone(), report_token(&task));
            }
            _ => {
                let proof = wire::WipeCertificate {
                    wiped: true,
                    ..wire::WipeCertificate::default()
                };
                let success = outcome::Result::Success(wire::Success::default());
                ramdisk.ends(&task.task_id, success, vec![proof]);
                self.content = Content::Blank;
            }
        }
    }

    /// The same while the store gives nothing. Only whoever writes an image needs it: he asks again and again, tells of
    /// it ever more rarely, and gives up at last, as `agent/src/source/patience.rs` does.
    pub(super) fn works_without_store(&mut self, now: Timestamp) {
        let work = self.ramdisk().and_then(|ramdisk| ramdisk.work.as_mut());
        let Some(work) = work.filter(|work| work.doing == Some(S::Write)) else {
            return self.works();
        };
        let (since, attempts) = work.fetch.get_or_insert((now, 0));
        *attempts += 1;
        let (since, attempts) = (*since, *attempts);
        let task_id = work.task.task_id.clone();
        self.unanswered += 1;
        let ramdisk = self.ramdisk().expect("it works");
        let waited = now.duration_since(since);
        if waited >= PATIENCE {
            ramdisk.work = None;
            ramdisk.gives_up_the_store(&task_id, waited, attempts);
        } else if attempts.is_power_of_two() {
            ramdisk.tells(&task_id, S::Write, wire::StepKind::Retrying, |event| {
                event.detail = format!("chunks 12 to 40 (attempt {attempts} failed)");
                NO_STORE.clone_into(&mut event.cause);
                event.retry_in_ms = 8000;
            });
        }
    }

    /// The agent fails in the midst of its work.
    pub(super) fn gives_up(&mut self) {
        let Some(ramdisk) = self.ramdisk() else { return };
        let Some(work) = ramdisk.work.take() else { return };
        let step = match work.task.kind {
            Some(Kind::Wipe(_)) => S::Wipe,
            Some(Kind::Rescue(_)) => S::Rescue,
            _ => S::Write,
        };
        ramdisk.ends(&work.task.task_id, failure(step, true), Vec::new());
    }

    /// Sends the oldest message that nobody has acknowledged.
    pub(super) async fn sends(&mut self, rig: &Rig) {
        let node_id = self.node_id.clone();
        let Some(ramdisk) = self.ramdisk().filter(|it| it.session.is_some()) else {
            return;
        };
        let deployments = &rig.app().deployments;
        let taken = match ramdisk.outbox.front().cloned() {
            Some(Numbered::Step(event)) => deployments.take_step(&node_id, *event).await,
            Some(Numbered::Outcome(outcome)) => deployments.take_outcome(&node_id, *outcome).await,
            None => Ok(()),
        };
        if taken.is_err() {
            self.is_alone();
        }
    }

    /// The controller has kept a message. After the success of an installation the server restarts from its disk.
    async fn is_thanked(&mut self, rig: &Rig, ack: &wire::Ack) {
        let ramdisk = self.ramdisk().unwrap();
        if ramdisk.held != ack.task_id {
            return;
        }
        let mut restarts = false;
        while let Some(kept) = ramdisk
            .outbox
            .pop_front_if(|first| first.sequence() <= ack.sequence)
        {
            restarts |= kept.is_success();
        }
        if ramdisk.outbox.is_empty() && ramdisk.work.is_none() {
            ramdisk.held.clear();
        }
        if restarts && (ramdisk.rescue_ended || matches!(self.content, Content::Whole(..))) {
            self.loses_power(rig).await;
            self.boots(rig).await;
        }
    }

    /// The agent's turn: it calls, reads, works, tells.
    pub(super) async fn agent(&mut self, rig: &Rig) {
        self.calls(rig).await;
        self.reads(rig).await;
        self.works();
        self.sends(rig).await;
        self.reads(rig).await;
        if self
            .ramdisk()
            .is_some_and(|it| it.is_rescued() && !it.rescue && it.outbox.is_empty() && it.sequence > 0)
        {
            // The ramdisk that it has is not the one that a rescue needs.
            self.loses_power(rig).await;
            self.boots(rig).await;
        }
    }

    /// The installed system reports, as often as it likes; false when it is not listened to.
    pub(super) async fn reports(&mut self, rig: &Rig) -> bool {
        let (Power::System, Content::Whole(id, token)) = (&self.power, &self.content) else {
            return false;
        };
        let report = wire::FirstBootReport {
            deployment_id: id.clone(),
            ..first_boot(&rig.deployment(id).await, "b1")
        };
        let taken = rig.app().deployments.take_report(token, report).await;
        self.alone |= matches!(taken, Err(ReportError::Deploy(_)));
        taken.is_ok()
    }

    /// What holds at any time.
    pub(super) async fn check(&self, rig: &Rig) {
        let node = self.node(rig).await;
        let why = rig.app().deployments.why(&Viewer::All, &node.id).await.unwrap();
        assert!(!why.summary.is_empty());
        let last = match node.deployment_id.as_deref() {
            Some(id) => Some(rig.deployment(id).await),
            None => None,
        };
        let runs = last
            .as_ref()
            .is_some_and(|it| it.state == DeploymentState::Running);
        assert_eq!(node.state.is_taken(), runs, "{node:?} has {last:?}");
        if node.state == NodeState::Failed {
            let problem = node.problem.as_ref().unwrap();
            assert!(
                !problem.cause.is_empty() && !problem.remedy.is_empty(),
                "{problem:?}"
            );
        }
        if let Some(deadline) = why.deadline {
            // A clock that was set back makes waits longer, and no wait endless.
            let hours = deadline.duration_since(rig.clock.now()).as_hours();
            let longest = if why.summary.contains("its turn") {
                24 * 7 + 6
            } else {
                6
            };
            assert!(hours <= longest, "{why:?}");
        }
        if let Some(deployment) = last.filter(|it| it.state == DeploymentState::Succeeded)
            && node.state == NodeState::Active
        {
            let whole = matches!(&self.content, Content::Whole(id, _) if *id == deployment.id);
            assert!(
                whole,
                "{} is active, and its disk is {:?}",
                deployment.id, self.content
            );
        }
    }
}

/// How to get into a server in this boot of its ramdisk.
fn access(boot_id: &str) -> wire::RescueReport {
    wire::RescueReport {
        addresses: vec!["10.0.0.5".to_owned()],
        host_key: format!("ssh-ed25519 {boot_id}"),
        host_key_fingerprint: format!("SHA256:{boot_id}"),
        password_used: 0,
    }
}

impl Ramdisk {
    fn is_rescued(&self) -> bool {
        self.work
            .as_ref()
            .is_some_and(|work| matches!(work.task.kind, Some(Kind::Rescue(_))))
    }

    fn tells(
        &mut self,
        task_id: &str,
        step: S,
        kind: wire::StepKind,
        fill: impl FnOnce(&mut wire::StepEvent),
    ) {
        self.sequence += 1;
        let mut event = step_event(task_id, self.sequence, step, kind);
        fill(&mut event);
        self.outbox.push_back(Numbered::Step(Box::new(event)));
    }

    /// The end of a write whose store gave nothing for too long: the step, then the task.
    fn gives_up_the_store(&mut self, task_id: &str, waited: SignedDuration, attempts: u32) {
        let failure = wire::Failure {
            step: S::Write.into(),
            cause: format!(
                "gave up after {} s without progress and {attempts} attempts: {NO_STORE}",
                waited.as_secs()
            ),
            remedy: "look at the log of the controller or store, then deploy again".to_owned(),
            head_cleared: true,
            retryable: true,
        };
        self.tells(task_id, S::Write, wire::StepKind::Failed, |event| {
            event.cause.clone_from(&failure.cause);
            event.remedy.clone_from(&failure.remedy);
        });
        self.ends(task_id, outcome::Result::Failure(failure), Vec::new());
    }

    fn ends(&mut self, task_id: &str, result: outcome::Result, certificates: Vec<wire::WipeCertificate>) {
        self.sequence += 1;
        self.outbox.push_back(Numbered::Outcome(Box::new(wire::Outcome {
            task_id: task_id.to_owned(),
            sequence: self.sequence,
            result: Some(result),
            certificates,
        })));
    }
}
