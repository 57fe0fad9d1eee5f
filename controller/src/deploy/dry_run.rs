//! What a deployment would do, by the checks that it would go through. Nothing is begun and nothing is kept.

use imprint_hardware::disk::DiskPlan;
use serde::Serialize;
use sqlx::SqliteConnection;
use utoipa::ToSchema;

use super::{
    Deployments,
    disk_policy::{self, DiskPolicy},
    error::DeployError,
    request::DeployRequest,
};
use crate::{events::doing, identity::Caller};

/// What a deployment would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeploymentPlan {
    /// The node.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// The image.
    pub image_id: String,
    /// Its name.
    pub image_name: String,
    /// Host name of the installed system.
    pub hostname: String,
    /// What is to be known of it, though it would go on.
    pub warnings: Vec<String>,
    /// Name of the hardware model whose rule chose the disk; null: the request's rule, or none.
    pub disk_rule_model: Option<String>,
    /// Which disk, what is on it, what goes and what stays; null for a node whose disks nobody has seen.
    pub disk: Option<DiskPlan>,
}

impl Deployments {
    /// The plan of a request, or every reason why it would be refused.
    ///
    /// # Errors
    /// As the deployment itself would be refused.
    pub async fn plan(&self, by: &Caller, request: &DeployRequest) -> Result<DeploymentPlan, DeployError> {
        let request = self.as_before(by, request).await?;
        let (request, target) = self.onto_volume(by, &request).await?;
        let request = request.as_ref();
        let subject = self.subject(by, request, target.as_ref()).await?;
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("look for the node's disks"))?;
        let policy = self
            .disk_policy(&mut connection, &subject.node.id, &request.wipe)
            .await?;
        let (image, checked) = subject.check(request, &subject.node, self.catalog.region(), policy)?;
        Ok(DeploymentPlan {
            node_id: subject.node.id.clone(),
            node_name: subject.node.name.clone(),
            image_id: image.id.clone(),
            image_name: image.name.clone(),
            hostname: checked.hostname,
            disk_rule_model: checked.rule_model,
            warnings: checked.warnings,
            disk: checked.disk_plan,
        })
    }

    /// What a deployment of a node may do to disks that are not blank.
    pub(super) async fn disk_policy(
        &self,
        connection: &mut SqliteConnection,
        node_id: &str,
        wipe: &[String],
    ) -> Result<DiskPolicy, DeployError> {
        Ok(DiskPolicy {
            wipe: wipe.to_vec(),
            own: disk_policy::own_disks(connection, node_id).await?,
            refuse_foreign_systems: self.rules.refuse_foreign_systems,
        })
    }
}
