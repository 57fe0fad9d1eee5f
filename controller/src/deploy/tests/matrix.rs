//! Every step of a deployment against every fault: it ends with an active node, or it fails with cause and remedy and the next
//! deployment does. The table in `docs/reliability.md` is written by this test: `UPDATE_DOCS=1` writes it anew. What each fault
//! is here, and which of them real servers have met, stands there as well.

use std::{fmt::Write as _, fs, path::Path};

use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Machine, Power},
    rig::*,
};
use crate::{
    deploy::*,
    inventory::NodeState,
    testing::crash,
    volumes::{Backing, Limits, NewVolume},
};

const TICK: SignedDuration = SignedDuration::from_secs(10);
/// No deployment takes longer, whatever happens to it.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It says nothing more, and is started again; what it knows is in its state folder.
    AgentKilled,
    /// For so many seconds, and the ramdisk with it.
    PowerCut(i64),
    /// The session is lost, and nobody is reached.
    NetworkCut(i64),
    /// From one moment on nothing that it does has any effect, nor does it say farewell; for so many seconds nobody answers.
    ControllerKilled(i64),
    /// Whoever reads an image gets an error, says so, and gives up after his patience.
    StoreAway(i64),
    /// It answers nobody, and the power of its server fails; people bring it back.
    BmcAway(i64),
}

const FAULTS: [(Fault, &str); 9] = [
    (Fault::AgentKilled, "agent killed"),
    (Fault::PowerCut(120), "power cut, 2 minutes"),
    (Fault::PowerCut(3600), "power cut, an hour"),
    (Fault::NetworkCut(60), "network cut, 60 s"),
    (Fault::NetworkCut(3600), "network cut, an hour"),
    (Fault::ControllerKilled(60), "controller killed, back after 60 s"),
    (Fault::StoreAway(60), "store away, 60 s"),
    (Fault::StoreAway(1200), "store away, 20 minutes"),
    (Fault::BmcAway(600), "BMC unreachable, power cut, 10 minutes"),
];

/// Steps that no installation has, and the tests that go through them.
const ELSEWHERE: [(Step, &str); 2] = [
    (Step::Wipe, "of releases: releases.rs, kills.rs, day.rs"),
    (Step::Rescue, "of rescues: rescues.rs, kills.rs"),
];

/// The rows: all steps there are but these. Each of them is struck, or the test fails.
fn steps() -> impl Iterator<Item = Step> {
    let elsewhere = |step: &Step| ELSEWHERE.iter().any(|(other, _)| other == step);
    Step::ALL.iter().copied().filter(move |step| !elsewhere(step))
}

struct Cell<'a> {
    rig: &'a mut Option<Rig>,
    machine: Machine,
    /// Where the image goes instead of the disk.
    volume: Option<String>,
    step: Step,
    fault: Fault,
    injected: bool,
    called: bool,
    off_until: Timestamp,
    cut_until: Timestamp,
    dead_until: Timestamp,
    store_away_until: Timestamp,
    /// How often a BMC was asked in vain.
    asked: u64,
}

