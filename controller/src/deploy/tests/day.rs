//! A day of random faults, in the time of a fake clock: servers that lose their power, agents that die, sessions that are cut,
//! a controller that is started anew, a clock that jumps, operators who change their minds. What the machines hold is
//! compared with what the controller believes at every step. `DAY_SEED=N` repeats one; `DAY_SEEDS=N` takes more.

use std::collections::{BTreeMap, VecDeque};

use imprint_proto::agent::v1::{self as wire, controller_message, outcome, task::Kind};
use jiff::SignedDuration;
use tokio::sync::mpsc;

use super::rig::*;
use crate::{
    boot::{BootAction, BootFacts},
    deploy::*,
    events::EventQuery,
    inventory::NodeState,
};

const MACHINES: u64 = 6;
const DAY_SECONDS: u64 = 24 * 3600;

/// Splitmix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Disk {
    Blank,
    /// Somebody writes or wipes; its head is withheld.
    Part,
    /// The whole image of a deployment, and the token of its report.
    Whole(String, String),
}

/// What an agent works on.
#[derive(Debug, Clone)]
struct Work {
    task: wire::Task,
    /// Steps that are to come until it ends.
    left: u64,
}

#[derive(Debug, Default)]
struct Ramdisk {
    boot_id: String,
    starts: u32,
    work: Option<Work>,
    /// Numbered messages that nobody has acknowledged, oldest first; the last one may be an outcome.
    outbox: VecDeque<Numbered>,
    sequence: u64,
    held: String,
    session: Option<(Seat, mpsc::Receiver<Outgoing>)>,
}

#[derive(Debug, Clone)]
enum Numbered {
    Step(wire::StepEvent),
    Outcome(Box<wire::Outcome>),
}

#[derive(Debug)]
enum Power {
    Off,
    Ramdisk(Box<Ramdisk>),
    System,
}

#[derive(Debug)]
struct Server {
    shown: wire::Fingerprint,
    node_id: String,
    power: Power,
    disk: Disk,
    boots: u64,
    /// How often writing was begun, by deployment.
    writes: BTreeMap<String, u32>,
}

impl Server {
    fn facts(&self) -> BootFacts {
        let shown = &self.shown;
        BootFacts::parse(&shown.macs[0], &shown.smbios_uuid, &shown.smbios_serial, "efi").unwrap()
    }

    fn ramdisk(&mut self) -> Option<&mut Ramdisk> {
        match &mut self.power {
            Power::Ramdisk(ramdisk) => Some(ramdisk),
            _ => None,
        }
    }
}

struct Day {
    rig: Rig,
    dice: Dice,
    servers: Vec<Server>,
    counts: BTreeMap<&'static str, u64>,
    calm: bool,
}

fn fingerprint_of(index: u64) -> wire::Fingerprint {
    wire::Fingerprint {
        smbios_uuid: format!("9f1b0000-2222-4333-8444-1000000000{index:02}"),
        smbios_serial: format!("DAY-{index}"),
        macs: vec![format!("52:54:00:da:00:{index:02}")],
    }
}

