//! Progress of running deployments: kept in memory, newest per node only.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EventLog;

/// How much one part of the agent's data path has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Load {
    /// Share of the time in which it works, or can't because of itself: 0 to 100.
    pub busy_percent: u32,
    /// What it moves.
    pub bytes_per_second: u64,
}

/// How much each part of the agent's data path has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loads {
    /// Bytes as they come from the store.
    pub network: Load,
    /// Bytes after decoding.
    pub cpu: Load,
    /// Bytes of data.
    pub disk: Load,
    /// Bytes made zero.
    pub zeroes: Load,
}

/// How far a running deployment is, as the agent last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// The step that the figures are about.
    pub step: String,
    /// Bytes of the disk that are proven right: written or zeroed.
    pub bytes_done: u64,
    /// Bytes of the disk that the image covers.
    pub bytes_total: u64,
    /// Bytes received over the network.
    pub bytes_fetched: u64,
    /// Bytes that will have to be received in all.
    pub bytes_to_fetch: u64,
    /// Data bytes (not holes) written to the disk.
    pub bytes_written: u64,
    /// Data bytes written each second.
    pub data_bytes_per_second: u64,
    /// Unset until a rate is known.
    pub eta_seconds: Option<u32>,
    /// Fetches that had to be repeated.
    pub retries: u32,
    /// `network`, `cpu` or `disk`; empty when it is not known.
    pub limited_by: String,
    /// The same with its rate: `network 940 Mbit/s`, `disk 410 MB/s`, `CPU`.
    pub limiting: String,
    /// What does not move at all, and for how long; else empty.
    pub stalled: String,
    /// Each part of the path.
    pub loads: Loads,
    /// Chunks that the disk held already: proven, neither fetched nor written.
    pub chunks_kept: u64,
}

/// The progress of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeProgress {
    /// The node.
    pub node_id: String,
    /// The deployment.
    pub deployment_id: String,
    /// Whose the deployment is.
    #[serde(skip)]
    pub project_id: String,
    /// The figures.
    #[serde(flatten)]
    pub progress: Progress,
}

/// The newest figures of every node, numbered by arrival.
#[derive(Debug, Default)]
pub(super) struct ProgressBoard {
    arrivals: u64,
    newest: HashMap<String, (u64, NodeProgress)>,
}

impl ProgressBoard {
    /// What came in after the given arrival, oldest first, and the arrival to ask from next time.
    pub(super) fn since(&self, arrival: u64) -> (u64, Vec<NodeProgress>) {
        let mut fresh: Vec<_> = self
            .newest
            .values()
            .filter(|(number, _)| *number > arrival)
            .collect();
        fresh.sort_by_key(|(number, _)| *number);
        (
            self.arrivals,
            fresh.into_iter().map(|(_, progress)| progress.clone()).collect(),
        )
    }
}

impl EventLog {
    /// Takes the newest figures of a node and wakes the followers, who then look for figures only.
    pub fn progress(&self, progress: NodeProgress) {
        {
            let mut board = self
                .board
                .lock()
                .expect("no code panics while it holds the progress board");
            board.arrivals += 1;
            let arrival = board.arrivals;
            board.newest.insert(progress.node_id.clone(), (arrival, progress));
        }
        self.figures.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Forgets the figures of a node, at the end of its deployment.
    pub fn forget_progress(&self, node_id: &str) {
        self.board
            .lock()
            .expect("no code panics while it holds the progress board")
            .newest
            .remove(node_id);
    }

    /// The newest figures of a deployment.
    #[must_use]
    pub fn progress_of(&self, node_id: &str, deployment_id: &str) -> Option<Progress> {
        let board = self
            .board
            .lock()
            .expect("no code panics while it holds the progress board");
        let (_, newest) = board.newest.get(node_id)?;
        (newest.deployment_id == deployment_id).then(|| newest.progress.clone())
    }
}
