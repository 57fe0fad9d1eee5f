//! Deployments as callers see them.

use imprint_hardware::matching::Answer;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{QueryBuilder, Sqlite};
use utoipa::ToSchema;

use super::{
    Deployments,
    error::DeployError,
    first_boot::FirstBoot,
    image_users::ImageUsers,
    record::{Deployment, WriteFigures},
    rescue::RescueAccess,
    state::{DeploymentState, Purpose, Step},
    steps::{self, StepView},
    taken::{Terms, WipeMethod},
    volume::DiskContent,
};
use crate::{
    events::{Progress, doing},
    identity::Viewer,
    inventory::{Disk, NodeProblem},
};

/// A deployment as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeploymentView {
    /// ULID; also cloud-init's instance id.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// What has taken the node: an installation has an image, a release and a rescue have none.
    pub purpose: Purpose,
    /// The batch that made it; null: a request of its own.
    pub batch_id: Option<String>,
    /// How a release wipes the disks; null: it is none.
    pub wipe: Option<WipeMethod>,
    /// When a rescue ends by itself; null: it is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rescue_until: Option<Timestamp>,
    /// How to get into the server that is rescued; null before its ssh server listens, and after the end.
    pub rescue_access: Option<RescueAccess>,
    /// Whose it is: the project of the node when it was asked for.
    pub project_id: String,
    /// Who asked for it; empty: nobody knows any more.
    pub requested_by: String,
    /// The image.
    pub image_id: String,
    /// The image's name when the deployment was asked for.
    pub image_name: String,
    /// What is to be known of it, though it goes on.
    pub warnings: Vec<String>,
    /// How it stands.
    pub state: DeploymentState,
    /// The step that was reached.
    pub step: Step,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The rule that names the disk.
    pub disk_rule: String,
    /// Name of the hardware model whose rule it is; null: the request's, or none.
    pub disk_rule_model: Option<String>,
    /// The volume that it goes onto; null: a disk of the server.
    pub volume_id: Option<String>,
    /// Where the content comes from.
    pub content: DiskContent,
    /// Host name of the installed system.
    pub hostname: String,
    /// What becomes of users that the image brings.
    pub image_users: ImageUsers,
    /// Why it failed.
    pub problem: Option<NodeProblem>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// All steps so far.
    pub steps: Vec<StepView>,
    /// The newest figures while the agent works.
    pub progress: Option<Progress>,
    /// What the agent counted.
    pub write: Option<WriteFigures>,
    /// The disk that was written.
    pub disk: Option<Disk>,
    /// The boot entry as read back from the firmware.
    pub boot_entry: Option<String>,
    /// What the installed system said.
    pub first_boot: Option<FirstBoot>,
    /// One sentence: what it does, waits for, or failed by.
    pub explanation: String,
    /// Why the image was thought to fit the node; null: nobody knows any more.
    pub fit: Option<Answer>,
    /// When the controller gives up waiting.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
}

/// A page of deployments, by id.
#[derive(Debug, Clone)]
pub struct DeploymentPage {
    /// The deployments.
    pub items: Vec<Deployment>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Deployments {
    /// A deployment with its steps and figures.
    pub async fn view(&self, deployment: Deployment) -> Result<DeploymentView, DeployError> {
        let explanation = self.explanation(&deployment).await?;
        let running = deployment.state == DeploymentState::Running;
        let deadline = if running {
            self.waiting(&deployment).await?.1
        } else {
            None
        };
        let mut connection = self.db.acquire().await.map_err(doing("read the steps"))?;
        let steps = steps::list(&mut connection, &deployment.id).await?;
        let (wipe, rescue) = match deployment.terms {
            Some(Terms::Release { wipe, .. }) => (Some(wipe), None),
            Some(Terms::Rescue(terms)) => (None, Some(terms)),
            None => (None, None),
        };
        Ok(DeploymentView {
            progress: self.events.progress_of(&deployment.node_id, &deployment.id),
            purpose: deployment.purpose,
            batch_id: deployment.batch_id,
            wipe,
            rescue_until: rescue.as_ref().map(|terms| terms.until),
            rescue_access: rescue.and_then(|terms| terms.access),
            id: deployment.id,
            node_id: deployment.node_id,
            project_id: deployment.project_id,
            requested_by: deployment.requested_by,
            image_id: deployment.image_id,
            image_name: deployment.image_name,
            warnings: deployment.warnings,
            state: deployment.state,
            step: deployment.step,
            attempt: deployment.attempt,
            disk_rule: deployment.disk_rule,
            disk_rule_model: deployment.disk_rule_model,
            volume_id: deployment.volume_id,
            content: deployment.content,
            hostname: deployment.hostname,
            image_users: deployment.image_users,
            problem: deployment.problem,
            created_at: deployment.created_at,
            finished_at: deployment.finished_at,
            steps,
            write: deployment.write,
            disk: deployment.disk,
            boot_entry: deployment.boot_entry,
            first_boot: deployment.first_boot,
            explanation,
            fit: deployment.fit,
            deadline,
        })
    }

    /// A page of the deployments that the viewer may see, newest first; only those of one node if it is named.
    pub async fn list(
        &self,
        viewer: &Viewer,
        node: Option<&str>,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<DeploymentPage, DeployError> {
        let limit = match page_size {
            0 => 100,
            size => i64::from(size.min(1000)),
        };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM deployments WHERE 1 = 1");
        if let Some(node) = node.filter(|node| !node.is_empty()) {
            sql.push(" AND node_id = ")
                .push_bind(self.nodes.find(viewer, node).await?.id);
        }
        if let Some(project) = viewer.project() {
            sql.push(" AND project_id = ").push_bind(project);
        }
        if let Some(token) = page_token.filter(|token| !token.is_empty()) {
            let token: ulid::Ulid = token
                .parse()
                .map_err(|_| DeployError::BadPageToken(token.chars().take(40).collect()))?;
            sql.push(" AND id < ").push_bind(token.to_string());
        }
        sql.push(" ORDER BY id DESC LIMIT ").push_bind(limit + 1);
        let mut items: Vec<Deployment> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list deployments"))?;
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = if more {
            items.last().map(|deployment| deployment.id.clone())
        } else {
            None
        };
        Ok(DeploymentPage { items, next })
    }
}
