//! A reinstallation that names no image: the one that is on the node, on its disk.

use std::borrow::Cow;

use super::{Deployments, error::DeployError, record::Deployment, request::DeployRequest};
use crate::{events::doing, identity::Caller};

impl Deployments {
    /// The request with what it leaves to the node's last installation: image, and the rule that named its disk.
    pub(super) async fn as_before<'r>(
        &self,
        by: &Caller,
        request: &'r DeployRequest,
    ) -> Result<Cow<'r, DeployRequest>, DeployError> {
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let names = !request.image.is_empty() || given(&request.family) || given(&request.volume);
        if names || request.reinstall != Some(true) {
            return Ok(Cow::Borrowed(request));
        }
        let node = self.nodes.find(&by.viewer(), &request.node).await?;
        let last: Option<Deployment> = sqlx::query_as(
            "SELECT * FROM deployments WHERE node_id = ? AND project_id = ? AND purpose = 'install' AND finish = 1 \
             AND state = 'succeeded' AND volume_id IS NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(&node.id)
        .bind(&node.project_id)
        .fetch_optional(&self.db)
        .await
        .map_err(doing("look for the node's last installation"))?;
        let Some(last) = last else {
            return Ok(Cow::Borrowed(request));
        };
        let mut request = request.clone();
        request.image = last.image_id;
        if !given(&request.disk) {
            request.disk = Some(last.disk_rule);
        }
        Ok(Cow::Owned(request))
    }
}
