//! What tables need of the controller's answers. Everything may be missing: a newer or older controller is still shown.

mod job;
mod sharing;
mod store;
mod webhook;

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub use job::{Job, JobProgress};
pub use sharing::{
    Condition, Entitlement, Invitation, Member, Preflight, Price, Quota, QuotaUse, Usage, UsageRecord,
};
pub use store::{DamagedImage, DamagedObject, GcReport, StoreFigures, VerifyReport};
pub use webhook::Webhook;

/// Reads an answer; what does not fit is left at its default.
pub fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// An image of the catalogue.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Image {
    pub id: String,
    pub name: String,
    pub project_id: String,
    pub family: Option<String>,
    pub version: Option<String>,
    pub description: String,
    pub kind: String,
    pub visibility: String,
    pub state: String,
    pub state_reason: String,
    pub replacement: Option<String>,
    pub protected: bool,
    pub exclude_from_latest: bool,
    pub region: String,
    pub source: String,
    pub source_reference: String,
    pub source_model: String,
    pub parent_id: Option<String>,
    pub target: String,
    pub os_distribution: String,
    pub os_version: String,
    pub architecture: String,
    pub boot_modes: Vec<String>,
    pub min_disk_bytes: u64,
    pub min_memory_bytes: u64,
    pub image_digest: String,
    pub disk_size_bytes: u64,
    pub data_bytes: u64,
    pub stored_bytes: u64,
    pub logical_sector_bytes: u32,
    pub encrypted: bool,
    pub damaged: bool,
    pub source_format: String,
    pub license: Value,
    pub price: Value,
    pub publisher: String,
    pub certified_for: Vec<String>,
    pub tags: Vec<String>,
    pub properties: serde_json::Map<String, Value>,
    pub disks: Vec<ImageDisk>,
    pub transitions: Vec<Transition>,
    pub created_by: String,
    pub created_at: Option<Timestamp>,
}

/// A disk of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageDisk {
    pub role: String,
    pub manifest: String,
    pub disk_size_bytes: u64,
}

/// A planned change of an image's state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Transition {
    pub to_state: String,
    pub at: Option<Timestamp>,
}

/// A family of images.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Family {
    pub family: String,
    pub project_id: String,
    pub images: u64,
    pub newest_name: Option<String>,
    pub newest_version: Option<String>,
    pub newest_created_at: Option<Timestamp>,
    pub newest_build_date: Option<String>,
    pub update_policy: Option<String>,
}

/// A server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub id: String,
    pub name: Option<String>,
    pub state: String,
    pub agent_connected: bool,
    pub smbios_uuid: Option<String>,
    pub serial: Option<String>,
    pub macs: Vec<String>,
    pub hardware: Option<String>,
    pub model: Option<String>,
    pub deployment_id: Option<String>,
    pub problem: Option<Problem>,
    pub maintenance: Option<Maintenance>,
    pub last_seen_at: Option<Timestamp>,
    pub inventory: Value,
}

/// Why nothing is begun on a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Maintenance {
    pub reason: String,
    pub by: String,
    pub since: Option<Timestamp>,
}

/// What was done to a disk to wipe it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WipeCertificate {
    pub node_name: String,
    pub received_at: Option<Timestamp>,
    pub disk: Value,
    pub method: String,
    pub wiped: bool,
    pub statement: String,
    pub cause: String,
}

/// Deployments of many servers by one request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Batch {
    pub id: String,
    pub image_name: String,
    pub requested_by: String,
    pub at_once: u32,
    pub stop_after: Option<u32>,
    pub stop_reason: String,
    pub created_at: Option<Timestamp>,
    pub counts: BatchCounts,
    pub nodes: Vec<BatchNode>,
    pub refused: Vec<RefusedNode>,
}

/// How many of a batch stand how.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BatchCounts {
    pub queued: u32,
    pub running: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub cancelled: u32,
    pub refused: u32,
}

/// A server of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BatchNode {
    pub node_id: String,
    pub node: String,
    pub deployment_id: String,
    pub state: String,
    pub queued: bool,
    pub step: String,
    pub problem: Option<Problem>,
}

/// A server that did not come into a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RefusedNode {
    pub node: String,
    pub detail: String,
    pub remedy: String,
}

