//! Changes of power as they are kept.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{BootTarget, PowerError, decide::Reason};
use crate::{
    clock::timestamp_from_ms,
    events::{Change, DatabaseError, NewEvent, doing},
    words::words,
};

words! {
    /// What is asked for.
    PowerWish, "change of power", {
        /// The server is to be on.
        On => "on",
        /// The server is to be off.
        Off => "off",
        /// The server is to be switched off, if it is on, and then on.
        Cycle => "cycle",
    }
}

words! {
    /// How it stands.
    ActionState, "state of a change of power", {
        /// It goes on.
        Running => "running",
        /// It was reached.
        Done => "done",
        /// It was given up.
        Failed => "failed",
    }
}

words! {
    /// What is to be reached now.
    Stage, "stage of a change of power", {
        /// To know whether it is on.
        Look => "look",
        /// The override of the boot order is taken, before anything is switched off for it.
        Try => "try",
        /// It is off.
        Off => "off",
        /// The override of the boot order is taken.
        Boot => "boot",
        /// It is on.
        On => "on",
    }
}

/// A change of power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PowerAction {
    /// ULID.
    pub id: String,
    /// The server.
    pub node_id: String,
    /// What was asked for.
    pub action: PowerWish,
    /// With `off`: without asking the system to shut down.
    pub force: bool,
    /// What it boots this once; null: what its boot order says.
    pub boot: Option<BootTarget>,
    /// How it stands.
    pub state: ActionState,
    /// What is waited for, or what went wrong or is worth knowing; else empty.
    pub why: String,
    /// What can be done about it; else empty.
    pub remedy: String,
    /// The deployment that it is for; null: somebody asked for it.
    pub deployment_id: Option<String>,
    /// Who asked for it; null: the controller.
    pub requested_by: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is given up.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// When it ended; null: it goes on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What is to be reached now.
    #[serde(skip)]
    pub(super) stage: Stage,
    /// When it was asked for last in this stage.
    #[serde(skip)]
    pub(super) asked_at: Option<Timestamp>,
    /// What is to be told in the end.
    #[serde(skip)]
    pub(super) note: Reason,
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl sqlx::FromRow<'_, SqliteRow> for PowerAction {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let word = |column: &str| row.try_get::<String, _>(column);
        let time = |column: &str| {
            row.try_get::<Option<i64>, _>(column)
                .map(|ms| ms.map(timestamp_from_ms))
        };
        let boot: Option<String> = row.try_get("boot")?;
        Ok(Self {
            id: word("id")?,
            node_id: word("node_id")?,
            action: word("action")?.parse().map_err(decode)?,
            force: row.try_get("force")?,
            boot: boot.map(|word| word.parse()).transpose().map_err(decode)?,
            state: word("state")?.parse().map_err(decode)?,
            why: word("why")?,
            remedy: word("remedy")?,
            deployment_id: row.try_get("deployment_id")?,
            requested_by: row.try_get("requested_by")?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
            deadline: timestamp_from_ms(row.try_get("deadline")?),
            ended_at: time("ended_at")?,
            stage: word("stage")?.parse().map_err(decode)?,
            asked_at: time("asked_at")?,
            note: Reason {
                why: word("note")?,
                remedy: word("note_remedy")?,
            },
        })
    }
}

/// What is under way with a node, or was last.
pub(super) async fn newest(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<PowerAction>, PowerError> {
    let found = sqlx::query_as("SELECT * FROM power_actions WHERE node_id = ? ORDER BY id DESC LIMIT 1")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read what was done with the power of the node"))?;
    Ok(found)
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<PowerAction>, PowerError> {
    let found = sqlx::query_as("SELECT * FROM power_actions WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read a change of power"))?;
    Ok(found)
}

/// What is under way with a node, or with any.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn under_way(
    connection: &mut SqliteConnection,
    node_id: Option<&str>,
) -> Result<Vec<PowerAction>, DatabaseError> {
    sqlx::query_as(
        "SELECT * FROM power_actions WHERE state = 'running' AND (?1 IS NULL OR node_id = ?1) ORDER BY id",
    )
    .bind(node_id)
    .fetch_all(connection)
    .await
    .map_err(doing("look for changes of power"))
}

/// Ends a change of power, with an event. False: it had ended already.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn end(
    change: &mut Change,
    now_ms: i64,
    action: &PowerAction,
    state: ActionState,
    reason: &Reason,
) -> Result<bool, DatabaseError> {
    let ended = sqlx::query(
        "UPDATE power_actions SET state = ?, why = ?, remedy = ?, ended_at = ? WHERE id = ? AND state = 'running'",
    )
    .bind(state.as_str())
    .bind(&reason.why)
    .bind(&reason.remedy)
    .bind(now_ms)
    .bind(&action.id)
    .execute(change.connection())
    .await
    .map_err(doing("end a change of power"))?;
    if ended.rows_affected() != 1 {
        return Ok(false);
    }
    let node: Option<String> = sqlx::query_scalar("SELECT name FROM nodes WHERE id = ?")
        .bind(&action.node_id)
        .fetch_optional(change.connection())
        .await
        .map_err(doing("read the node"))?;
    let node = node.unwrap_or_default();
    let (kind, message) = match (state, action.action) {
        (ActionState::Done, PowerWish::Off) => ("power.done", format!("Node {node} is off{}.", note(reason))),
        (ActionState::Done, _) => ("power.done", format!("Node {node} is on{}.", note(reason))),
        _ => (
            "power.failed",
            format!(
                "The BMC of node {node} has not switched it ({}): {}. {}",
                action.action, reason.why, reason.remedy
            ),
        ),
    };
    change
        .append(NewEvent {
            kind,
            node_id: Some(&action.node_id),
            deployment_id: action.deployment_id.as_deref(),
            message,
            details: json!({
                "action": action.action, "id": action.id, "why": reason.why, "remedy": reason.remedy,
                "requested_by": action.requested_by,
            }),
        })
        .await?;
    Ok(true)
}

fn note(reason: &Reason) -> String {
    if reason.why.is_empty() {
        String::new()
    } else {
        format!("; {}", reason.why)
    }
}
