//! What the nodes have said and seen, counted on their side: the other half of the comparison with the controller's log.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::watch;

/// The numbers of one task, as its node's outbox had them when the node was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The task.
    pub task_id: String,
    /// The last number given: all steps, and the outcome.
    pub last: u64,
    /// Up to where the controller had said that it keeps all.
    pub acknowledged: u64,
    /// The outcome has its number; without it the node lost its memory before.
    pub ended: bool,
}

/// Counters of the whole fleet.
#[derive(Debug, Default)]
pub struct Lines {
    /// Attempts to open a session.
    pub dialled: AtomicU64,
    /// Sessions that the controller has greeted.
    pub opened: AtomicU64,
    /// Sessions that are open.
    pub open: AtomicI64,
    /// Images that the agent's engine has written and whose bytes were compared.
    pub proved: AtomicU64,
    /// Certificates that boot tokens were exchanged for.
    pub booted: AtomicU64,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has no power.
    Off,
    /// It asks what to boot.
    Firmware,
    /// Its agent has its identity and enrols, or calls.
    Calls,
    /// Its agent has a session.
    Connected,
    /// The installed system comes up.
    FirstBoot,
    /// The installed system has reported, and its guest plugin has sessions.
    InService,
    /// It was told to boot a disk on which nothing is.
    LeftAlone(String),
    /// What must not be.
    Broken(String),
}

/// What one node has said and seen.
#[derive(Debug)]
pub struct NodeTally {
    standing: watch::Sender<Standing>,
    told: Mutex<Vec<Told>>,
    /// Sessions that the controller has greeted.
    pub opened: AtomicU64,
}

impl Default for NodeTally {
    fn default() -> Self {
        Self {
            standing: watch::Sender::new(Standing::Off),
            told: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }
}

impl NodeTally {
    /// How the node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// It stands otherwise.
    pub fn stands(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// A task is over for the node. The same task again, of an agent that was started again, takes the place of what it
    /// had told before.
    pub fn tell(&self, told: Told) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.task_id != told.task_id);
        all.push(told);
    }

    /// All tasks, in their order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A line that opens and closes, counted once each.
#[derive(Debug, Default)]
pub struct Gauge(std::sync::atomic::AtomicBool);

impl Gauge {
    /// It is open now.
    pub fn opens(&self, lines: &Lines) {
        lines.opened.fetch_add(1, Relaxed);
        if !self.0.swap(true, Relaxed) {
            lines.open.fetch_add(1, Relaxed);
        }
    }

    /// It is closed now.
    pub fn closes(&self, lines: &Lines) {
        if self.0.swap(false, Relaxed) {
            lines.open.fetch_sub(1, Relaxed);
        }
    }
}
