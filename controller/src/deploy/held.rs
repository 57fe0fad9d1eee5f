//! Nodes on hold, since the database is older than the world: what their agents say is looked at before anything is sent to
//! them.
//!
//! Tasks are only ever deleted with their node, and whoever has the certificate of a deleted node is not let in. A task is
//! kept before it is sent. So an agent that names a task of which there is no trace has it from a controller whose data was
//! lost, as after a whole data folder was put back: it is not told to stop, which would clear the head of a disk that may be
//! wanted, until an operator has confirmed the node.

use imprint_proto::agent::v1 as wire;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{error::DeployError, intake::clip, record::Deployment};
use crate::{
    backup::{Hold, hold_for_task, hold_of, release},
    events::{Change, DatabaseError, NewEvent, doing},
};

/// How many tasks are kept of a node that were never in the database.
const MOST_UNKNOWN: u32 = 16;

/// Whether the node of a new session is on hold from here on. An agent that holds just what the database says ends it; one
/// that holds what was never in the database begins it.
pub(super) async fn stays_on_hold(
    change: &mut Change,
    node_id: &str,
    hello: &wire::Hello,
    deployment: Option<&Deployment>,
    now_ms: i64,
) -> Result<bool, DeployError> {
    let deployment_id = deployment.map(|deployment| deployment.id.as_str());
    let expected = deployment.map_or("", |deployment| deployment.task_id.as_str());
    let Some(hold) = hold_of(change.connection(), node_id).await? else {
        if hello.task_id.is_empty() || hello.task_id == expected {
            return Ok(false);
        }
        return Ok(hold_for_unknown(change, node_id, &hello.task_id, deployment_id, now_ms).await?);
    };
    if hello.task_id == expected {
        let reason = match deployment {
            Some(_) => "The agent has called and holds the task that the database knows",
            None => "The agent has called and holds no task, as the database says",
        };
        release(change, node_id, reason).await?;
        return Ok(false);
    }
    let task_id = clip(&hello.task_id);
    let holds = if task_id.is_empty() {
        "holds no task, though a deployment was running".to_owned()
    } else {
        note_unknown(change.connection(), node_id, &task_id, now_ms).await?;
        format!("holds the task {task_id}, which the database does not know")
    };
    tell_mismatch(change, node_id, deployment_id, &task_id, &holds, hold).await?;
    Ok(true)
}

/// Puts a node on hold, with the alarm, whose agent names a task that was never in the database. False: the task is, or
/// the agent may be told to stop since an operator has confirmed the node, or the node is gone with its tasks.
pub(super) async fn hold_for_unknown(
    change: &mut Change,
    node_id: &str,
    task_id: &str,
    deployment_id: Option<&str>,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    let task_id = clip(task_id);
    if task_id.is_empty() {
        return Ok(false);
    }
    if !note_unknown(change.connection(), node_id, &task_id, now_ms).await? {
        return Ok(false);
    }
    let Some(hold) = hold_for_task(change, node_id, now_ms).await? else {
        return Ok(false);
    };
    let holds = format!("names the task {task_id}, which was never in the database");
    tell_mismatch(change, node_id, deployment_id, &task_id, &holds, hold).await?;
    Ok(true)
}

/// Notes a task that was never in the database. False when it was, or when it is given up.
async fn note_unknown(
    connection: &mut SqliteConnection,
    node_id: &str,
    task_id: &str,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    sqlx::query(
        "INSERT INTO unknown_tasks (node_id, task_id, seen_at) SELECT id, ?2, ?3 FROM nodes WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM deployment_tasks WHERE task_id = ?2) ON CONFLICT (node_id, task_id) DO NOTHING",
    )
    .bind(node_id)
    .bind(task_id)
    .bind(now_ms)
    .execute(&mut *connection)
    .await
    .map_err(doing("note an unknown task"))?;
    // Whoever makes tasks up fills nothing with them.
    sqlx::query(
        "DELETE FROM unknown_tasks WHERE node_id = ?1 AND task_id <> ?2 AND task_id NOT IN \
         (SELECT task_id FROM unknown_tasks WHERE node_id = ?1 ORDER BY seen_at DESC, task_id DESC LIMIT ?3)",
    )
    .bind(node_id)
    .bind(task_id)
    .bind(MOST_UNKNOWN)
    .execute(&mut *connection)
    .await
    .map_err(doing("forget old unknown tasks"))?;
    let given_up: Option<i64> =
        sqlx::query_scalar("SELECT given_up FROM unknown_tasks WHERE node_id = ? AND task_id = ?")
            .bind(node_id)
            .bind(task_id)
            .fetch_optional(connection)
            .await
            .map_err(doing("look for an unknown task"))?;
    Ok(given_up == Some(0))
}

async fn tell_mismatch(
    change: &mut Change,
    node_id: &str,
    deployment_id: Option<&str>,
    task_id: &str,
    holds: &str,
    hold: Hold,
) -> Result<(), DatabaseError> {
    change
        .append(NewEvent {
            kind: "alarm.restored-mismatch",
            node_id: Some(node_id),
            deployment_id,
            message: format!("The agent has called and {holds}. The node {}.", hold.sentence()),
            details: json!({ "task_id": task_id, "remedy": Hold::REMEDY }),
        })
        .await
        .map(drop)
}