/// The guest plugin of a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Guest {
    pub deployment_id: String,
    pub connected: bool,
    pub version: String,
    pub boot_id: String,
    pub drift: Vec<String>,
    pub created_at: Option<Timestamp>,
    pub last_seen_at: Option<Timestamp>,
}

/// An order to set a password; the password only in the answer to whoever asked.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PasswordReset {
    pub id: String,
    pub user: String,
    pub state: String,
    pub reason: String,
    pub requested_by: String,
    pub password: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// What went wrong, where, and what to do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub step: String,
    pub cause: String,
    pub remedy: String,
}

/// What a server does or waits for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Why {
    pub state: String,
    pub summary: String,
    pub deadline: Option<Timestamp>,
    pub problem: Option<Problem>,
    pub waiting_for: Option<String>,
    pub fit: Option<Value>,
}

/// One deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub id: String,
    pub node_id: String,
    pub image_id: String,
    pub image_name: String,
    /// Empty from a controller that knows installations only.
    pub purpose: String,
    pub state: String,
    pub step: Option<String>,
    pub problem: Option<Problem>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub steps: Vec<Step>,
    pub progress: Option<Progress>,
    pub write: Option<WriteFigures>,
    pub disk: Value,
    pub boot_entry: Option<String>,
    pub first_boot: Option<FirstBoot>,
    pub explanation: Option<String>,
}

/// One step of a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    pub step: String,
    pub state: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub detail: Option<String>,
    pub cause: Option<String>,
    pub remedy: Option<String>,
}

/// How far a running step is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub node_id: String,
    pub deployment_id: String,
    pub step: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub bytes_fetched: u64,
    pub data_bytes_per_second: u64,
    pub eta_seconds: Option<u64>,
    pub retries: u64,
    pub limiting: String,
    pub stalled: String,
}

/// What the write came to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WriteFigures {
    pub bytes_fetched: u64,
    pub bytes_written: u64,
    pub bytes_zeroed: u64,
    pub duration_ms: u64,
    pub retries: u64,
    pub chunks_kept: u64,
    pub bytes_saved: u64,
    pub limiting: String,
}

/// What the installed system said of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FirstBoot {
    pub hostname: String,
    pub os_name: String,
    pub kernel_release: String,
    pub boot_mode: String,
    pub addresses: Vec<String>,
    pub root_device: String,
    pub cloud_init_status: String,
    pub boot_entry: String,
    pub cloud_init_errors: Vec<String>,
    pub warnings: Vec<String>,
    pub boot_phases: Vec<BootPhase>,
    pub waiting_for: String,
}

/// A part of the first boot.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BootPhase {
    pub name: String,
    pub start_ms: i64,
    pub duration_ms: u64,
}

/// Something that happened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    pub id: i64,
    pub at: Option<Timestamp>,
    pub kind: String,
    pub node_id: Option<String>,
    pub deployment_id: Option<String>,
    pub actor: Option<String>,
    pub message: String,
}

/// A tenant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    pub id: String,
    pub name: String,
    pub description: String,
    pub max_images_per_user: Option<u64>,
    pub max_stored_bytes: Option<u64>,
    pub created_at: Option<Timestamp>,
}

/// A user of a project.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProjectUser {
    pub user_id: String,
    pub name: String,
    pub role: String,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
}

/// Somebody who can have tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub id: String,
    pub name: String,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub user: Option<String>,
    pub project: String,
    pub role: String,
    pub scopes: Option<Vec<String>>,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// What the own token is good for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WhoAmI {
    pub name: String,
    pub token_id: String,
    pub project: String,
    pub role: String,
    pub may: Vec<String>,
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_gaps_and_additions_are_taken() {
        let node: Node =
            read(&json!({"id": "n", "state": "active", "name": null, "problem": null, "new": 1}));
        assert_eq!(
            (node.id.as_str(), node.state.as_str(), node.name),
            ("n", "active", None)
        );
        let deployment: Deployment = read(
            &json!({"id": "d", "state": "running", "progress": {"bytes_done": 5},
            "steps": [{"step": "write", "state": "running"}]}),
        );
        assert_eq!(deployment.progress.unwrap().bytes_done, 5);
        assert_eq!(deployment.steps.len(), 1);
        assert_eq!(read::<Node>(&json!("no node")).id, "");
    }
}
