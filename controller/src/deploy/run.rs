//! The reconciler: ends what waits too long.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;
use sqlx::{AssertSqlSafe, FromRow, Row, sqlite::SqliteRow};

use super::{
    Deployments,
    advance::{News, TaskFacts},
    decide::{Decision, decide},
    error::DeployError,
    record::Deployment,
};
use crate::{
    api::rest::problem::chain,
    app::App,
    db,
    events::{NewEvent, doing},
    ticks::Ticks,
};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often it is kept when nodes were last heard of, in ticks.
const SEEN_EVERY: u64 = 10;
/// How often the keys of deleted images are looked for, in ticks.
const KEYS_EVERY: u64 = 5;

/// Looks at the deadlines of all running deployments until the controller ends.
pub async fn run(app: App) {
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    let mut number = 0_u64;
    while ticks.next().await {
        if let Err(error) = app.deployments.reconcile().await {
            tracing::error!(error = %chain(&error), "the deadlines of deployments could not be looked at");
        }
        if number.is_multiple_of(KEYS_EVERY) {
            app.deployments.destroy_image_keys().await;
        }
        if number.is_multiple_of(SEEN_EVERY) {
            app.nodes.keep_seen().await;
        }
        app.deployments.scrub().await;
        number += 1;
    }
}

impl Deployments {
    /// Empties the database's log when secrets were deleted: until then it still holds them.
    pub(super) async fn scrub(&self) {
        if !self.unscrubbed.swap(false, Ordering::SeqCst) {
            return;
        }
        match db::empty_log(&self.db).await {
            Ok(true) => {}
            // Somebody reads or writes just now.
            Ok(false) => self.unscrubbed.store(true, Ordering::SeqCst),
            Err(error) => {
                self.unscrubbed.store(true, Ordering::SeqCst);
                tracing::warn!(%error, "the database's log could not be emptied");
            }
        }
    }

    /// Looks once at every running deployment.
    pub async fn reconcile(&self) -> Result<(), DeployError> {
        self.follow_clock().await?;
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT d.*, {} FROM deployments d JOIN deployment_tasks t ON t.task_id = d.task_id {} \
             WHERE d.state = 'running' AND d.phase <> 'queued'",
            TaskFacts::columns(),
            TaskFacts::joins()
        )))
        .fetch_all(&self.db)
        .await
        .map_err(doing("list the running deployments"))?;
        for row in rows {
            // What one row holds must not stop all others.
            let read = Deployment::from_row(&row).and_then(|it| Ok((it, TaskFacts::from_row(&row)?)));
            let (deployment, task) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.tell_unreadable(&row, error).await;
                    continue;
                }
            };
            let facts = self.facts(&deployment, task, &News::default());
            if matches!(decide(deployment.phase, &facts), Decision::Stay { .. }) {
                continue;
            }
            if let Err(error) = self.advance(&deployment.id).await {
                tracing::error!(deployment.id = deployment.id, error = %chain(&error), "a deployment could not go on");
            }
        }
        self.make_batches().await?;
        self.reconcile_batches().await
    }

    /// Once for each row and start of the controller.
    async fn tell_unreadable(&self, row: &SqliteRow, error: sqlx::Error) {
        let text = |column: &str| row.try_get::<String, _>(column).unwrap_or_default();
        let (id, node_id) = (text("id"), text("node_id"));
        if !self.unreadable.may_tell(&id, self.clock.now()) {
            return;
        }
        let error = doing("read a running deployment")(error);
        let cause = chain(&error);
        tracing::error!(deployment.id = id, error = cause, "a deployment stands still");
        let told = self.events.append(NewEvent {
            kind: "alarm.deployment-unreadable",
            node_id: Some(&node_id).filter(|id| !id.is_empty()).map(String::as_str),
            deployment_id: Some(&id),
            message: format!(
                "Deployment {id} stands still, since this controller cannot read what it wrote down of it: {cause}. \
                 Install the version that wrote it, or restore the data folder from a backup."
            ),
            details: json!({ "cause": cause }),
        });
        if let Err(error) = told.await {
            tracing::error!(deployment.id = id, error = %chain(&error), "the alarm could not be kept");
        }
    }
}
