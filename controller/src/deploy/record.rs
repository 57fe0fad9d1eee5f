//! A deployment as it is kept.

use std::str::FromStr;

use imprint_hardware::matching::Answer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::finish_options::FinishOptions;
use super::first_boot::FirstBoot;
use super::image_users::ImageUsers;
use super::state::{DeploymentState, DiskState, Phase, Purpose, Step};
use super::taken::Terms;
use super::volume::DiskContent;
use super::{Deployments, disk_policy::DiskPolicy};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, Loads, doing},
    inventory::{Disk, NodeProblem},
};

/// What the agent counted while it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WriteFigures {
    /// Bytes received over the network.
    pub bytes_fetched: u64,
    /// Data bytes written.
    pub bytes_written: u64,
    /// Bytes zeroed.
    pub bytes_zeroed: u64,
    /// Time it took.
    pub duration_ms: u64,
    /// Fetches that had to be repeated.
    pub retries: u32,
    /// Chunks that an earlier run of the agent had written.
    pub chunks_resumed: u64,
    /// Chunks fetched.
    pub chunks_fetched: u64,
    /// Chunks that the disk held already: proven, neither fetched nor written.
    #[serde(default)]
    pub chunks_kept: u64,
    /// Bytes that would have been received for them.
    #[serde(default)]
    pub bytes_saved: u64,
    /// Time of all cores that the agent spent.
    #[serde(default)]
    pub cpu_ms: u64,
    /// The most memory that the agent held.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// What wrote to the disk: `io_uring` or `threads`.
    #[serde(default)]
    pub writer: String,
    /// Requests in flight, at most.
    #[serde(default)]
    pub connections: u32,
    /// What limited the write as a whole, with its rate.
    #[serde(default)]
    pub limiting: String,
    /// Each part of the path.
    #[serde(default)]
    pub loads: Loads,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// ULID; also cloud-init's instance id.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// Whose it is: the project of the node when it was asked for.
    pub project_id: String,
    /// What has taken the node.
    pub purpose: Purpose,
    /// What a release or a rescue was asked for; unset: an installation.
    pub terms: Option<Terms>,
    /// The batch that made it; unset: a request of its own.
    pub batch_id: Option<String>,
    /// Who asked for it: a user, or a token of no user; empty: nobody knows any more.
    pub requested_by: String,
    /// Rises with each change.
    pub version: i64,
    /// How it stands.
    pub state: DeploymentState,
    /// Where it is.
    pub phase: Phase,
    /// The step that was reached.
    pub step: Step,
    /// The image.
    pub image_id: String,
    /// Its name at that time.
    pub image_name: String,
    /// Its identity, hex.
    pub image_digest: String,
    /// Key of its manifest in the store.
    pub manifest: String,
    /// What the caller was warned of.
    pub warnings: Vec<String>,
    /// Size of the image's disk.
    pub disk_size_bytes: u64,
    /// Logical sector size the image was made for.
    pub logical_sector_bytes: u32,
    /// The rule as it was written.
    pub disk_rule: String,
    /// Name of the hardware model whose rule it is; unset: the request's, or none.
    pub disk_rule_model: Option<String>,
    /// Seconds that this kind of server takes longer than others from power to its first request.
    pub boot_seconds: u32,
    /// The volume that it goes onto; unset: a disk of the server.
    pub volume_id: Option<String>,
    /// What that was called then.
    pub volume_name: String,
    /// Where its content comes from.
    pub content: DiskContent,
    /// What it may do to disks that are not blank.
    pub disk_policy: DiskPolicy,
    /// Host name of the installed system.
    pub hostname: String,
    /// `network-first`, `disk-first` or `next-boot-only`.
    pub boot_order: String,
    /// What becomes of users that the image brings.
    pub image_users: ImageUsers,
    /// Grow the last partition.
    pub grow_root: bool,
    /// Make a system of it; otherwise a data disk.
    pub finish: bool,
    /// What else was said of the system.
    pub finish_options: FinishOptions,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The task of this attempt.
    pub task_id: String,
    /// When the phase began.
    pub phase_since: Timestamp,
    /// When something moved last.
    pub moved_at: Timestamp,
    /// When somebody asked to stop.
    pub cancel_requested_at: Option<Timestamp>,
    /// What is known of the disk.
    pub disk_state: DiskState,
    /// Why it failed.
    pub problem: Option<NodeProblem>,
    /// What the agent counted.
    pub write: Option<WriteFigures>,
    /// The disk that was written.
    pub disk: Option<Disk>,
    /// The boot entry as read back.
    pub boot_entry: Option<String>,
    /// What the installed system said.
    pub first_boot: Option<FirstBoot>,
    /// Why its image was thought to fit; unset: nobody knows any more.
    pub fit: Option<Answer>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn word<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    row.try_get::<String, _>(column)?.parse().map_err(decode)
}

fn document<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(decode)
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(timestamp_from_ms)
}