impl Cell<'_> {
    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    async fn strike(&mut self) {
        self.injected = true;
        let now = self.rig().clock.now();
        let until = |seconds| now + SignedDuration::from_secs(seconds);
        match self.fault {
            Fault::AgentKilled => {
                let rig = self.rig.as_ref().unwrap();
                self.machine.agent_dies(rig).await;
            }
            Fault::PowerCut(seconds) => {
                self.off_until = until(seconds);
                let rig = self.rig.as_ref().unwrap();
                self.machine.loses_power(rig).await;
            }
            Fault::NetworkCut(seconds) => {
                self.cut_until = until(seconds);
                let rig = self.rig.as_ref().unwrap();
                self.machine.hangs_up(rig).await;
            }
            Fault::ControllerKilled(seconds) => {
                self.dead_until = until(seconds);
                crash::now();
                if let Some(ramdisk) = self.machine.ramdisk() {
                    ramdisk.session = None;
                }
            }
            Fault::StoreAway(seconds) => self.store_away_until = until(seconds),
            Fault::BmcAway(seconds) => {
                self.off_until = until(seconds);
                let rig = self.rig.as_ref().unwrap();
                has_bmc(rig, &self.machine.node_id).await;
                self.machine.loses_power(rig).await;
            }
        }
    }

    /// Ten seconds.
    async fn tick(&mut self) {
        self.rig().clock.advance(TICK);
        let now = self.rig().clock.now();
        if crash::is_dead() && now >= self.dead_until {
            let rig = self.rig.take().unwrap().restart_killed().await;
            *self.rig = Some(rig);
        }
        // A controller that is dead answers as little as one that cannot be reached.
        let (off, cut) = (now < self.off_until, now < self.cut_until || crash::is_dead());
        match self.machine.power {
            Power::Off if !self.injected && self.step == Step::Power => self.strike().await,
            // A server without a network boots nothing.
            Power::Off if off || cut => {}
            Power::Off => {
                let rig = self.rig.as_ref().unwrap();
                self.machine.boots(rig).await;
            }
            Power::System => {
                if !self.injected && self.step == Step::FirstBootReport {
                    self.strike().await;
                } else if !cut {
                    let rig = self.rig.as_ref().unwrap();
                    self.machine.reports(rig).await;
                }
            }
            Power::Ramdisk(_) => self.in_the_ramdisk(cut, now).await,
        }
        if crash::is_dead() {
            return;
        }
        self.rig().app().deployments.reconcile().await.unwrap();
        self.asked += power_ends(self.rig(), "failed", "nobody answers").await;
        self.machine.check(self.rig()).await;
    }

    async fn in_the_ramdisk(&mut self, cut: bool, now: Timestamp) {
        if !self.injected && self.step == Step::Boot && !self.called {
            return self.strike().await;
        }
        let rig = self.rig.as_ref().unwrap();
        if !cut {
            self.called = true;
            self.machine.calls(rig).await;
            self.machine.reads(rig).await;
        }
        let next = self.machine.next_step();
        if now < self.store_away_until {
            self.machine.works_without_store(now);
        } else {
            self.machine.works();
        }
        if !self.injected && next.is_some_and(|next| Step::of_wire(next) == Some(self.step)) {
            return self.strike().await;
        }
        if !cut {
            let rig = self.rig.as_ref().unwrap();
            self.machine.sends(rig).await;
            self.machine.reads(rig).await;
        }
    }

    /// Lets it go on until the node's deployment has ended; answers with the node's state.
    async fn ends(&mut self) -> NodeState {
        let limit = self.rig().clock.now() + PATIENCE;
        loop {
            self.tick().await;
            let node = self.machine.node(self.rig()).await;
            if !node.state.is_taken() && !crash::is_dead() {
                return node.state;
            }
            assert!(
                self.rig().clock.now() < limit,
                "{:?} at {}: still {}",
                self.fault,
                self.step,
                node.state
            );
        }
    }

    async fn orders(&self) -> Deployment {
        let request = DeployRequest {
            node: self.machine.node_id.clone(),
            image: "debian".to_owned(),
            volume: self.volume.clone(),
            reinstall: Some(true),
            ..DeployRequest::default()
        };
        self.rig()
            .app()
            .deployments
            .create(&admin(), &request, None)
            .await
            .unwrap()
    }

    fn begun(&self, deployment: &Deployment) -> String {
        match self.machine.begun.get(&deployment.id).copied().unwrap_or(0) {
            0 | 1 => String::new(),
            times => format!(", begun {times} times"),
        }
    }

    /// The whole story, as the table has it.
    async fn told(mut self) -> String {
        let first = self.orders().await;
        let state = self.ends().await;
        assert!(self.injected, "{:?} never struck at {}", self.fault, self.step);
        let bmc = matches!(self.fault, Fault::BmcAway(_));
        assert_eq!(
            bmc,
            self.asked > 0,
            "{:?} at {}: the BMC was asked {} times",
            self.fault,
            self.step,
            self.asked
        );
        // Later steps need nothing of the store.
        let reads = matches!(self.fault, Fault::StoreAway(_)) && self.step <= Step::Write;
        assert_eq!(
            reads,
            self.machine.unanswered > 0,
            "{:?} at {}: the store was asked {} times",
            self.fault,
            self.step,
            self.machine.unanswered
        );
        let mut story = match state {
            NodeState::Active => "active".to_owned(),
            NodeState::Failed => {
                let problem = self.machine.node(self.rig()).await.problem.unwrap();
                assert!(!problem.cause.is_empty() && !problem.remedy.is_empty());
                format!("failed in `{}`", problem.step)
            }
            other => panic!("{:?} at {} ends as {other}", self.fault, self.step),
        };
        story.push_str(&self.begun(&first));
        if state == NodeState::Failed {
            // What was given up may still come back before the next order: late, or told to stop.
            for _ in 0..12 {
                self.tick().await;
            }
            // Nobody deploys again from a store that is away.
            while self.rig().clock.now() < self.store_away_until {
                self.tick().await;
            }
            if self.machine.node(self.rig()).await.state == NodeState::Active {
                return format!("{story}; its late report made it active");
            }
            if matches!(self.machine.power, Power::System) {
                self.machine.loses_power(self.rig.as_ref().unwrap()).await;
            }
            let again = self.orders().await;
            if matches!(self.machine.power, Power::System) {
                self.machine.loses_power(self.rig.as_ref().unwrap()).await;
            }
            assert_eq!(
                self.ends().await,
                NodeState::Active,
                "{:?} at {}",
                self.fault,
                self.step
            );
            write!(story, "; deployed again: active{}", self.begun(&again)).unwrap();
        }
        story
    }
}

