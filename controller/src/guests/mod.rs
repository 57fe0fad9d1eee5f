//! The guest plugins of installed systems.
//!
//! The first-boot report brings the plugin a certificate ([`identity`]). With it the plugin keeps a session
//! ([`session`]): it tells who it is and what happened, and takes one kind of order, to set a password ([`reset`]). What is
//! in [`hub`] is in memory alone: a controller that was restarted waits for the plugins to call.
//!
//! Invariants: a certificate is good for the deployment that it was given to, until another one reports its first boot on
//! the node; a password is never kept, and what is sent of it only that one run of the plugin can open; every order has
//! exactly one end, and an event for its beginning and its end.

mod disks;
mod error;
mod hub;
mod identity;
mod reset;
mod run;
mod session;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{SqliteConnection, SqlitePool};
use utoipa::ToSchema;

pub use error::GuestError;
pub use hub::{GuestSeat, Outgoing};
pub use identity::Adopted;
pub use reset::{NewReset, PasswordResetRecord, ResetAnswer, ResetState};
pub use run::run;

use crate::{
    clock::Clock,
    events::{DatabaseError, EventLog, doing},
    identity::Authority,
};
use hub::Hub;

/// The guest plugins; cheap to clone.
#[derive(Debug, Clone)]
pub struct Guests {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    authority: Authority,
    hub: Hub,
}

/// What is known of the guest plugin of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Guest {
    /// The node.
    pub node_id: String,
    /// The deployment that installed it.
    pub deployment_id: String,
    /// Whether its session is open now.
    pub connected: bool,
    /// Its version; empty before its first session.
    pub version: String,
    /// The system's boot id in its last session.
    pub boot_id: String,
    /// Files of the plugin that were not as installed when the session began, each as "PATH: what is wrong".
    pub drift: Vec<String>,
    /// When it got its certificate.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_at: Option<Timestamp>,
}

/// A row of the table.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    node_id: String,
    deployment_id: String,
    key_digest: Vec<u8>,
    version: String,
    boot_id: String,
    drift: String,
    created_at: i64,
    last_seen_at: Option<i64>,
}

impl Guests {
    /// Over the database.
    #[must_use]
    pub fn new(db: SqlitePool, clock: Clock, events: EventLog, authority: Authority) -> Self {
        Self {
            db,
            clock,
            events,
            authority,
            hub: Hub::default(),
        }
    }

    /// How many sessions are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.hub.open_sessions()
    }

    /// The plugin of a node, if one ever reported.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn of_node(&self, node_id: &str) -> Result<Option<Guest>, DatabaseError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the guest plugin"))?;
        let row = row(&mut connection, node_id).await?;
        Ok(row.map(|row| Guest {
            connected: self.hub.is_connected(node_id),
            node_id: row.node_id,
            deployment_id: row.deployment_id,
            version: row.version,
            boot_id: row.boot_id,
            drift: serde_json::from_str(&row.drift).unwrap_or_default(),
            created_at: time(row.created_at),
            last_seen_at: row.last_seen_at.map(time),
        }))
    }
}

async fn row(connection: &mut SqliteConnection, node_id: &str) -> Result<Option<Row>, DatabaseError> {
    sqlx::query_as(
        "SELECT node_id, deployment_id, key_digest, version, boot_id, drift, created_at, last_seen_at \
         FROM guests WHERE node_id = ?",
    )
    .bind(node_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("read the guest plugin"))
}

fn time(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms).unwrap_or_default()
}

/// What comes from an installed system is read by people: one line, of bounded length.
fn clip(text: &str, characters: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(characters)
        .collect()
}
