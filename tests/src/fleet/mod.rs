//! The fleet: thousands of servers in one process, for one real controller.
//!
//! Each has the agent's own code from the boot identity on: enrolment, TLS, session, outbox, backoff, the deployment's
//! steps; and the guest plugin's own report and sessions from its first boot on. Made up are what [`hardware`] it has, its
//! [`disk`], the files of the system that is written, and its restarts ([`machine`], [`node`]). What goes wrong is decided
//! by a seed ([`faults`]) and happens to the line ([`line`]), the power or the process.
//!
//! [`run`] is the story of one measurement; [`compare`] holds the controller's log against what the nodes know to have
//! said ([`tally`]); [`figures`] has what it cost. docs/reliability.md tells what this shows and what it does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod api;
pub mod compare;
pub mod controller;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod figures;
pub mod firmware;
pub mod hardware;
pub mod line;
pub mod machine;
pub mod node;
pub mod outcome;
pub mod run;
pub mod tally;

use dice::Dice;
use faults::{Fault, Misfortune};
use firmware::Firmware;
use hardware::Hardware;
use machine::Shared;
use node::Node;
use tally::{Lines, NodeTally, Standing};

/// What fleet.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Servers.
    pub nodes: u32,
    /// What decides everything that is left to chance.
    pub seed: u64,
    /// How much goes wrong.
    pub misfortune: Misfortune,
    /// How long a healthy disk takes for the image, at least and at most.
    pub takes: (Duration, Duration),
    /// One of so many nodes writes with the agent's engine; 0: none.
    pub engine_of: u32,
    /// How many are switched on in a second.
    pub power_on_per_second: u32,
    /// A folder in RAM for the memory of the nodes.
    pub folder: PathBuf,
}

/// A fleet that is built and not switched on.
#[derive(Debug)]
pub struct Fleet {
    /// All nodes, by number.
    pub nodes: Vec<Arc<Node>>,
    /// What they share.
    pub shared: Arc<Shared>,
    firmware: Firmware,
    per_second: u32,
    stop: CancellationToken,
    lives: TaskTracker,
}

impl Fleet {
    /// Builds it.
    ///
    /// # Errors
    /// When its folder can't be used.
    pub fn build(options: &FleetOptions, boot_url: &reqwest::Url) -> Result<Self> {
        imprint_agent::identity::tls::install_provider();
        let plugin = options.folder.join("plugin");
        make_plugin(&plugin).with_context(|| format!("cannot use {}", options.folder.display()))?;
        let shared = Arc::new(Shared {
            lines: Lines::default(),
            engines: Arc::new(Semaphore::new(2)),
            image: OnceLock::new(),
            plugin,
        });
        let plans = faults::plans(options.seed, options.nodes, &options.misfortune);
        let honest: Vec<u32> = (0..)
            .zip(&plans)
            .filter(|(_, plan)| plan.fault == Fault::None)
            .map(|(number, _)| number)
            .collect();
        let mut nodes = Vec::with_capacity(plans.len());
        for (number, plan) in (0..).zip(plans) {
            let mut dice = Dice::of(options.seed, number, 3);
            let mut hardware = Hardware::made(options.seed, number);
            if plan.fault == Fault::Twin {
                hardware = hardware.mistaken_for(&Hardware::made(options.seed, *dice.pick(&honest)));
            }
            let folder = options.folder.join(format!("{number:05}"));
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            nodes.push(Arc::new(Node {
                number,
                hardware: Arc::new(hardware),
                plan,
                tally: Arc::new(NodeTally::default()),
                takes: dice.between(options.takes.0, options.takes.1),
                engine: plan.fault == Fault::None
                    && options.engine_of > 0
                    && dice.below(u64::from(options.engine_of)) == 0,
                folder,
                shared: Arc::clone(&shared),
                happened: AtomicBool::new(false),
                dead: std::sync::Mutex::default(),
            }));
        }
        Ok(Self {
            nodes,
            shared,
            firmware: Firmware::of(boot_url)?,
            per_second: options.power_on_per_second.max(1),
            stop: CancellationToken::new(),
            lives: TaskTracker::new(),
        })
    }

    /// Switches nodes on, one after the other.
    pub async fn switch_on(&self, wanted: impl Fn(&Node) -> bool) {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.per_second);
        for node in self.nodes.iter().filter(|node| wanted(node)) {
            tick.tick().await;
            let life = Arc::clone(node).live(self.firmware.clone(), self.stop.clone());
            self.lives.spawn(life);
        }
    }

    /// Switches all off.
    pub async fn switch_off(&self) {
        self.stop.cancel();
        self.lives.close();
        self.lives.wait().await;
    }

    /// How many nodes stand as is asked for.
    pub fn count(&self, stands: impl Fn(&Standing) -> bool) -> usize {
        self.nodes
            .iter()
            .filter(|node| stands(&node.tally.standing()))
            .count()
    }

    /// Nodes that are not as they must never be, with why.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let why = |node: &Arc<Node>| match node.tally.standing() {
            Standing::Broken(why) => Some(format!("node {} ({}): {why}", node.number, node.plan.fault)),
            _ => None,
        };
        self.nodes.iter().filter_map(why).collect()
    }
}

/// What the ramdisk would bring: a plugin that is never started, and a unit for it.
fn make_plugin(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("imprint-guest"), "not a program\n")?;
    let unit =
        "[Service]\nExecStart=/opt/imprint/imprint-guest report\n[Install]\nWantedBy=multi-user.target\n";
    fs::write(folder.join("imprint-report.service"), unit)
}