/// A volume that a server has as one of its disks. What cards do wrong is in `volumes.rs`.
async fn presented(rig: &Rig, index: u64) -> String {
    let new = NewVolume {
        name: format!("lun-{index}"),
        project_id: None,
        size_bytes: GIB,
        backing: Backing::Static {
            serial: Some(format!("LUN-{index}")),
            wwn: None,
        },
        limits: Limits::default(),
    };
    rig.app().volumes.create(&admin(), &new).await.unwrap().id
}

#[tokio::test(flavor = "current_thread")]
async fn every_step_outlives_every_fault() {
    let mut rig = Some(Rig::start().await);
    let mut table = String::from("| step |");
    for (_, name) in FAULTS {
        write!(table, " {name} |").unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(FAULTS.len()));
    table.push('\n');
    let mut index = 0;
    for step in steps() {
        write!(table, "| `{step}` |").unwrap();
        for (fault, _) in FAULTS {
            let machine = Machine::in_service(rig.as_ref().unwrap(), index).await;
            let volume = match step {
                Step::AttachVolume => Some(presented(rig.as_ref().unwrap(), index).await),
                _ => None,
            };
            index += 1;
            let cell = Cell {
                rig: &mut rig,
                machine,
                volume,
                step,
                fault,
                injected: false,
                called: false,
                off_until: Timestamp::MIN,
                cut_until: Timestamp::MIN,
                dead_until: Timestamp::MIN,
                store_away_until: Timestamp::MIN,
                asked: 0,
            };
            write!(table, " {} |", cell.told().await).unwrap();
        }
        table.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let page = fs::read_to_string(&path).unwrap();
    let new = crate::testing::generated(&page, "matrix", &table);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, new).unwrap();
    } else {
        assert!(
            page == new,
            "docs/reliability.md is not what the code does: run this test with UPDATE_DOCS=1\n{table}"
        );
    }
}
