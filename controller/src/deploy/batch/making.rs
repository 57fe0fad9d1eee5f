//! A batch is made: each of its nodes gets a deployment or a refusal.
//!
//! What is still to be made is written down with the batch itself, and the row of a node goes in the transaction that makes
//! its deployment, or keeps its refusal. A controller that was killed in between, or whose caller is gone, goes on with the
//! rows that are left; two that make the same batch at the same time make nothing twice.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use http::StatusCode;
use jiff::SignedDuration;
use serde_json::json;
use sqlx::{FromRow, SqliteConnection};
use ulid::Ulid;

use super::{AT_ONCE, Batch, BatchRequest, RefusedNode, check, document};
use crate::{
    api::rest::problem::{Problem, chain},
    clock::timestamp_from_ms,
    deploy::{
        Deployments,
        error::DeployError,
        repeated::{Keyed, Made},
        request::DeployRequest,
    },
    events::{DatabaseError, NewEvent, doing},
    identity::{Asker, Caller, Permission},
};

/// Nodes of a batch that the reconciler makes at a time: whatever else waits for it does not wait long.
const AT_A_TIME: usize = 20;
/// So many nodes that the controller itself could not make are enough for one time.
const MAX_FAULTS: usize = 3;
/// How long it is tried again; then the fault is why the node has no deployment.
const TRIES_FOR: SignedDuration = SignedDuration::from_mins(10);

/// A node's place in a batch that is still to be made.
#[derive(Debug, Clone, Copy)]
pub(in crate::deploy) struct Place<'a> {
    /// The batch.
    pub batch_id: &'a str,
    /// Where in the list of its nodes.
    pub position: i64,
}

impl Place<'_> {
    /// Nothing is to be made there any more. False: that was so already.
    pub(in crate::deploy) async fn leave(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<bool, DatabaseError> {
        let left = sqlx::query("DELETE FROM batch_pending WHERE batch_id = ? AND position = ?")
            .bind(self.batch_id)
            .bind(self.position)
            .execute(connection)
            .await
            .map_err(doing("take a place in the batch"))?;
        Ok(left.rows_affected() == 1)
    }
}

/// Batches that a request is just making: the reconciler leaves those alone. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::deploy) struct InHand(Arc<Mutex<HashSet<String>>>);

/// A batch is in hand, until this is dropped: with the request that makes it, however that ends.
#[derive(Debug)]
struct Hand {
    all: InHand,
    id: String,
}

impl InHand {
    fn take(&self, id: &str) -> Hand {
        self.lock().insert(id.to_owned());
        Hand {
            all: self.clone(),
            id: id.to_owned(),
        }
    }

