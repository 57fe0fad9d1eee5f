//! What a deployment would do, by the checks that it would go through. Nothing is begun and nothing is kept.

use imprint_hardware::disk::DiskPlan;
use serde::Serialize;
use sqlx::SqliteConnection;
use utoipa::ToSchema;

use super::{
    Deployments,
    disk_policy::{self, DiskPolicy},
    error::DeployError,
    request::{DeployRequest, check},
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
    /// Which disk, what is on it, what goes and what stays; null for a node whose disks nobody has seen.
    pub disk: Option<DiskPlan>,
}

impl Deployments {
    /// The plan of a request, or every reason why it would be refused.
    ///
    /// # Errors
    /// As the deployment itself would be refused.
    pub async fn plan(&self, by: &Caller, request: &DeployRequest) -> Result<DeploymentPlan, DeployError> {
        let subject = self.subject(by, request).await?;
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("look for the node's disks"))?;
        let policy = self
            .disk_policy(&mut connection, &subject.node.id, &request.wipe)
            .await?;
        let chosen = subject.chosen(self.catalog.region());
        let checked = check(request, &subject.node, chosen, subject.inventory.as_ref(), policy)
            .map_err(DeployError::Refused)?;
        let (node, image) = (subject.node, subject.image);
        Ok(DeploymentPlan {
            node_id: node.id,
            node_name: node.name,
            image_id: image.id,
            image_name: image.name,
            hostname: checked.hostname,
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
