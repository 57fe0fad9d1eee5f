//! Jobs.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Long work of the controller.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub image_id: Option<String>,
    pub state: String,
    pub progress: JobProgress,
    pub request: Value,
    pub result: Value,
    pub problem: Value,
    pub requested_by: String,
    pub cancel_requested_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

impl Job {
    /// Whether nothing more will happen to it.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JobProgress {
    pub step: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
}
