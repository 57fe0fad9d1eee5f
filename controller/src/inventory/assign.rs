//! A node changes hands.

use serde_json::json;

use super::{
    node::Node,
    nodes::{InventoryError, Nodes, load, require_no_volumes},
};
use crate::{
    events::{NewEvent, doing},
    identity::{Caller, Project},
};

impl Nodes {
    /// Gives a node to a project; refused while a deployment runs on it, which is the former project's. Assigning it
    /// again to the same project changes nothing.
    pub async fn assign(&self, by: &Caller, wanted: &str, project: &Project) -> Result<Node, InventoryError> {
        let found = self.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let Some(node) = load(change.connection(), &found.id).await? else {
            return Err(InventoryError::NotFound {
                wanted: found.id,
                near: Vec::new(),
            });
        };
        if node.project_id == project.id {
            return Ok(node);
        }
        if node.state.is_taken() {
            return Err(InventoryError::Taken {
                name: node.name,
                state: node.state,
            });
        }
        require_no_volumes(change.connection(), &node).await?;
        let event = |kind, message| NewEvent {
            kind,
            node_id: Some(&node.id),
            deployment_id: None,
            message,
            details: json!({}),
        };
        // Both projects are told, each by an event of its own: who has the node writes into its log.
        let left = event(
            "node.unassigned",
            format!("Node {} was given to another project.", node.name),
        );
        change.append(left).await?;
        let moved = sqlx::query(
            "UPDATE nodes SET project_id = ?1, version = version + 1 WHERE id = ?2 \
             AND EXISTS (SELECT 1 FROM projects WHERE id = ?1)",
        )
        .bind(&project.id)
        .bind(&node.id)
        .execute(change.connection())
        .await
        .map_err(doing("assign the node"))?;
        if moved.rows_affected() != 1 {
            return Err(
                doing("assign the node to a project that has just gone")(sqlx::Error::RowNotFound).into(),
            );
        }
        let came = event(
            "node.assigned",
            format!("Node {} belongs to the project {}.", node.name, project.name),
        );
        change.append(came).await?;
        change.commit().await?;
        self.get(&node.id).await
    }
}
