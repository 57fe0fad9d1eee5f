//! A node is forgotten.

use serde_json::json;

use super::{
    node::Node,
    nodes::{InventoryError, Nodes, load, require_no_volumes},
};
use crate::{
    events::{NewEvent, doing},
    identity::Caller,
};

impl Nodes {
    /// Forgets a node and its deployments; refused while one runs. Its events stay, and if the machine calls again it
    /// is a new one.
    pub(crate) async fn delete(&self, by: &Caller, wanted: &str) -> Result<Node, InventoryError> {
        let found = self.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let Some(node) = load(change.connection(), &found.id).await? else {
            return Err(InventoryError::NotFound {
                wanted: found.id,
                near: Vec::new(),
            });
        };
        if node.state.is_taken() {
            return Err(InventoryError::Taken {
                name: node.name,
                state: node.state,
            });
        }
        require_no_volumes(change.connection(), &node).await?;
        // Told first: as long as the node is there, the event is its project's.
        change
            .append(NewEvent {
                kind: "node.deleted",
                node_id: Some(&node.id),
                deployment_id: None,
                message: format!("Node {} was deleted; it was {}.", node.name, node.state),
                details: json!({
                    "name": node.name, "state": node.state, "macs": node.macs, "uuid": node.smbios_uuid,
                    "serial": node.serial,
                }),
            })
            .await?;
        // Tasks, steps, secrets, tokens and keys of requests go with their deployment.
        for statement in [
            "DELETE FROM deployments WHERE node_id = ?",
            "DELETE FROM nodes WHERE id = ?",
        ] {
            sqlx::query(statement)
                .bind(&node.id)
                .execute(change.connection())
                .await
                .map_err(doing("delete the node"))?;
        }
        change.commit().await?;
        Ok(node)
    }
}
