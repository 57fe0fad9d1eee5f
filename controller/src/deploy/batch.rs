//! Batches: one request for many nodes. Each node gets a deployment of its own at once, with every check and with its claim;
//! it waits for its turn as a phase of that deployment. A batch lets so many run at a time, and after too many failures
//! no further one begins.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    Deployments,
    error::DeployError,
    record::Deployment,
    request::DeployRequest,
    state::{DeploymentState, Phase, Step},
};
use crate::{
    api::rest::problem::{Problem, chain},
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
#[derive(Debug, Clone, Deserialize, ToSchema)]
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
    /// Wait for their turn.
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

/// Whether a deployment's turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has: at once where there is no batch.
    Now,
    /// So many are before it.
    Behind(u32),
    /// It will not come.
    Never,
}

/// What a batch that has something queued does next.
#[derive(Debug, FromRow)]
struct Standing {
    id: String,
    at_once: u32,
    stop_after: Option<u32>,
    stopped_at: Option<i64>,
    running: u32,
    failed: u32,
}

impl Deployments {
    /// Makes a deployment for each node; those that cannot have one are named with the reason. Refused as a whole only
    /// where no node comes into it.
    pub async fn create_batch(&self, by: &Caller, request: &BatchRequest) -> Result<Batch, DeployError> {
        let at_once = request.at_once.unwrap_or(AT_ONCE);
        check(request, at_once)?;
        let id = Ulid::generate().to_string();
        let image = match request
            .deployment
            .family
            .as_deref()
            .filter(|family| !family.is_empty())
        {
            Some(family) => format!("family {family}"),
            None => request.deployment.image.clone(),
        };
        sqlx::query(
            "INSERT INTO batches (id, project_id, requested_by, image_name, at_once, stop_after, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&by.project_id)
        .bind(by.author().actor.unwrap_or_default())
        .bind(&image)
        .bind(at_once)
        .bind(request.stop_after)
        .bind(self.clock.now_ms())
        .execute(&self.db)
        .await
        .map_err(doing("make the batch"))?;

        let (mut refused, mut last) = (Vec::new(), None);
        for node in &request.nodes {
            let each = DeployRequest {
                node: node.clone(),
                dry_run: false,
                ..request.deployment.clone()
            };
            if let Err(error) = self.create_in(by, &each, None, Some(&id)).await {
                let problem: Problem = error.into();
                if problem.status.is_server_error() {
                    self.stop_batch(&id, "the controller could not make all of its deployments")
                        .await?;
                    return Err(DeployError::Fault(Box::new(problem)));
                }
                refused.push(RefusedNode {
                    node: node.chars().take(200).collect(),
                    problem: problem.kind.to_owned(),
                    detail: problem.detail.clone(),
                    remedy: problem.remedy.clone(),
                });
                last = Some(problem);
            }
        }
        if let Some(problem) = last.filter(|_| refused.len() == request.nodes.len()) {
            // Nothing has come of it.
            sqlx::query("DELETE FROM batches WHERE id = ?")
                .bind(&id)
                .execute(&self.db)
                .await
                .map_err(doing("forget the batch"))?;
            return Err(DeployError::Fault(Box::new(problem)));
        }
        let mut change = self.events.begin_by(by.author()).await?;
        sqlx::query("UPDATE batches SET refused = ? WHERE id = ?")
            .bind(json!(refused).to_string())
            .bind(&id)
            .execute(change.connection())
            .await
            .map_err(doing("keep which nodes were refused"))?;
        let begun = request.nodes.len() - refused.len();
        change
            .append(NewEvent {
                kind: "batch.created",
                node_id: None,
                deployment_id: None,
                message: format!(
                    "A batch of {begun} deployments was begun: image {image}, {at_once} at a time; {} nodes were refused.",
                    refused.len()
                ),
                details: json!({
                    "batch_id": id, "nodes": begun, "refused": refused.len(), "at_once": at_once,
                    "stop_after": request.stop_after, "by": by.name,
                }),
            })
            .await?;
        change.commit().await?;
        self.reconcile_batches().await?;
        self.batch(&by.viewer(), &id).await
    }

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
            "SELECT state, phase = 'queued', count(*) FROM deployments WHERE batch_id = ? GROUP BY 1, 2",
        )
        .bind(&row.id)
        .fetch_all(&self.db)
        .await
        .map_err(doing("count the deployments of the batch"))?;
        let refused: Vec<RefusedNode> = serde_json::from_str(&row.refused)
            .map_err(|error| doing("read the batch")(sqlx::Error::Decode(Box::new(error))))?;
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
        if running {
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

    /// Lets those begin whose turn has come, and stops what has failed too often.
    pub(super) async fn reconcile_batches(&self) -> Result<(), DeployError> {
        let standing: Vec<Standing> = sqlx::query_as(
            "SELECT b.id, b.at_once, b.stop_after, b.stopped_at, \
             (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'running' AND phase <> 'queued') AS running, \
             (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'failed') AS failed \
             FROM batches b WHERE b.id IN (SELECT batch_id FROM deployments WHERE state = 'running' AND phase = 'queued')",
        )
        .fetch_all(&self.db)
        .await
        .map_err(doing("look at the batches"))?;
        for batch in standing {
            let too_many = batch.stop_after.is_some_and(|limit| batch.failed >= limit.max(1));
            if too_many && batch.stopped_at.is_none() {
                let reason = format!("{} of its deployments have failed", batch.failed);
                self.stop_batch(&batch.id, &reason).await?;
            }
            let room = if too_many || batch.stopped_at.is_some() {
                u32::MAX
            } else {
                batch.at_once.saturating_sub(batch.running)
            };
            let next: Vec<String> = sqlx::query_scalar(
                "SELECT id FROM deployments WHERE batch_id = ? AND state = 'running' AND phase = 'queued' ORDER BY id LIMIT ?",
            )
            .bind(&batch.id)
            .bind(room)
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for whose turn it is"))?;
            for id in next {
                if let Err(error) = self.advance(&id).await {
                    tracing::error!(deployment.id = id, error = %chain(&error), "a deployment could not begin");
                }
            }
        }
        Ok(())
    }
}

/// Whether the turn of a deployment has come.
pub(super) async fn turn_of(
    connection: &mut SqliteConnection,
    deployment: &Deployment,
) -> Result<Turn, DatabaseError> {
    let Some(batch_id) = deployment
        .batch_id
        .as_deref()
        .filter(|_| deployment.phase == Phase::Queued)
    else {
        return Ok(Turn::Now);
    };
    let row: Option<(u32, bool, u32, u32)> = sqlx::query_as(
        "SELECT b.at_once, b.stopped_at IS NOT NULL, \
         (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'running' AND phase <> 'queued'), \
         (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'running' AND phase = 'queued' AND id < ?2) \
         FROM batches b WHERE b.id = ?1",
    )
    .bind(batch_id)
    .bind(&deployment.id)
    .fetch_optional(connection)
    .await
    .map_err(doing("look whose turn it is"))?;
    Ok(match row {
        None | Some((_, true, ..)) => Turn::Never,
        Some((at_once, false, running, before)) if running + before < at_once => Turn::Now,
        Some((.., before)) => Turn::Behind(before),
    })
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
