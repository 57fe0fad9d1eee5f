//! Batches: one request for many nodes. Each node gets a deployment of its own at once, with every check and with its claim;
//! it waits for its turn as a phase of that deployment. A batch lets so many run at a time, and after too many failures
//! no further one begins.
//!
//! [`making`] makes the deployments of a batch, [`turn`] lets them begin.

mod making;
mod turn;

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, QueryBuilder, Sqlite};
use utoipa::ToSchema;

pub(super) use making::{InHand, Place};
pub use turn::Turn;
pub(super) use turn::turn_of;

use super::{
    Deployments,
    error::DeployError,
    record::Deployment,
    request::DeployRequest,
    state::{DeploymentState, Phase, Step},
};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, NewEvent, doing},
    identity::{Caller, Viewer},
    inventory::NodeProblem,
};

/// Nodes of one batch.
pub const MAX_NODES: usize = 500;
/// Deployments that run at a time unless the request says otherwise.
const AT_ONCE: u32 = 20;

/// One request for many nodes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Id, name, UUID, serial number or MAC address of each node; at most 500.
    pub nodes: Vec<String>,
    /// What each of them gets; its own `node` stays empty.
    pub deployment: DeployRequest,
    /// Deployments that run at a time; 20 when it is left out.
    #[serde(default)]
    pub at_once: Option<u32>,
    /// Failures after which no further one begins; any number when it is left out.
    #[serde(default)]
    pub stop_after: Option<u32>,
}

/// A node that did not come into a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedNode {
    /// As it was asked for.
    pub node: String,
    /// The type of the problem: "node-not-available".
    pub problem: String,
    /// Why.
    pub detail: String,
    /// What the operator can do.
    pub remedy: String,
}

/// A node of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchNode {
    /// The node.
    pub node_id: String,
    /// Its name; empty: it is gone.
    pub node: String,
    /// Its deployment.
    pub deployment_id: String,
    /// How that stands.
    pub state: DeploymentState,
    /// It waits for its turn.
    pub queued: bool,
    /// The step that was reached.
    pub step: Step,
    /// Why it failed.
    pub problem: Option<NodeProblem>,
}

/// How many of a batch stand how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchCounts {
    /// Wait for their turn, or are about to get their deployment.
    pub queued: u32,
    /// Run.
    pub running: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended otherwise.
    pub failed: u32,
    /// Were stopped.
    pub cancelled: u32,
    /// Did not come into it.
    pub refused: u32,
}

/// A batch, with a report of each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Batch {
    /// ULID.
    pub id: String,
    /// Whose it is: the project that asked for it.
    pub project_id: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The image, as it was asked for.
    pub image_name: String,
    /// Deployments that run at a time.
    pub at_once: u32,
    /// Failures after which no further one begins; null: any number.
    pub stop_after: Option<u32>,
    /// When it was stopped; null: it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stopped_at: Option<Timestamp>,
    /// Why.
    pub stop_reason: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Every deployment has ended.
    pub ended: bool,
    /// How many stand how.
    pub counts: BatchCounts,
    /// Those that came into it; of one batch only, not in lists.
    pub nodes: Vec<BatchNode>,
    /// Those that did not.
    pub refused: Vec<RefusedNode>,
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    project_id: String,
    requested_by: String,
    image_name: String,
    at_once: u32,
    stop_after: Option<u32>,
    stopped_at: Option<i64>,
    stop_reason: String,
    refused: String,
    created_at: i64,
}

