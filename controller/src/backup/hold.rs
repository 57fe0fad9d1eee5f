//! Nodes on hold after a restoration.

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
};

/// Why nothing is sent to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When the backup was made that is all there is known of it.
    pub taken_at: Timestamp,
}

impl Hold {
    /// As a sentence about a node, without its name.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "is on hold: the controller was restored from a backup of {}, and what happened to the server since then is not \
             known. It boots its own disk, and nothing is sent to it",
            self.taken_at
        )
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
            "The node is on hold since a backup was restored",
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

    /// An operator says that the controller may go on as its database says. A second time changes nothing.
    pub async fn confirm(&self, by: &Caller, node: &Node) -> Result<(), DatabaseError> {
        let mut change = self.events.begin_by(by.author()).await?;
        if hold_of(change.connection(), &node.id).await?.is_none() {
            return Ok(());
        }
        release(
            &mut change,
            &node.id,
            "An operator has confirmed what is known of the node",
        )
        .await?;
        change.commit().await
    }
}

/// The hold of a node, if it has one.
pub(crate) async fn hold_of(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<Hold>, DatabaseError> {
    let taken: Option<i64> = sqlx::query_scalar("SELECT taken_at FROM node_holds WHERE node_id = ?")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the hold of a node"))?;
    Ok(taken.map(|at| Hold {
        taken_at: timestamp_from_ms(at),
    }))
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
            message: format!("{reason}: the hold since the restoration has ended."),
            details: json!({}),
        })
        .await
        .map(drop)
}
