//! What a deployment may do to disks that are not blank: asked for with the deployment, kept with it, sent with its task.

use imprint_hardware::disk::{ForeignSystems, Policy, identity};
use imprint_proto::agent::v1 as wire;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::{
    events::{DatabaseError, doing},
    inventory::Disk,
};

/// Names of disks that a request may give.
const MAX_WIPES: usize = 16;
/// Letters of a name.
const MAX_NAME: usize = 128;
/// Disks of earlier deployments that an agent is told of.
const MAX_OWN: i64 = 64;

/// As it is kept with the deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskPolicy {
    /// Names of disks whose content may go.
    pub wipe: Vec<String>,
    /// Disks that earlier deployments of the node have written.
    pub own: Vec<String>,
    /// Leave disks with systems or data of others alone.
    pub refuse_foreign_systems: bool,
}

impl DiskPolicy {
    /// As the choice of a disk takes it.
    #[must_use]
    pub fn to_policy(&self) -> Policy {
        Policy {
            wipe: self.wipe.clone(),
            own: self.own.clone(),
            foreign_systems: if self.refuse_foreign_systems {
                ForeignSystems::Refuse
            } else {
                ForeignSystems::Warn
            },
        }
    }

    /// As the agent takes it, with the rule.
    #[must_use]
    pub fn to_wire(&self, rule: &str) -> wire::DiskRule {
        wire::DiskRule {
            text: rule.to_owned(),
            wipe: self.wipe.clone(),
            own: self.own.clone(),
            refuse_foreign_systems: self.refuse_foreign_systems,
            volumes: Vec::new(),
        }
    }
}

/// What is wrong with the names of disks to be wiped.
pub(super) fn fault(wipe: &[String]) -> Option<String> {
    if wipe.len() > MAX_WIPES {
        return Some(format!(
            "{} names are given, at most {MAX_WIPES} are taken",
            wipe.len()
        ));
    }
    let wrong = |name: &&String| {
        name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control)
    };
    wipe.iter().find(wrong).map(|name| {
        format!(
            "{:?} is not the name of a disk",
            name.chars().take(40).collect::<String>()
        )
    })
}

/// The disks that deployments of this node have written.
pub(super) async fn own_disks(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Vec<String>, DatabaseError> {
    let disks: Vec<String> = sqlx::query_scalar(
        "SELECT disk FROM deployments WHERE node_id = ? AND disk IS NOT NULL ORDER BY id DESC LIMIT ?",
    )
    .bind(node_id)
    .bind(MAX_OWN)
    .fetch_all(connection)
    .await
    .map_err(doing("read the disks of the node's deployments"))?;
    let mut own: Vec<String> = disks
        .iter()
        // What cannot be read names no disk, and then the disk is somebody else's.
        .filter_map(|disk| serde_json::from_str::<Disk>(disk).ok())
        .map(|disk| identity(&disk))
        .filter(|name| !name.is_empty())
        .collect();
    own.sort();
    own.dedup();
    Ok(own)
}
