//! Which objects of the store a node may read.

use super::{Deployments, state::Phase};
use crate::store::StoreObject;

impl Deployments {
    /// Whether the object belongs to the image that the node is just to write. No answer of the database means no.
    pub async fn store_access(&self, node_id: &str, object: &StoreObject) -> bool {
        match self.may_read(node_id, object).await {
            Ok(may) => may,
            Err(error) => {
                tracing::error!(
                    node.id = node_id,
                    error = &*error,
                    "cannot tell what the node may read"
                );
                false
            }
        }
    }

    async fn may_read(
        &self,
        node_id: &str,
        object: &StoreObject,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        match self.running_on(node_id).await? {
            Some(deployment) if deployment.phase == Phase::AgentWorks => {
                Ok(self.catalog.uses(&deployment.manifest, object).await?)
            }
            _ => Ok(false),
        }
    }
}
