//! How deployments end: what becomes of the node, of the secrets and of the steps that are open.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Deployments,
    advance::tell,
    error::DeployError,
    history,
    record::Deployment,
    state::{DeploymentState, DiskState, Phase, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    catalog::charge,
    events::{Change, DatabaseError, doing},
    inventory::{self, NodeProblem, NodeState},
};

/// How a deployment came to its good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As was to be expected.
    InTime,
    /// The report came when it had been given up.
    Late,
    /// An operator took the system as it is.
    Accepted,
}

impl Deployments {
    /// Ends it well.
    pub(super) async fn succeed(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        manner: Manner,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let node_state = if deployment.finish || history::has_system(change.connection(), deployment).await? {
            NodeState::Active
        } else {
            NodeState::Available
        };
        if deployment.first_boot.is_some() {
            let waiting = StepChange::new(
                Step::FirstBootReport,
                StepState::Running,
                now,
                match manner {
                    Manner::Accepted => "The system was accepted as it is.",
                    Manner::InTime | Manner::Late => "The installed system has reported.",
                },
            );
            steps::set(change.connection(), &deployment.id, &waiting).await?;
            deployment.step = Step::FirstBootReport;
        }
        steps::end_open(
            change.connection(),
            &deployment.id,
            StepState::Finished,
            now,
            "",
            "",
        )
        .await?;
        self.end(
            change,
            deployment,
            DeploymentState::Succeeded,
            node_state,
            None,
            now,
        )
        .await?;
        charge(change.connection(), &deployment.id, now.as_millisecond())
            .await
            .map_err(doing("write down what the deployment costs"))?;
        let message = match &deployment.first_boot {
            Some(report) => format!(
                "The installed system reported as {} ({}){}: the node is active.{}",
                report.hostname,
                report.os_name,
                match manner {
                    Manner::InTime => "",
                    Manner::Late => ", late: the deployment had been given up",
                    Manner::Accepted => ", and was accepted as it is",
                },
                match report.warnings.as_slice() {
                    [] => String::new(),
                    [one] => format!(" It is to be known: {one}."),
                    [first, more @ ..] => format!(" It is to be known: {first}; and {} more.", more.len()),
                },
            ),
            None if deployment.finish => {
                "The system is on the disk, written and verified; its first boot is not reported, for it has no guest plugin. See \
                 on its console that it starts. The node is active."
                    .to_owned()
            }
            None if node_state == NodeState::Active => {
                "The data disk is written and verified; restart the server to go back to its system."
                    .to_owned()
            }
            None => "The data disk is written and verified.".to_owned(),
        };
        let details = json!({ "late": manner == Manner::Late, "accepted": manner == Manner::Accepted, "node_state": node_state });
        tell(change, deployment, "deployment.succeeded", message, details).await?;
        Ok(())
    }

    pub(super) async fn fail(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        problem: &NodeProblem,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        if let Ok(step) = problem.step.parse::<Step>() {
            steps::set(
                change.connection(),
                &deployment.id,
                &StepChange::new(step, StepState::Retrying, now, ""),
            )
            .await?;
        }
        let (cause, remedy) = (&problem.cause, &problem.remedy);
        // Nothing was ever sent: what the node ran before, it still runs.
        let untouched = !history::was_sent(change.connection(), &deployment.id).await?
            && history::has_system(change.connection(), deployment).await?;
        let node_state = if untouched {
            NodeState::Active
        } else {
            NodeState::Failed
        };
        steps::end_open(
            change.connection(),
            &deployment.id,
            StepState::Failed,
            now,
            cause,
            remedy,
        )
        .await?;
        self.end(
            change,
            deployment,
            DeploymentState::Failed,
            node_state,
            Some(problem),
            now,
        )
        .await?;
        let kept = if untouched {
            " Nothing was written: the node keeps its system and is active."
        } else {
            ""
        };
        let message = format!(
            "The deployment failed in step {}: {cause} {remedy}{kept}",
            problem.step
        );
        let mut details = json!(problem);
        details["node_state"] = json!(node_state);
        tell(change, deployment, "deployment.failed", message, details).await?;
        Ok(())
    }

    pub(super) async fn end_cancelled(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        problem: Option<NodeProblem>,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let node_state = match &problem {
            Some(_) => NodeState::Failed,
            None if history::has_system(change.connection(), deployment).await? => NodeState::Active,
            None => NodeState::Available,
        };
        steps::end_open(
            change.connection(),
            &deployment.id,
            StepState::Failed,
            now,
            "The deployment was cancelled.",
            "",
        )
        .await?;
        self.end(
            change,
            deployment,
            DeploymentState::Cancelled,
            node_state,
            problem.as_ref(),
            now,
        )
        .await?;
        let message = format!("The deployment was cancelled in step {}.", deployment.step);
        tell(
            change,
            deployment,
            "deployment.cancelled",
            message,
            json!({ "node_state": node_state }),
        )
        .await?;
        Ok(())
    }

    async fn end(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        state: DeploymentState,
        node_state: NodeState,
        problem: Option<&NodeProblem>,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        deployment.state = state;
        deployment.phase = Phase::Ended;
        deployment.finished_at = Some(now);
        deployment.problem = problem.cloned();
        self.delete_seed(change.connection(), &deployment.id).await?;
        self.note_volume_end(change.connection(), deployment, state)
            .await?;
        // After success the digests stay: a report that is sent again gets the same answer. They stay as well where a
        // whole system is on the disk, which may still come up after it was given up.
        let may_report = state == DeploymentState::Succeeded
            || state == DeploymentState::Failed && deployment.disk_state == DiskState::Written;
        if !may_report {
            self.unscrubbed.store(true, Ordering::SeqCst);
            sqlx::query("DELETE FROM report_tokens WHERE deployment_id = ?")
                .bind(&deployment.id)
                .execute(change.connection())
                .await
                .map_err(doing("withdraw the report token"))?;
        }
        if let Some(node) = inventory::load(change.connection(), &deployment.node_id).await? {
            let problem = problem.filter(|_| node_state == NodeState::Failed);
            inventory::set_state(change.connection(), &node, node_state, problem).await?;
        }
        self.hub.forget_progress(&deployment.node_id);
        self.events.forget_progress(&deployment.node_id);
        Ok(())
    }

    pub(super) async fn delete_seed(
        &self,
        connection: &mut SqliteConnection,
        deployment_id: &str,
    ) -> Result<(), DatabaseError> {
        // Noted while the write lock is held: the log cannot be emptied before this is committed.
        self.unscrubbed.store(true, Ordering::SeqCst);
        sqlx::query("DELETE FROM deployment_secrets WHERE deployment_id = ?")
            .bind(deployment_id)
            .execute(connection)
            .await
            .map_err(doing("delete the seed"))?;
        Ok(())
    }
}
