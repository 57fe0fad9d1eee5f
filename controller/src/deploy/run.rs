//! The reconciler: ends what waits too long.

use std::time::Duration;

use sqlx::{FromRow, Row};
use tokio::time::MissedTickBehavior;

use super::{
    Deployments,
    advance::News,
    decide::{Decision, decide},
    error::DeployError,
    record::Deployment,
};
use crate::{api::rest::problem::chain, app::App, events::doing};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Looks at the deadlines of all running deployments until the controller ends.
pub async fn run(app: App) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = app.deployments.reconcile().await {
            tracing::error!(error = %chain(&error), "the deadlines of deployments could not be looked at");
        }
    }
}

impl Deployments {
    /// Looks once at every running deployment.
    pub async fn reconcile(&self) -> Result<(), DeployError> {
        let rows = sqlx::query(
            "SELECT d.*, t.sequence_taken > 0 AS accepted FROM deployments d \
             JOIN deployment_tasks t ON t.task_id = d.task_id WHERE d.state = 'running'",
        )
        .fetch_all(&self.db)
        .await
        .map_err(doing("list the running deployments"))?;
        for row in rows {
            let deployment = Deployment::from_row(&row).map_err(doing("read a running deployment"))?;
            let accepted: bool = row
                .try_get("accepted")
                .map_err(doing("read a running deployment"))?;
            let facts = self.facts(&deployment, accepted, &News::default());
            if matches!(decide(deployment.phase, &facts), Decision::Stay { .. }) {
                continue;
            }
            if let Err(error) = self.advance(&deployment.id).await {
                tracing::error!(deployment.id = deployment.id, error = %chain(&error), "a deployment could not go on");
            }
        }
        Ok(())
    }
}