impl Deployments {
    /// The batch with this id, with each of its nodes.
    pub async fn batch(&self, viewer: &Viewer, id: &str) -> Result<Batch, DeployError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM batches WHERE id = ?")
            .bind(id.to_uppercase())
            .fetch_optional(&self.db)
            .await
            .map_err(doing("read the batch"))?;
        let row = row.filter(|row| viewer.sees(&row.project_id));
        let row = row.ok_or_else(|| DeployError::NoBatch(id.chars().take(64).collect()))?;
        let deployments: Vec<Deployment> =
            sqlx::query_as("SELECT * FROM deployments WHERE batch_id = ? ORDER BY id")
                .bind(&row.id)
                .fetch_all(&self.db)
                .await
                .map_err(doing("read the deployments of the batch"))?;
        let names: Vec<(String, String)> = sqlx::query_as(
            "SELECT n.id, n.name FROM nodes n JOIN deployments d ON d.node_id = n.id WHERE d.batch_id = ?",
        )
        .bind(&row.id)
        .fetch_all(&self.db)
        .await
        .map_err(doing("read the nodes of the batch"))?;
        let mut names: HashMap<String, String> = names.into_iter().collect();
        let mut batch = self.with_counts(row).await?;
        batch.nodes = deployments
            .into_iter()
            .map(|deployment| BatchNode {
                node: names.remove(&deployment.node_id).unwrap_or_default(),
                queued: deployment.phase == Phase::Queued,
                node_id: deployment.node_id,
                deployment_id: deployment.id,
                state: deployment.state,
                step: deployment.step,
                problem: deployment.problem,
            })
            .collect();
        Ok(batch)
    }

    /// The newest batches that the viewer may see, without their nodes.
    pub async fn batches(&self, viewer: &Viewer) -> Result<Vec<Batch>, DeployError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM batches WHERE 1 = 1");
        if let Some(project) = viewer.project() {
            sql.push(" AND project_id = ").push_bind(project);
        }
        sql.push(" ORDER BY id DESC LIMIT 100");
        let rows: Vec<Row> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list batches"))?;
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows {
            batches.push(self.with_counts(row).await?);
        }
        Ok(batches)
    }

    async fn with_counts(&self, row: Row) -> Result<Batch, DeployError> {
        let counted: Vec<(String, bool, u32)> = sqlx::query_as(
            "SELECT state, phase = 'queued', count(*) FROM deployments WHERE batch_id = ?1 GROUP BY 1, 2 \
             UNION ALL SELECT 'running', 1, count(*) FROM batch_pending WHERE batch_id = ?1",
        )
        .bind(&row.id)
        .fetch_all(&self.db)
        .await
        .map_err(doing("count the deployments of the batch"))?;
        let refused: Vec<RefusedNode> = document(&row.refused)?;
        let mut counts = BatchCounts {
            refused: u32::try_from(refused.len()).unwrap_or(u32::MAX),
            ..BatchCounts::default()
        };
        for (state, queued, count) in counted {
            *match (state.parse(), queued) {
                (Ok(DeploymentState::Running), true) => &mut counts.queued,
                (Ok(DeploymentState::Running), false) => &mut counts.running,
                (Ok(DeploymentState::Succeeded), _) => &mut counts.succeeded,
                (Ok(DeploymentState::Cancelled), _) => &mut counts.cancelled,
                (Ok(DeploymentState::Failed) | Err(_), _) => &mut counts.failed,
            } += count;
        }
        Ok(Batch {
            ended: counts.queued + counts.running == 0,
            id: row.id,
            project_id: row.project_id,
            requested_by: row.requested_by,
            image_name: row.image_name,
            at_once: row.at_once,
            stop_after: row.stop_after,
            stopped_at: row.stopped_at.map(timestamp_from_ms),
            stop_reason: row.stop_reason,
            created_at: timestamp_from_ms(row.created_at),
            counts,
            nodes: Vec::new(),
            refused,
        })
    }

    /// No further deployment of the batch begins; those that run go on, unless `running` stops them as well.
    pub async fn cancel_batch(&self, by: &Caller, id: &str, running: bool) -> Result<Batch, DeployError> {
        let batch = self.batch(&by.viewer(), id).await?;
        if batch.ended {
            return Ok(batch);
        }
        self.stop_batch(&batch.id, &format!("{} stopped it", by.name))
            .await?;
        // What it has still to make is not made any more.
        self.make_batch(&batch.id, usize::MAX).await?;
        if running {
            let batch = self.batch(&by.viewer(), &batch.id).await?;
            for node in batch
                .nodes
                .iter()
                .filter(|node| node.state == DeploymentState::Running && !node.queued)
            {
                match self.cancel(by, &node.deployment_id).await {
                    // It has ended meanwhile.
                    Ok(_) | Err(DeployError::Ended { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.reconcile_batches().await?;
        self.batch(&by.viewer(), &batch.id).await
    }

    async fn stop_batch(&self, id: &str, reason: &str) -> Result<(), DeployError> {
        let mut change = self.events.begin().await?;
        let stopped = sqlx::query(
            "UPDATE batches SET stopped_at = ?, stop_reason = ? WHERE id = ? AND stopped_at IS NULL",
        )
        .bind(self.clock.now_ms())
        .bind(reason)
        .bind(id)
        .execute(change.connection())
        .await
        .map_err(doing("stop the batch"))?;
        if stopped.rows_affected() == 0 {
            return Ok(());
        }
        change
            .append(NewEvent {
                kind: "batch.stopped",
                node_id: None,
                deployment_id: None,
                message: format!("The batch {id} begins no further deployment: {reason}."),
                details: json!({ "batch_id": id, "reason": reason }),
            })
            .await?;
        Ok(change.commit().await?)
    }
}

/// What is kept of a batch as JSON.
fn document<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(|error| doing("read the batch")(sqlx::Error::Decode(Box::new(error))))
}

fn check(request: &BatchRequest, at_once: u32) -> Result<(), DeployError> {
    let bad = |text: String| Err(DeployError::BadTerms(text));
    if request.nodes.is_empty() || request.nodes.len() > MAX_NODES {
        return bad(format!(
            "a batch has 1 to {MAX_NODES} nodes, and {} are named",
            request.nodes.len()
        ));
    }
    if at_once == 0 {
        return bad("a batch that runs 0 at a time never ends".to_owned());
    }
    if !request.deployment.node.is_empty() {
        return bad("the nodes of a batch are named in `nodes`, not in `deployment.node`".to_owned());
    }
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if request.nodes.len() > 1 && (given(&request.deployment.hostname) || given(&request.deployment.volume)) {
        return bad("one host name, or one volume, cannot be that of several nodes".to_owned());
    }
    if request.deployment.dry_run {
        return bad(
            "a batch has no dry run: ask for the plan of each node (POST /v1/deployments)".to_owned(),
        );
    }
    Ok(())
}
