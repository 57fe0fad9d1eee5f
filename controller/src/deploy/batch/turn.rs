//! Whose turn it is: so many of a batch at a time, none on a node in maintenance, and none after too many failures.

use jiff::Timestamp;
use sqlx::{FromRow, SqliteConnection};

use crate::{
    api::rest::problem::chain,
    deploy::{Deployments, advance::seconds, error::DeployError, record::Deployment, state::Phase},
    events::{DatabaseError, doing},
};

/// Whether a deployment's turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has: at once where there is no batch.
    Now,
    /// So many are before it.
    Behind(u32),
    /// Its node is in maintenance: others go before it.
    Maintenance,
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

/// How a deployment stands in its batch.
#[derive(Debug, FromRow)]
struct Line {
    at_once: u32,
    stopped: bool,
    stop_after: Option<u32>,
    failed: u32,
    maintenance: bool,
    running: u32,
    ahead: u32,
}

impl Deployments {
    /// Lets those begin whose turn has come, and stops what has failed too often.
    pub(in crate::deploy) async fn reconcile_batches(&self) -> Result<(), DeployError> {
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
            let too_many = are_too_many(batch.failed, batch.stop_after);
            if too_many && batch.stopped_at.is_none() {
                let reason = format!("{} of its deployments have failed", batch.failed);
                self.stop_batch(&batch.id, &reason).await?;
            }
            let stopped = too_many || batch.stopped_at.is_some();
            let room = if stopped {
                u32::MAX
            } else {
                batch.at_once.saturating_sub(batch.running)
            };
            // A node in maintenance takes no place of those that may begin; of a batch that was stopped all end.
            let next: Vec<String> = sqlx::query_scalar(
                "SELECT d.id FROM deployments d JOIN nodes n ON n.id = d.node_id \
                 WHERE d.batch_id = ? AND d.state = 'running' AND d.phase = 'queued' AND (? OR n.maintenance IS NULL) \
                 ORDER BY d.id LIMIT ?",
            )
            .bind(&batch.id)
            .bind(stopped)
            .bind(room)
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for whose turn it is"))?;
            self.advance_all(next).await;
        }
        self.end_queued().await
    }

    /// Those that end in the queue, whoever's turn it is: they were cancelled, or have waited too long.
    async fn end_queued(&self) -> Result<(), DeployError> {
        let longest = seconds(self.timeouts.queue_seconds);
        // As decided: nothing has waited since before this controller began to watch.
        let late = (self.clock.now().checked_sub(longest).ok())
            .filter(|at| *at >= self.watch.since())
            .map_or(i64::MIN, Timestamp::as_millisecond);
        let ending: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM deployments WHERE state = 'running' AND phase = 'queued' \
             AND (cancel_requested_at IS NOT NULL OR moved_at <= ?) ORDER BY id",
        )
        .bind(late)
        .fetch_all(&self.db)
        .await
        .map_err(doing("look for what has waited too long for its turn"))?;
        self.advance_all(ending).await;
        Ok(())
    }

    async fn advance_all(&self, ids: Vec<String>) {
        for id in ids {
            if let Err(error) = self.advance(&id).await {
                tracing::error!(deployment.id = id, error = %chain(&error), "a deployment could not go on");
            }
        }
    }
}

/// Whether so many failures stop a batch.
fn are_too_many(failed: u32, stop_after: Option<u32>) -> bool {
    stop_after.is_some_and(|limit| failed >= limit.max(1))
}

/// Whether the turn of a deployment has come.
pub(in crate::deploy) async fn turn_of(
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
    let line: Option<Line> = sqlx::query_as(
        "SELECT b.at_once, b.stopped_at IS NOT NULL AS stopped, \
         b.stop_after, (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'failed') AS failed, \
         EXISTS (SELECT 1 FROM nodes WHERE id = ?3 AND maintenance IS NOT NULL) AS maintenance, \
         (SELECT count(*) FROM deployments WHERE batch_id = b.id AND state = 'running' AND phase <> 'queued') AS running, \
         (SELECT count(*) FROM deployments d JOIN nodes n ON n.id = d.node_id WHERE d.batch_id = b.id \
          AND d.state = 'running' AND d.phase = 'queued' AND d.id < ?2 AND n.maintenance IS NULL) AS ahead \
         FROM batches b WHERE b.id = ?1",
    )
    .bind(batch_id)
    .bind(&deployment.id)
    .bind(&deployment.node_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("look whose turn it is"))?;
    let begins =
        |line: &Line| !are_too_many(line.failed, line.stop_after) && line.running + line.ahead < line.at_once;
    Ok(match line {
        None => Turn::Never,
        Some(line) if line.stopped => Turn::Never,
        Some(line) if line.maintenance => Turn::Maintenance,
        // With too many failures nothing begins any more; the reconciler is about to stop the batch and says why.
        Some(line) if begins(&line) => Turn::Now,
        Some(line) => Turn::Behind(line.ahead),
    })
}