    fn has(&self, id: &str) -> bool {
        self.lock().contains(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

/// What is kept of a request until all of it is made.
#[derive(FromRow)]
struct Row {
    request: String,
    caller: String,
    nodes: i64,
    image_name: String,
    at_once: u32,
    stop_after: Option<u32>,
    created_at: i64,
}

/// A node without a deployment.
struct Refused {
    position: i64,
    node: String,
    problem: Problem,
}

impl Refused {
    fn told(&self) -> RefusedNode {
        RefusedNode {
            node: self.node.chars().take(200).collect(),
            problem: self.problem.kind.to_owned(),
            detail: self.problem.detail.clone(),
            remedy: self.problem.remedy.clone(),
        }
    }
}

impl Deployments {
    /// Makes a deployment for each node; those that cannot have one are named with the reason. Refused as a whole only
    /// where no node comes into it. With a key, a repeated request is answered with the same batch.
    ///
    /// # Errors
    /// By a fault of the controller not all may be made: then the reconciler goes on with the rest.
    pub async fn create_batch(
        &self,
        by: &Caller,
        request: &BatchRequest,
        key: Option<&str>,
    ) -> Result<Batch, DeployError> {
        let at_once = request.at_once.unwrap_or(AT_ONCE);
        check(request, at_once)?;
        let keyed = key
            .map(|key| Keyed::new(by, key, request, &self.request_key))
            .transpose()?;
        let new = Ulid::generate().to_string();
        let _hand = self.in_hand.take(&new);
        let id = self
            .keep_batch(by, request, (&new, at_once), keyed.as_ref())
            .await?;
        if let Some(problem) = self.make_batch(&id, usize::MAX).await? {
            return Err(DeployError::Fault(Box::new(problem)));
        }
        self.reconcile_batches().await?;
        self.batch(&by.viewer(), &id).await
    }

    /// Writes down what is to be made. The id is that of an earlier batch where this request was sent again.
    async fn keep_batch(
        &self,
        by: &Caller,
        request: &BatchRequest,
        (id, at_once): (&str, u32),
        keyed: Option<&Keyed>,
    ) -> Result<String, DeployError> {
        let wanted = &request.deployment;
        let image = match wanted.family.as_deref().filter(|family| !family.is_empty()) {
            Some(family) => format!("family {family}"),
            None => wanted.image.clone(),
        };
        let mut change = self.events.begin_by(by.author()).await?;
        if let Some(keyed) = keyed
            && let Some(earlier) = keyed.earlier(change.connection()).await?
        {
            drop(change);
            self.events.settled().await?;
            return Ok(earlier);
        }
        let now = self.clock.now_ms();
        sqlx::query(
            "INSERT INTO batches (id, project_id, requested_by, image_name, at_once, stop_after, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&by.project_id)
        .bind(by.author().actor.unwrap_or_default())
        .bind(&image)
        .bind(at_once)
        .bind(request.stop_after)
        .bind(now)
        .execute(change.connection())
        .await
        .map_err(doing("make the batch"))?;
        sqlx::query("INSERT INTO batch_requests (batch_id, request, caller, nodes) VALUES (?, ?, ?, ?)")
            .bind(id)
            .bind(json!(wanted).to_string())
            .bind(json!(by.asker()).to_string())
            .bind(i64::try_from(request.nodes.len()).unwrap_or(i64::MAX))
            .execute(change.connection())
            .await
            .map_err(doing("keep what the batch is to make"))?;
        for (position, node) in (0_i64..).zip(&request.nodes) {
            sqlx::query("INSERT INTO batch_pending (batch_id, position, node) VALUES (?, ?, ?)")
                .bind(id)
                .bind(position)
                .bind(node)
                .execute(change.connection())
                .await
                .map_err(doing("keep the nodes of the batch"))?;
        }
        if let Some(keyed) = keyed {
            keyed.keep(change.connection(), Made::Batch(id), now).await?;
        }
        change.commit().await?;
        Ok(id.to_owned())
    }

    /// Goes on with the batches that nobody makes: their controller was killed, or their caller is gone.
    pub(in crate::deploy) async fn make_batches(&self) -> Result<(), DeployError> {
        let unmade: Vec<String> = sqlx::query_scalar("SELECT batch_id FROM batch_requests ORDER BY batch_id")
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for batches that are not made"))?;
        for id in unmade {
            if self.in_hand.has(&id) {
                continue;
            }
            if let Err(error) = self.make_batch(&id, AT_A_TIME).await {
                tracing::error!(batch.id = id, error = %chain(&error), "not all deployments of a batch could be made");
            }
        }
        Ok(())
    }

    /// Makes at most so many of what a batch has still to make. The answer is the reason where nothing has come of all of
    /// it: then there is no such batch any more.
    pub(super) async fn make_batch(&self, id: &str, most: usize) -> Result<Option<Problem>, DeployError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT r.request, r.caller, r.nodes, b.image_name, b.at_once, b.stop_after, b.created_at \
             FROM batch_requests r JOIN batches b ON b.id = r.batch_id WHERE b.id = ?",
        )
        .bind(id)
        .fetch_optional(&self.db)
        .await
        .map_err(doing("read what the batch is to make"))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let by = document::<Asker>(&row.caller)?.caller(Permission::WriteDeployments);
        let wanted: DeployRequest = document(&row.request)?;
        let tried_since = timestamp_from_ms(row.created_at).max(self.watch.since());
        let again = self.clock.now().duration_since(tried_since) < TRIES_FOR;
        let pending: Vec<(i64, String)> = sqlx::query_as(
            "SELECT position, node FROM batch_pending WHERE batch_id = ? ORDER BY position LIMIT ?",
        )
        .bind(id)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.db)
        .await
        .map_err(doing("read which nodes of the batch are to come"))?;

        let (mut refused, mut faults) = (Vec::new(), Vec::new());
        for (position, node) in pending {
            let problem = if self.is_stopped(id).await? {
                stopped()
            } else {
                let each = DeployRequest {
                    node: node.clone(),
                    dry_run: false,
                    ..wanted.clone()
                };
                let place = Place {
                    batch_id: id,
                    position,
                };
                match self.create_in(&by, &each, None, Some(place)).await {
                    Ok(_) => continue,
                    Err(error) => Problem::from(error),
                }
            };
            if problem.status.is_server_error() && again {
                faults.push(problem);
                if faults.len() == MAX_FAULTS {
                    break;
                }
                continue;
            }
            refused.push(Refused {
                position,
                node,
                problem,
            });
        }
        let nothing_came = self.keep_refused(id, &by, &row, &refused).await?;
        if let Some(fault) = faults.pop() {
            return Err(DeployError::Fault(Box::new(fault)));
        }
        Ok(refused.pop().map(|last| last.problem).filter(|_| nothing_came))
    }

    async fn is_stopped(&self, id: &str) -> Result<bool, DeployError> {
        let stopped: Option<bool> =
            sqlx::query_scalar("SELECT stopped_at IS NOT NULL FROM batches WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.db)
                .await
                .map_err(doing("look whether the batch was stopped"))?;
        Ok(stopped.unwrap_or(true))
    }

    /// Keeps which nodes were refused. When no node is left, the batch is told, and its request forgotten; or the whole of it,
    /// which is true, where nothing has come of it.
    async fn keep_refused(
        &self,
        id: &str,
        by: &Caller,
        row: &Row,
        refused: &[Refused],
    ) -> Result<bool, DeployError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let known: Option<(String, bool)> =
            sqlx::query_as("SELECT refused, stopped_at IS NOT NULL FROM batches WHERE id = ?")
                .bind(id)
                .fetch_optional(change.connection())
                .await
                .map_err(doing("read which nodes were refused"))?;
        let Some((known, stopped)) = known else {
            return Ok(true);
        };
        let mut all: Vec<RefusedNode> = document(&known)?;
        for one in refused {
            let place = Place {
                batch_id: id,
                position: one.position,
            };
            // Somebody else may have made it meanwhile.
            if place.leave(change.connection()).await? {
                all.push(one.told());
            }
        }
        sqlx::query("UPDATE batches SET refused = ? WHERE id = ?")
            .bind(json!(all).to_string())
            .bind(id)
            .execute(change.connection())
            .await
            .map_err(doing("keep which nodes were refused"))?;
        let made = sqlx::query(
            "DELETE FROM batch_requests WHERE batch_id = ?1 \
             AND NOT EXISTS (SELECT 1 FROM batch_pending WHERE batch_id = ?1)",
        )
        .bind(id)
        .execute(change.connection())
        .await
        .map_err(doing("forget what the batch was to make"))?;
        if made.rows_affected() == 0 {
            change.commit().await?;
            return Ok(false);
        }
        // Noted while the write lock is held: the log cannot be emptied before this is committed.
        self.unscrubbed.store(true, Ordering::SeqCst);
        let refused = i64::try_from(all.len()).unwrap_or(i64::MAX);
        if refused == row.nodes && !stopped {
            sqlx::query("DELETE FROM batches WHERE id = ?")
                .bind(id)
                .execute(change.connection())
                .await
                .map_err(doing("forget the batch"))?;
            change.commit().await?;
            return Ok(true);
        }
        let begun = row.nodes - refused;
        let (image, at_once) = (&row.image_name, row.at_once);
        change
            .append(NewEvent {
                kind: "batch.created",
                node_id: None,
                deployment_id: None,
                message: format!(
                    "A batch of {begun} deployments was begun: image {image}, {at_once} at a time; {refused} nodes were refused."
                ),
                details: json!({
                    "batch_id": id, "nodes": begun, "refused": refused, "at_once": at_once,
                    "stop_after": row.stop_after, "by": by.name,
                }),
            })
            .await?;
        change.commit().await?;
        Ok(false)
    }
}

/// Why a node of a batch that was stopped early has no deployment.
fn stopped() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "batch-stopped",
        "The batch was stopped",
        "The batch was stopped before the node got its deployment.",
        "Nothing was done to it. Deploy it by itself or in another batch, if that is still wanted.",
    )
}
