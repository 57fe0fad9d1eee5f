//! Nodes on hold, since the database is older than the world.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    api::rest::problem::Problem,
    clock::timestamp_from_ms,
    events::{Change, DatabaseError, EventLog, NewEvent, doing},
    identity::Caller,
    inventory::Node,
    power::{self, ActionState, PowerAction, Reason},
    words::words,
};

words! {
    /// How it came out that the database is older than the world.
    HoldReason, "reason of a hold", {
        /// A backup was restored.
        Restored => "restored",
        /// The database is older than its witness says: a copy of it was put back.
        Copied => "copied",
        /// The agent names a task that was never in the database.
        UnknownTask => "unknown-task",
    }
}

/// Why nothing is sent to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When the backup or the copy was made that is all there is known of it; for an unknown task, when that was named.
    pub taken_at: Timestamp,
    /// How it came to it.
    pub reason: HoldReason,
}

impl Hold {
    /// As a sentence about a node, without its name.
    #[must_use]
    pub fn sentence(&self) -> String {
        let at = self.taken_at;
        let why = match self.reason {
            HoldReason::Restored => format!(
                "the controller was restored from a backup of {at}, and what happened to the server since then is not known"
            ),
            HoldReason::Copied => format!(
                "an older copy of the controller's database, of {at}, was put back, and what happened to the server since \
                 then is not known"
            ),
            HoldReason::UnknownTask => format!(
                "at {at} its agent named a task that was never in the controller's database, as after an older copy of the \
                 data folder was put back, and what happens to the server is not known"
            ),
        };
        format!("is on hold: {why}. It boots its own disk, and nothing is sent to it")
    }

    /// What an operator can do.
    pub const REMEDY: &'static str = "Find out what runs on the server. Then confirm that the controller may go on as its database says \
        (imprint node confirm NODE).";

    /// For whoever wants to deploy on it.
    #[must_use]
    pub fn problem(&self, node: &str) -> Problem {
        Problem::new(
            StatusCode::CONFLICT,
            "node-on-hold",
            "The node is on hold: what happened to its server is not known",
            format!("{node} {}.", self.sentence()),
            Self::REMEDY,
        )
    }
}

/// All holds; cheap to clone.
#[derive(Debug, Clone)]
pub struct Holds {
    db: SqlitePool,
    events: EventLog,
}

impl Holds {
    /// Those of the database.
    #[must_use]
    pub fn new(db: SqlitePool, events: EventLog) -> Self {
        Self { db, events }
    }

    /// The hold of a node, if it has one.
    pub async fn of(&self, node_id: &str) -> Result<Option<Hold>, DatabaseError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the hold of a node"))?;
        hold_of(&mut connection, node_id).await
    }

    /// An operator says that the controller may go on as its database says: its agent may be told to stop what it has
    /// named. False: there was no hold, and nothing has changed.
    pub async fn confirm(&self, by: &Caller, node: &Node) -> Result<bool, DatabaseError> {
        let mut change = self.events.begin_by(by.author()).await?;
        if hold_of(change.connection(), &node.id).await?.is_none() {
            return Ok(false);
        }
        sqlx::query("UPDATE unknown_tasks SET given_up = 1 WHERE node_id = ?")
            .bind(&node.id)
            .execute(change.connection())
            .await
            .map_err(doing("give up unknown tasks"))?;
        release(
            &mut change,
            &node.id,
            "An operator has confirmed what is known of the node",
        )
        .await?;
        change.commit().await?;
        Ok(true)
    }
}

/// The hold of a node, if it has one.
pub(crate) async fn hold_of(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<Hold>, DatabaseError> {
    let kept: Option<(i64, String)> =
        sqlx::query_as("SELECT taken_at, reason FROM node_holds WHERE node_id = ?")
            .bind(node_id)
            .fetch_optional(connection)
            .await
            .map_err(doing("read the hold of a node"))?;
    Ok(kept.map(|(at, reason)| Hold {
        taken_at: timestamp_from_ms(at),
        reason: reason.parse().unwrap_or(HoldReason::Restored),
    }))
}

/// Puts a node on hold whose agent has named a task that was never in the database. `None`: there is no such node.
pub(crate) async fn hold_for_task(
    change: &mut Change,
    node_id: &str,
    now_ms: i64,
) -> Result<Option<Hold>, DatabaseError> {
    let reason = HoldReason::UnknownTask;
    let held = sqlx::query(
        "INSERT INTO node_holds (node_id, taken_at, since, reason) SELECT id, ?2, ?2, ?3 FROM nodes WHERE id = ?1 \
         ON CONFLICT (node_id) DO NOTHING",
    )
    .bind(node_id)
    .bind(now_ms)
    .bind(reason.as_str())
    .execute(change.connection())
    .await
    .map_err(doing("put the node on hold"))?;
    if held.rows_affected() == 0 {
        return Ok(None);
    }
    let why = "its agent named a task that is not known here, and what became of the server is not known";
    let switches = power::under_way(change.connection(), Some(node_id)).await?;
    end_switches(change, &switches, why, now_ms).await?;
    Ok(Some(Hold {
        taken_at: timestamp_from_ms(now_ms),
        reason,
    }))
}

/// Ends changes of power: a server that was to be switched then may be anybody's by now.
pub(super) async fn end_switches(
    change: &mut Change,
    switches: &[PowerAction],
    why: &str,
    now_ms: i64,
) -> Result<(), DatabaseError> {
    let reason = Reason {
        why: why.to_owned(),
        remedy: "Look how the server is (imprint node power NODE status), and ask again.".to_owned(),
    };
    for switch in switches {
        power::end(change, now_ms, switch, ActionState::Failed, &reason).await?;
    }
    Ok(())
}

/// Ends the hold of a node, with its event.
pub(crate) async fn release(change: &mut Change, node_id: &str, reason: &str) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM node_holds WHERE node_id = ?")
        .bind(node_id)
        .execute(change.connection())
        .await
        .map_err(doing("end the hold of a node"))?;
    change
        .append(NewEvent {
            kind: "node.hold-released",
            node_id: Some(node_id),
            deployment_id: None,
            message: format!("{reason}: its hold has ended."),
            details: json!({}),
        })
        .await
        .map(drop)
}
