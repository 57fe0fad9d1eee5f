//! What a node's earlier deployments have left on its disks.

use sqlx::SqliteConnection;

use super::{
    record::Deployment,
    state::{DeploymentState, DiskState, Purpose},
};
use crate::{
    events::{DatabaseError, doing},
    inventory::Disk,
};

/// Whether any task of the deployment has left for an agent.
pub(super) async fn was_sent(
    connection: &mut SqliteConnection,
    deployment_id: &str,
) -> Result<bool, DatabaseError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM deployment_tasks WHERE deployment_id = ? AND sent_at IS NOT NULL)",
    )
    .bind(deployment_id)
    .fetch_one(connection)
    .await
    .map_err(doing("read the deployment's tasks"))
}

/// Whether a system that reported from this node is still on its disk, as far as anybody can know.
pub(super) async fn has_system(
    connection: &mut SqliteConnection,
    present: &Deployment,
) -> Result<bool, DatabaseError> {
    let mut writers = Vec::new();
    let writes = present.purpose != Purpose::Rescue;
    if writes && (present.disk_state != DiskState::Untouched || is_open(connection, &present.id).await?) {
        writers.push(present.clone());
    }
    // A task that was sent and of whose end nothing is known may have written something.
    let earlier: Vec<Deployment> = sqlx::query_as(
        "SELECT * FROM deployments d WHERE node_id = ? AND id < ? AND purpose <> 'rescue' AND (disk_state <> 'untouched' OR EXISTS \
         (SELECT 1 FROM deployment_tasks t WHERE t.deployment_id = d.id AND t.sent_at IS NOT NULL AND t.ended_at IS NULL)) \
         ORDER BY id DESC LIMIT 50",
    )
    .bind(&present.node_id)
    .bind(&present.id)
    .fetch_all(connection)
    .await
    .map_err(doing("look for the node's earlier deployments"))?;
    writers.extend(earlier);
    Ok(system_remains(present, &writers))
}

async fn is_open(connection: &mut SqliteConnection, deployment_id: &str) -> Result<bool, DatabaseError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM deployment_tasks WHERE deployment_id = ? AND sent_at IS NOT NULL AND ended_at IS NULL)",
    )
    .bind(deployment_id)
    .fetch_one(connection)
    .await
    .map_err(doing("read the deployment's tasks"))
}

/// The newest deployment of a system decides, unless a data disk was written over it since, or all was wiped. `writers`:
/// all that may have written, newest first.
fn system_remains(present: &Deployment, writers: &[Deployment]) -> bool {
    let decides = |deployment: &Deployment| deployment.finish || deployment.purpose == Purpose::Release;
    let Some(newest) = writers.iter().position(decides) else {
        return false;
    };
    let system = &writers[newest];
    if system.state != DeploymentState::Succeeded || system.purpose == Purpose::Release {
        return false;
    }
    writers[..newest].iter().all(|data| {
        // One that failed has not named its disk; the same rule names the same disk.
        let disk = data.disk.as_ref().or_else(|| {
            present
                .disk
                .as_ref()
                .filter(|_| data.disk_rule == present.disk_rule)
        });
        disk.zip(system.disk.as_ref())
            .is_some_and(|(disk, system_disk)| are_different(disk, system_disk))
    })
}

/// Whether two disks are certainly not the same: one stable fact that both have differs.
fn are_different(a: &Disk, b: &Disk) -> bool {
    [
        (&a.serial, &b.serial),
        (&a.wwn, &b.wwn),
        (&a.nguid, &b.nguid),
        (&a.by_path, &b.by_path),
    ]
    .into_iter()
    .find(|(a, b)| !a.is_empty() && !b.is_empty())
    .is_some_and(|(a, b)| a != b)
}