impl sqlx::FromRow<'_, SqliteRow> for Deployment {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let size: i64 = row.try_get("disk_size_bytes")?;
        Ok(Self {
            id: row.try_get("id")?,
            node_id: row.try_get("node_id")?,
            project_id: row.try_get("project_id")?,
            requested_by: row.try_get("requested_by")?,
            batch_id: row.try_get("batch_id")?,
            purpose: word(row, "purpose")?,
            terms: document(row, "terms")?,
            version: row.try_get("version")?,
            state: word(row, "state")?,
            phase: word(row, "phase")?,
            step: word(row, "step")?,
            image_id: row.try_get("image_id")?,
            image_name: row.try_get("image_name")?,
            image_digest: row.try_get("image_digest")?,
            manifest: row.try_get("manifest")?,
            warnings: document(row, "warnings")?.unwrap_or_default(),
            fit: document(row, "fit")?,
            disk_size_bytes: u64::try_from(size).unwrap_or(0),
            logical_sector_bytes: row.try_get("logical_sector_bytes")?,
            disk_rule: row.try_get("disk_rule")?,
            disk_rule_model: row.try_get("disk_rule_model")?,
            boot_seconds: row.try_get("boot_seconds")?,
            volume_id: row.try_get("volume_id")?,
            volume_name: row.try_get("volume_name")?,
            content: word(row, "content")?,
            disk_policy: document(row, "disk_policy")?.unwrap_or_default(),
            hostname: row.try_get("hostname")?,
            boot_order: row.try_get("boot_order")?,
            image_users: word(row, "image_users")?,
            grow_root: row.try_get("grow_root")?,
            finish: row.try_get("finish")?,
            finish_options: document(row, "finish_options")?.unwrap_or_default(),
            attempt: row.try_get("attempt")?,
            task_id: row.try_get("task_id")?,
            phase_since: time(row, "phase_since")?,
            moved_at: time(row, "moved_at")?,
            cancel_requested_at: row
                .try_get::<Option<i64>, _>("cancel_requested_at")?
                .map(timestamp_from_ms),
            disk_state: word(row, "disk_state")?,
            problem: document(row, "problem")?,
            write: document(row, "write_figures")?,
            disk: document(row, "disk")?,
            boot_entry: row.try_get("boot_entry")?,
            first_boot: document(row, "first_boot")?,
            created_at: time(row, "created_at")?,
            finished_at: row
                .try_get::<Option<i64>, _>("finished_at")?
                .map(timestamp_from_ms),
        })
    }
}

/// The deployment with this id.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Deployment>, DatabaseError> {
    sqlx::query_as("SELECT * FROM deployments WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the deployment"))
}

/// The running deployment of a node.
pub(super) async fn running_of(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<Deployment>, DatabaseError> {
    sqlx::query_as("SELECT * FROM deployments WHERE node_id = ? AND state = 'running'")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the node's deployment"))
}

impl Deployments {
    /// The running deployment of a node, outside of any change.
    pub(super) async fn running_on(&self, node_id: &str) -> Result<Option<Deployment>, DatabaseError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the node's deployment"))?;
        running_of(&mut connection, node_id).await
    }
}

/// Writes what may change, if nobody else has changed it since it was read.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    deployment: &mut Deployment,
) -> Result<(), DatabaseError> {
    let text = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
    let result = sqlx::query(
        "UPDATE deployments SET version = version + 1, state = ?, phase = ?, step = ?, attempt = ?, task_id = ?, \
         phase_since = ?, moved_at = ?, cancel_requested_at = ?, disk_state = ?, problem = ?, write_figures = ?, \
         disk = ?, boot_entry = ?, first_boot = ?, finished_at = ? WHERE id = ? AND version = ?",
    )
    .bind(deployment.state.as_str())
    .bind(deployment.phase.as_str())
    .bind(deployment.step.as_str())
    .bind(deployment.attempt)
    .bind(&deployment.task_id)
    .bind(deployment.phase_since.as_millisecond())
    .bind(deployment.moved_at.as_millisecond())
    .bind(deployment.cancel_requested_at.map(Timestamp::as_millisecond))
    .bind(deployment.disk_state.as_str())
    .bind(text(deployment.problem.as_ref().map(|problem| json!(problem))))
    .bind(text(deployment.write.as_ref().map(|write| json!(write))))
    .bind(text(deployment.disk.as_ref().map(|disk| json!(disk))))
    .bind(&deployment.boot_entry)
    .bind(text(deployment.first_boot.as_ref().map(|report| json!(report))))
    .bind(deployment.finished_at.map(Timestamp::as_millisecond))
    .bind(&deployment.id)
    .bind(deployment.version)
    .execute(connection)
    .await
    .map_err(doing("change the deployment"))?;
    if result.rows_affected() != 1 {
        return Err(doing(
            "change the deployment, which another change has just moved",
        )(sqlx::Error::RowNotFound));
    }
    deployment.version += 1;
    Ok(())
}
