//! A database that is older than the world is marked as such, before anything is done that it says.

use serde_json::json;

use super::hold::{HoldReason, end_switches};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, EventLog, NewEvent, doing},
    power,
};

/// Far behind any number that anybody may have seen of the events that are lost.
const EVENTS_AHEAD: i64 = 1_000_000_000;

/// A database that is older than the world.
#[derive(Debug)]
pub(super) struct Older {
    /// How that came out.
    pub reason: HoldReason,
    /// What it tells was so then.
    pub taken_at_ms: i64,
    /// The newest event in it.
    pub newest_event: i64,
    /// The newest event that is known to have been before.
    pub seen_event: i64,
}

/// What was marked.
#[derive(Debug)]
pub(super) struct Marked {
    /// Nodes that are on hold.
    pub nodes: u64,
    /// Deployments that were running then.
    pub deployments: u64,
}

impl Older {
    /// What happened, for operators.
    fn sentence(&self) -> String {
        let taken_at = timestamp_from_ms(self.taken_at_ms);
        match self.reason {
            HoldReason::Restored | HoldReason::UnknownTask => {
                format!("The controller was restored from a backup of {taken_at}.")
            }
            HoldReason::Copied => format!(
                "The database is older than what this controller had written: a copy of {taken_at} was put back."
            ),
        }
    }
}

/// Puts all nodes on hold, ends changes of power and has the events go on far ahead, in one transaction.
pub(super) async fn mark(events: &EventLog, older: &Older, now_ms: i64) -> Result<Marked, DatabaseError> {
    let mut change = events.begin().await?;
    sqlx::query("INSERT INTO restores (restored_at, taken_at, newest_event) VALUES (?, ?, ?)")
        .bind(now_ms)
        .bind(older.taken_at_ms)
        .bind(older.newest_event)
        .execute(change.connection())
        .await
        .map_err(doing("note the restoration"))?;
    let nodes = sqlx::query(
        "INSERT INTO node_holds (node_id, taken_at, since, reason) SELECT id, ?1, ?2, ?3 FROM nodes WHERE TRUE \
         ON CONFLICT (node_id) DO UPDATE SET taken_at = MIN(node_holds.taken_at, ?1), since = ?2, reason = ?3",
    )
    .bind(older.taken_at_ms)
    .bind(now_ms)
    .bind(older.reason.as_str())
    .execute(change.connection())
    .await
    .map_err(doing("put the nodes on hold"))?
    .rows_affected();
    let switches = power::under_way(change.connection(), None).await?;
    let why = match older.reason {
        HoldReason::Restored | HoldReason::UnknownTask => {
            "the controller was restored from a backup, and what became of it since then is not known"
        }
        HoldReason::Copied => {
            "an older copy of the controller's database was put back, and what became of the server since then is not known"
        }
    };
    let deployments: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deployments WHERE state = 'running'")
        .fetch_one(change.connection())
        .await
        .map_err(doing("count the running deployments"))?;
    let numbered = sqlx::query("UPDATE sqlite_sequence SET seq = MAX(seq, ?) + ? WHERE name = 'events'")
        .bind(older.seen_event)
        .bind(EVENTS_AHEAD)
        .execute(change.connection())
        .await
        .map_err(doing("number the events"))?;
    if numbered.rows_affected() == 0 {
        sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)")
            .bind(older.seen_event + EVENTS_AHEAD)
            .execute(change.connection())
            .await
            .map_err(doing("number the events"))?;
    }
    change
        .append(NewEvent {
            kind: "alarm.restored",
            node_id: None,
            deployment_id: None,
            message: format!(
                "{} What happened since then is not known: {nodes} nodes are on hold until their agents call, or until an \
                 operator confirms them (imprint node confirm). Tokens that were revoked since then are good again.",
                older.sentence()
            ),
            details: json!({
                "taken_at": timestamp_from_ms(older.taken_at_ms), "newest_event": older.newest_event, "nodes": nodes,
                "deployments": deployments, "power_changes": switches.len(), "reason": older.reason.as_str(),
            }),
        })
        .await?;
    end_switches(&mut change, &switches, why, now_ms).await?;
    change.commit().await?;
    Ok(Marked {
        nodes,
        deployments: u64::try_from(deployments).unwrap_or(0),
    })
}
