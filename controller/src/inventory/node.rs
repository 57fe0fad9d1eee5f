//! A node as it is kept.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};
use utoipa::ToSchema;

use crate::clock::timestamp_from_ms;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It has called; nobody has taken it into service.
    Discovered,
    /// It was announced and has not been seen yet.
    Enrolled,
    /// It can be deployed.
    Available,
    /// A deployment runs.
    Deploying,
    /// A release runs: its disks are wiped.
    Releasing,
    /// Somebody works in its ramdisk.
    Rescue,
    /// Its own operating system has reported.
    Active,
    /// Something failed; see its problem.
    Failed,
    /// It is out of service for good.
    Retired,
}

impl NodeState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Discovered,
        Self::Enrolled,
        Self::Available,
        Self::Deploying,
        Self::Releasing,
        Self::Rescue,
        Self::Active,
        Self::Failed,
        Self::Retired,
    ];

    /// As APIs spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Enrolled => "enrolled",
            Self::Available => "available",
            Self::Deploying => "deploying",
            Self::Releasing => "releasing",
            Self::Rescue => "rescue",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }
}

/// Not a state of nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a state of nodes; use discovered, enrolled, available, deploying, releasing, rescue, active, failed or retired"
)]
pub struct UnknownState(pub String);

impl FromStr for NodeState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why nothing is to be begun on a node for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintenance {
    /// In the words of whoever asked for it.
    pub reason: String,
    /// Who that was.
    pub by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What went wrong, where, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeProblem {
    /// The step, as in the list of steps of a deployment.
    pub step: String,
    /// What happened.
    pub cause: String,
    /// What the operator can do.
    pub remedy: String,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// ULID.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// Whose it is.
    pub project_id: String,
    /// Where it is in its life.
    pub state: NodeState,
    /// Set: nothing is begun on it.
    pub maintenance: Option<Maintenance>,
    /// Rises with each change of state.
    pub version: i64,
    /// SMBIOS UUID that can tell it from others.
    pub smbios_uuid: Option<String>,
    /// Serial number that can tell it from others.
    pub serial: Option<String>,
    /// MAC addresses.
    pub macs: Vec<String>,
    /// Vendor and product.
    pub hardware: String,
    /// The agent that called last.
    pub agent_version: Option<String>,
    /// What the agent found missing in its ramdisk.
    pub agent_defects: Vec<String>,
    /// Set in state failed.
    pub problem: Option<NodeProblem>,
    /// The current or the last deployment.
    pub deployment_id: Option<String>,
    /// When it was last heard of; about a minute behind while its agent is connected.
    pub last_seen_at: Option<Timestamp>,
    /// When it was first heard of.
    pub created_at: Timestamp,
}

/// The columns of a node, with its MAC addresses joined by commas.
pub(super) const SELECT_NODE: &str = "SELECT n.id, n.name, n.project_id, n.state, n.version, n.smbios_uuid, n.serial, n.hardware, \
     n.agent_version, n.agent_defects, n.problem, n.maintenance, n.deployment_id, n.last_seen_at, n.created_at, \
     (SELECT group_concat(mac, ',') FROM (SELECT mac FROM node_macs WHERE node_id = n.id ORDER BY position)) AS macs \
     FROM nodes n ";

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl sqlx::FromRow<'_, SqliteRow> for Node {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let macs: Option<String> = row.try_get("macs")?;
        let problem: Option<String> = row.try_get("problem")?;
        let maintenance: Option<String> = row.try_get("maintenance")?;
        let defects: String = row.try_get("agent_defects")?;
        let seen: Option<i64> = row.try_get("last_seen_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            project_id: row.try_get("project_id")?,
            state: row.try_get::<String, _>("state")?.parse().map_err(decode)?,
            maintenance: maintenance
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(decode)?,
            version: row.try_get("version")?,
            smbios_uuid: row.try_get("smbios_uuid")?,
            serial: row.try_get("serial")?,
            macs: macs
                .unwrap_or_default()
                .split(',')
                .filter(|mac| !mac.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            hardware: row.try_get("hardware")?,
            agent_version: row.try_get("agent_version")?,
            agent_defects: serde_json::from_str(&defects).map_err(decode)?,
            problem: problem
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(decode)?,
            deployment_id: row.try_get("deployment_id")?,
            last_seen_at: seen.map(timestamp_from_ms),
            created_at: timestamp_from_ms(row.try_get("created_at")?),
        })
    }
}
