//! A node leaves: it is forgotten with its deployments, and its agent's session ends.

use super::Deployments;
use crate::{
    identity::Caller,
    inventory::{InventoryError, Node},
};

impl Deployments {
    /// Forgets a node that is not being deployed. Its events stay.
    pub async fn delete_node(&self, by: &Caller, wanted: &str) -> Result<Node, InventoryError> {
        let node = self.nodes.delete(by, wanted).await?;
        self.hub.dismiss(&node.id);
        self.hub.forget_progress(&node.id);
        self.events.forget_progress(&node.id);
        Ok(node)
    }
}
