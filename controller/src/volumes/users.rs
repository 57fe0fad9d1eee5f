//! Who works with a volume, and which volumes a server has.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{VolumeError, VolumeRecord, Volumes, record::SELECT};
use crate::events::doing;

impl Volumes {
    /// The volumes that a node has, or is to have.
    pub(crate) async fn at_node(&self, node_id: &str) -> Result<Vec<VolumeRecord>, VolumeError> {
        let found = sqlx::query_as(AssertSqlSafe(format!("{SELECT} WHERE node_id = ? ORDER BY id")))
            .bind(node_id)
            .fetch_all(&self.db)
            .await;
        Ok(found.map_err(doing("read the volumes of the node"))?)
    }
}

/// What keeps a volume where it is, as the end of "volume NAME …".
pub(super) async fn use_of(
    connection: &mut SqliteConnection,
    volume_id: &str,
) -> Result<Option<String>, VolumeError> {
    let running: Option<String> =
        sqlx::query_scalar("SELECT id FROM deployments WHERE volume_id = ? AND state = 'running'")
            .bind(volume_id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(doing("look whether a deployment uses the volume"))?;
    if let Some(id) = running {
        return Ok(Some(format!("is what deployment {id} works on")));
    }
    // Only while it is there: a volume that is elsewhere by now is not what the server starts from.
    let system: Option<String> = sqlx::query_scalar(
        "SELECT n.name FROM nodes n JOIN deployments d ON d.id = n.deployment_id JOIN volumes v ON v.id = d.volume_id \
         WHERE v.id = ? AND v.node_id = n.id AND d.finish AND d.state = 'succeeded' AND n.state = 'active'",
    )
    .bind(volume_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("look whether a system is on the volume"))?;
    Ok(system.map(|node| format!("has the system that node {node} runs")))
}
