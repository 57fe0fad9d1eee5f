//! Every step of a deployment against every fault: it ends with an active node, or it fails with cause and remedy and the next
//! deployment does. The table in `docs/reliability.md` is written by this test: `UPDATE_DOCS=1` writes it anew.

use std::{fmt::Write as _, fs, path::Path};

use imprint_proto::agent::v1::Step as S;
use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Machine, Power},
    rig::*,
};
use crate::{deploy::*, inventory::NodeState};

const TICK: SignedDuration = SignedDuration::from_secs(10);
/// No deployment takes longer, whatever happens to it.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AgentKilled,
    /// For so many seconds.
    PowerCut(i64),
    NetworkCut(i64),
    ControllerKilled,
    StoreAway(i64),
    /// It answers nobody, and the power of its server fails; people bring it back.
    BmcAway(i64),
}

const FAULTS: [(Fault, &str); 8] = [
    (Fault::AgentKilled, "agent killed"),
    (Fault::PowerCut(120), "power cut, 2 minutes"),
    (Fault::PowerCut(3600), "power cut, an hour"),
    (Fault::NetworkCut(60), "network cut, 60 s"),
    (Fault::NetworkCut(3600), "network cut, an hour"),
    (Fault::ControllerKilled, "controller killed"),
    (Fault::StoreAway(60), "store away, 60 s"),
    (Fault::BmcAway(600), "BMC unreachable, power cut, 10 minutes"),
];

const STEPS: [Step; 10] = [
    Step::Power,
    Step::Boot,
    Step::ClaimDisk,
    Step::Write,
    Step::Partitions,
    Step::Seed,
    Step::Guest,
    Step::BootEntry,
    Step::Reboot,
    Step::FirstBootReport,
];

struct Cell<'a> {
    rig: &'a mut Option<Rig>,
    machine: Machine,
    step: Step,
    fault: Fault,
    injected: bool,
    called: bool,
    off_until: Timestamp,
    cut_until: Timestamp,
    idle_until: Timestamp,
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
            Fault::ControllerKilled => {
                if let Some(ramdisk) = self.machine.ramdisk() {
                    ramdisk.session = None;
                }
                let rig = self.rig.take().unwrap().restart().await;
                *self.rig = Some(rig);
            }
            Fault::StoreAway(seconds) => self.idle_until = until(seconds),
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
        let (off, cut, idle) = (now < self.off_until, now < self.cut_until, now < self.idle_until);
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
            Power::Ramdisk(_) => self.in_the_ramdisk(cut, idle).await,
        }
        self.rig().app().deployments.reconcile().await.unwrap();
        self.asked += power_ends(self.rig(), "failed", "nobody answers").await;
        self.machine.check(self.rig()).await;
    }

    async fn in_the_ramdisk(&mut self, cut: bool, idle: bool) {
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
        if !idle {
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
            if !node.state.is_taken() {
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
    for step in STEPS {
        write!(table, "| `{step}` |").unwrap();
        for (fault, _) in FAULTS {
            let machine = Machine::in_service(rig.as_ref().unwrap(), index).await;
            index += 1;
            let cell = Cell {
                rig: &mut rig,
                machine,
                step,
                fault,
                injected: false,
                called: false,
                off_until: Timestamp::MIN,
                cut_until: Timestamp::MIN,
                idle_until: Timestamp::MIN,
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

/// The steps of the wire that an agent works on are those of the table.
#[test]
fn no_step_is_left_out() {
    for step in [
        S::ClaimDisk,
        S::Write,
        S::Partitions,
        S::Seed,
        S::Guest,
        S::BootEntry,
        S::Reboot,
    ] {
        assert!(STEPS.contains(&Step::of_wire(step).unwrap()));
    }
}