impl Day {
    async fn begin(seed: u64) -> Self {
        let rig = Rig::start().await;
        let mut servers = Vec::new();
        for index in 0..MACHINES {
            let fingerprint = fingerprint_of(index);
            let nodes = &rig.app().nodes;
            let node = nodes.enroll(&fingerprint, "0.1.0").await.unwrap();
            nodes
                .record_inventory(&node.id, &inventory().into())
                .await
                .unwrap();
            nodes.approve(&admin(), &node.id, None).await.unwrap();
            servers.push(Server {
                shown: fingerprint,
                node_id: node.id,
                power: Power::Off,
                disk: Disk::Blank,
                boots: 0,
                writes: BTreeMap::new(),
            });
        }
        Self {
            rig,
            dice: Dice(seed),
            servers,
            counts: BTreeMap::new(),
            calm: false,
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    async fn node_state(&self, index: usize) -> NodeState {
        let id = &self.servers[index].node_id;
        self.rig.app().nodes.get(id).await.unwrap().state
    }

    /// Power on: what the boot services say decides.
    async fn boots(&mut self, index: usize) {
        let deployments = self.rig.app().deployments.clone();
        let server = &mut self.servers[index];
        server.boots += 1;
        match deployments.boot_action(&server.facts()).await.unwrap() {
            BootAction::Ramdisk { .. } => {
                server.power = Power::Ramdisk(Box::new(Ramdisk {
                    boot_id: format!("boot-{}", server.boots),
                    ..Ramdisk::default()
                }));
            }
            // A disk that is not whole has nothing that boots: the server stays where it is.
            BootAction::LocalDisk { .. } => {
                server.power = match server.disk {
                    Disk::Whole(..) => Power::System,
                    Disk::Blank | Disk::Part => Power::Off,
                }
            }
        }
    }

    async fn calls(&mut self, index: usize) {
        let deployments = self.rig.app().deployments.clone();
        let ca = self.rig.app().authority.ca_pem().to_owned();
        let server = &mut self.servers[index];
        let node_id = server.node_id.clone();
        let Some(ramdisk) = server.ramdisk().filter(|it| it.session.is_none()) else {
            return;
        };
        let (sender, inbox) = mpsc::channel(64);
        let hello = wire::Hello {
            start_count: ramdisk.starts + 1,
            ..hello(&ramdisk.boot_id, &ramdisk.held)
        };
        let seat = deployments
            .attach(&node_id, &hello, sender, &ca, "0.1.0")
            .await
            .unwrap();
        ramdisk.session = Some((seat, inbox));
    }

    async fn hangs_up(&mut self, index: usize) {
        let deployments = self.rig.app().deployments.clone();
        if let Some((seat, _)) = self.servers[index].ramdisk().and_then(|it| it.session.take()) {
            deployments.detach(&seat, "it was cut").await.unwrap();
        }
    }

    /// Everything that the controller has sent.
    async fn reads(&mut self, index: usize) {
        loop {
            let server = &mut self.servers[index];
            let Power::Ramdisk(ramdisk) = &mut server.power else {
                return;
            };
            let Some((_, inbox)) = &mut ramdisk.session else {
                return;
            };
            let Ok(Outgoing::Message(message)) = inbox.try_recv() else {
                return;
            };
            match message.message.unwrap() {
                controller_message::Message::Welcome(_) => {}
                controller_message::Message::Task(task) => self.takes(index, task).await,
                controller_message::Message::Cancel(cancel) => {
                    if ramdisk
                        .work
                        .as_ref()
                        .is_some_and(|work| work.task.task_id == cancel.task_id)
                    {
                        let touched = server.disk == Disk::Part;
                        ramdisk.work = None;
                        let stopped = wire::Cancelled {
                            head_cleared: touched,
                        };
                        end(
                            ramdisk,
                            &cancel.task_id,
                            outcome::Result::Cancelled(stopped),
                            Vec::new(),
                        );
                        self.count("tasks stopped");
                    } else if ramdisk.held == cancel.task_id && matches!(server.disk, Disk::Whole(..)) {
                        // It has ended well, and nobody wants it: the head is cleared.
                        server.disk = Disk::Part;
                    }
                }
                controller_message::Message::Ack(ack) => self.is_thanked(index, &ack).await,
            }
        }
    }

    /// A task arrives: whoever begins to write has a claim that lives.
    async fn takes(&mut self, index: usize, task: wire::Task) {
        let id = match task.kind.as_ref().unwrap() {
            Kind::Deploy(deploy) => deploy.deployment_id.clone(),
            Kind::Wipe(wipe) => wipe.release_id.clone(),
            other => panic!("{other:?}"),
        };
        let server = &mut self.servers[index];
        let Power::Ramdisk(ramdisk) = &mut server.power else {
            return;
        };
        if ramdisk.held == task.task_id {
            return;
        }
        if let Some(work) = &ramdisk.work {
            panic!("{} is given {task:?} while it works on {work:?}", server.node_id);
        }
        ramdisk.held.clone_from(&task.task_id);
        (ramdisk.sequence, ramdisk.outbox) = (0, VecDeque::new());
        ramdisk.work = Some(Work {
            task,
            left: 1 + self.dice.below(8),
        });
        let begun = server.writes.entry(id.clone()).or_default();
        *begun += 1;
        assert!(*begun <= 3, "deployment {id} begins for the {begun}th time");
        let deployment = self.rig.deployment(&id).await;
        let server = &self.servers[index];
        assert_eq!(deployment.node_id, server.node_id);
        assert_eq!(
            deployment.state,
            DeploymentState::Running,
            "a task of what has ended"
        );
        self.count("tasks taken");
    }

    /// One step of the work, or its end.
    fn works(&mut self, index: usize) {
        let gives_up = !self.calm && self.dice.one_in(40);
        let server = &mut self.servers[index];
        let Power::Ramdisk(ramdisk) = &mut server.power else {
            return;
        };
        let Some(work) = &mut ramdisk.work else { return };
        let task = work.task.clone();
        let step = match task.kind {
            Some(Kind::Wipe(_)) => wire::Step::Wipe,
            _ => wire::Step::Write,
        };
        if !gives_up && work.left > 0 {
            work.left -= 1;
            server.disk = Disk::Part;
            ramdisk.sequence += 1;
            let event = step_event(&task.task_id, ramdisk.sequence, step, wire::StepKind::Started);
            ramdisk.outbox.push_back(Numbered::Step(event));
            return;
        }
        ramdisk.work = None;
        if gives_up {
            let failed = failure(step, true);
            end(ramdisk, &task.task_id, failed, Vec::new());
            self.count("tasks given up");
            return;
        }
        let (result, proof) = match task.kind.as_ref().unwrap() {
            Kind::Deploy(deploy) => {
                let image = deploy.image.as_ref().unwrap();
                server.disk = Disk::Whole(deploy.deployment_id.clone(), report_token(&task));
                let disk = wire::Disk {
                    serial: "D1".to_owned(),
                    ..wire::Disk::default()
                };
                let success = wire::Success {
                    disk: Some(disk),
                    image_digest: image.image_digest.clone(),
                    ..wire::Success::default()
                };
                (outcome::Result::Success(success), Vec::new())
            }
            _ => {
                server.disk = Disk::Blank;
                let proof = wire::WipeCertificate {
                    wiped: true,
                    ..wire::WipeCertificate::default()
                };
                (outcome::Result::Success(wire::Success::default()), vec![proof])
            }
        };
        end(ramdisk, &task.task_id, result, proof);
    }

    /// Sends what nobody has acknowledged, oldest first.
    async fn sends(&mut self, index: usize) {
        let deployments = self.rig.app().deployments.clone();
        let server = &mut self.servers[index];
        let node_id = server.node_id.clone();
        let Some(ramdisk) = server.ramdisk().filter(|it| it.session.is_some()) else {
            return;
        };
        let Some(next) = ramdisk.outbox.front().cloned() else {
            return;
        };
        match next {
            Numbered::Step(event) => deployments.take_step(&node_id, event).await.unwrap(),
            Numbered::Outcome(outcome) => deployments.take_outcome(&node_id, *outcome).await.unwrap(),
        }
    }

    /// The controller has kept a message. After the success of an installation the server restarts from its disk.
    async fn is_thanked(&mut self, index: usize, ack: &wire::Ack) {
        let server = &mut self.servers[index];
        let Power::Ramdisk(ramdisk) = &mut server.power else {
            return;
        };
        if ramdisk.held != ack.task_id {
            return;
        }
        let mut restarts = false;
        while let Some(front) = ramdisk.outbox.front() {
            let (sequence, success) = match front {
                Numbered::Step(event) => (event.sequence, false),
                Numbered::Outcome(outcome) => (
                    outcome.sequence,
                    matches!(outcome.result, Some(outcome::Result::Success(_))),
                ),
            };
            if sequence > ack.sequence {
                break;
            }
            ramdisk.outbox.pop_front();
            restarts |= success;
        }
        if ramdisk.outbox.is_empty() && ramdisk.work.is_none() {
            ramdisk.held.clear();
        }
        if restarts && matches!(server.disk, Disk::Whole(..)) {
            self.loses_power(index).await;
            self.boots(index).await;
        }
    }

    async fn loses_power(&mut self, index: usize) {
        self.hangs_up(index).await;
        self.servers[index].power = Power::Off;
    }

    /// The installed system reports, as often as it likes.
    async fn reports(&mut self, index: usize) {
        let server = &self.servers[index];
        let (Power::System, Disk::Whole(id, token)) = (&server.power, &server.disk) else {
            return;
        };
        let report = wire::FirstBootReport {
            deployment_id: id.clone(),
            ..first_boot(&self.rig.deployment(id).await, "b1")
        };
        // Refused when the node has been given to something else since.
        if self
            .rig
            .app()
            .deployments
            .take_report(token, report)
            .await
            .is_ok()
        {
            self.count("reports taken");
        }
    }

    /// Somebody wants something of a node; what its state does not allow is refused.
    async fn operator(&mut self, index: usize) {
        let wanted = self.dice.below(4);
        let node_id = self.servers[index].node_id.clone();
        let deployments = self.rig.app().deployments.clone();
        let done = match wanted {
            0 | 1 => {
                let request = DeployRequest {
                    node: node_id,
                    reinstall: Some(true),
                    user_data: None,
                    ..self.request()
                };
                deployments.create(&admin(), &request, None).await.is_ok()
            }
            2 => {
                let request = ReleaseRequest::default();
                deployments.release(&admin(), &node_id, &request).await.is_ok()
            }
            _ => match self.rig.app().nodes.get(&node_id).await.unwrap().deployment_id {
                Some(id) => deployments.cancel(&admin(), &id).await.is_ok(),
                None => false,
            },
        };
        if done {
            self.count(["deployments", "deployments", "releases", "cancellations"][wanted as usize]);
        }
    }

    fn request(&self) -> DeployRequest {
        DeployRequest {
            image: "debian".to_owned(),
            ..DeployRequest::default()
        }
    }

    async fn controller_restarts(mut self) -> Self {
        for server in &mut self.servers {
            if let Some(ramdisk) = server.ramdisk() {
                ramdisk.session = None;
            }
        }
        self.rig = self.rig.restart().await;
        self.count("restarts of the controller");
        self
    }

    /// What one server does in one step.
    async fn moves(&mut self, index: usize) {
        if !self.calm {
            match self.dice.below(60) {
                0 => {
                    self.loses_power(index).await;
                    self.count("power cuts");
                }
                1 => {
                    self.hangs_up(index).await;
                    self.count("lost sessions");
                }
                // The agent is killed: it knows its task and its outbox from its state folder.
                2 => {
                    self.hangs_up(index).await;
                    if let Some(ramdisk) = self.servers[index].ramdisk() {
                        ramdisk.starts += 1;
                    }
                }
                3 => self.operator(index).await,
                // It stands still for a while.
                4..=20 => return,
                _ => {}
            }
        } else if self.node_state(index).await.is_taken()
            && matches!(self.servers[index].power, Power::System)
        {
            // In the end somebody presses the button of what is to be worked on.
            let waits = self
                .rig
                .app()
                .deployments
                .why(&Viewer::All, &self.servers[index].node_id)
                .await
                .unwrap();
            if waits.summary.contains("waits for the server to boot") {
                self.loses_power(index).await;
            }
        }
        match self.servers[index].power {
            Power::Off if self.calm || self.dice.one_in(4) => self.boots(index).await,
            Power::Off => {}
            Power::System => self.reports(index).await,
            Power::Ramdisk(_) => {
                self.calls(index).await;
                self.reads(index).await;
                self.works(index);
                self.sends(index).await;
                self.reads(index).await;
            }
        }
    }

    /// What holds at any time.
    async fn check(&self) {
        for server in &self.servers {
            let node = self.rig.app().nodes.get(&server.node_id).await.unwrap();
            let why = self
                .rig
                .app()
                .deployments
                .why(&Viewer::All, &node.id)
                .await
                .unwrap();
            assert!(!why.summary.is_empty());
            let running = node.deployment_id.as_deref();
            let running = match running {
                Some(id) => Some(self.rig.deployment(id).await),
                None => None,
            };
            let runs = running
                .as_ref()
                .is_some_and(|it| it.state == DeploymentState::Running);
            assert_eq!(node.state.is_taken(), runs, "{node:?} has {running:?}");
            if node.state == NodeState::Failed {
                let problem = node.problem.as_ref().unwrap();
                assert!(
                    !problem.cause.is_empty() && !problem.remedy.is_empty(),
                    "{problem:?}"
                );
            }
            let waits = why
                .deadline
                .map(|deadline| deadline.duration_since(self.rig.clock.now()));
            assert!(
                waits.is_none_or(|waits| waits <= SignedDuration::from_hours(6)),
                "{why:?}"
            );
            if let Some(deployment) = running.filter(|it| it.state == DeploymentState::Succeeded)
                && node.state == NodeState::Active
            {
                assert!(
                    matches!(&server.disk, Disk::Whole(id, _) if *id == deployment.id),
                    "{} is active by {}, and its disk is {:?}",
                    server.node_id,
                    deployment.id,
                    server.disk
                );
            }
        }
    }
}

fn end(
    ramdisk: &mut Ramdisk,
    task_id: &str,
    result: outcome::Result,
    certificates: Vec<wire::WipeCertificate>,
) {
    ramdisk.sequence += 1;
    ramdisk
        .outbox
        .push_back(Numbered::Outcome(Box::new(wire::Outcome {
            task_id: task_id.to_owned(),
            sequence: ramdisk.sequence,
            result: Some(result),
            certificates,
        })));
}

async fn a_day(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut day = Day::begin(seed).await;
    let mut seconds = 0;
    while seconds < DAY_SECONDS {
        let step = 20 + day.dice.below(60);
        seconds += step;
        let step = i64::try_from(step).unwrap();
        day.rig.clock.advance(SignedDuration::from_secs(step));
        if day.dice.one_in(200) {
            // The clock is set: ahead, or back.
            let jump = i64::try_from(day.dice.below(7200)).unwrap() - 3600;
            day.rig.clock.advance(SignedDuration::from_secs(jump));
            day.count("jumps of the clock");
        }
        if day.dice.one_in(80) {
            day = day.controller_restarts().await;
        }
        for index in 0..day.servers.len() {
            day.moves(index).await;
        }
        day.rig.app().deployments.reconcile().await.unwrap();
        day.check().await;
    }
    // Nobody asks for more, nothing breaks: all of it comes to an end.
    day.calm = true;
    for _ in 0..240 {
        day.rig.clock.advance(SignedDuration::from_secs(30));
        for index in 0..day.servers.len() {
            day.moves(index).await;
        }
        day.rig.app().deployments.reconcile().await.unwrap();
        day.check().await;
    }
    for index in 0..day.servers.len() {
        let state = day.node_state(index).await;
        assert!(
            !state.is_taken(),
            "{} is {state} in the end",
            day.servers[index].node_id
        );
    }
    everything_was_told(&day).await;
    day.counts
}

/// The log has no gap, and every deployment that ended said so once.
async fn everything_was_told(day: &Day) {
    let (mut after, mut ended) = (0, BTreeMap::<String, u32>::new());
    loop {
        let query = EventQuery {
            page_size: 1000,
            after,
            ..EventQuery::default()
        };
        let page = day.rig.app().events.list(&query).await.unwrap();
        for event in &page.items {
            let ends = [
                "deployment.succeeded",
                "deployment.failed",
                "deployment.cancelled",
                "node.released",
            ];
            if let Some(id) = event
                .deployment_id
                .clone()
                .filter(|_| ends.contains(&event.kind.as_str()))
            {
                *ended.entry(id).or_default() += 1;
            }
        }
        let Some(last) = page.items.last() else { break };
        after = last.id;
    }
    let all: Vec<(String, String)> = sqlx::query_as("SELECT id, state FROM deployments")
        .fetch_all(&day.rig.app().db)
        .await
        .unwrap();
    for (id, state) in all {
        assert_ne!(state, "running", "{id}");
        // A second time when its system reported late.
        assert!(
            matches!(ended.get(&id), Some(1 | 2)),
            "{id} ended {:?} times",
            ended.get(&id)
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_day_of_random_faults_ends_well() {
    let one = std::env::var("DAY_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().unwrap());
    let more = std::env::var("DAY_SEEDS")
        .ok()
        .map_or(2, |seeds| seeds.parse::<u64>().unwrap());
    let seeds = match one {
        Some(seed) => vec![seed],
        None => (1..=more).collect(),
    };
    for seed in seeds {
        eprintln!("DAY_SEED={seed}");
        let counts = a_day(seed).await;
        eprintln!("{counts:?}");
        for what in [
            "tasks taken",
            "reports taken",
            "releases",
            "power cuts",
            "restarts of the controller",
        ] {
            assert!(counts.contains_key(what), "a day without {what}: {counts:?}");
        }
    }
}
