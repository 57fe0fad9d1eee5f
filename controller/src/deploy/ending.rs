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
    state::{DeploymentState, DiskState, Phase, Purpose, Step, StepState},
    steps::{self, StepChange},
    taken::{Former, point_to},
};
use crate::{
    catalog::charge,
    events::{Change, DatabaseError, doing},
    inventory::{self, NodeProblem, NodeState},
    lifecycle::{NodeEvent, Remains},
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
        if deployment.purpose == Purpose::Rescue {
            return self.end_rescued(change, deployment, now).await;
        }
        let remains = if deployment.finish || history::has_system(change.connection(), deployment).await? {
            Remains::System
        } else {
            Remains::Nothing
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
        let node_state = self
            .end(change, deployment, DeploymentState::Succeeded, remains, None, now)
            .await?;
        if deployment.purpose == Purpose::Release {
            self.forget_guest(change.connection(), &deployment.node_id)
                .await?;
            let message = "The disks are wiped, and that is proven: the node is available.".to_owned();
            tell(
                change,
                deployment,
                "node.released",
                message,
                json!({ "node_state": node_state }),
            )
            .await?;
            return Ok(());
        }
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
            None if remains == Remains::System => {
                "The data disk is written and verified; restart the server to go back to its system."
                    .to_owned()
            }
            None => "The data disk is written and verified.".to_owned(),
        };
        let details = json!({ "late": manner == Manner::Late, "accepted": manner == Manner::Accepted, "node_state": node_state });
        tell(change, deployment, "deployment.succeeded", message, details).await?;
        Ok(())
    }

    /// Ends a rescue as it was meant to end: the node is what it was before.
    async fn end_rescued(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let remains = match before(change.connection(), deployment).await? {
            Some(former) => former.remains(),
            None => Remains::Unknown,
        };
        steps::end_open(
            change.connection(),
            &deployment.id,
            StepState::Finished,
            now,
            "",
            "",
        )
        .await?;
        let node_state = self
            .end(change, deployment, DeploymentState::Succeeded, remains, None, now)
            .await?;
        let why = match deployment.cancel_requested_at {
            Some(_) => "as it was asked to",
            None => "for its time was over",
        };
        let state = node_state.map_or_else(String::new, |state| format!(" The node is {state}, as before."));
        let message =
            format!("The rescue has ended, {why}: its ssh server is gone, and the server restarts.{state}");
        tell(
            change,
            deployment,
            "node.rescue.ended",
            message,
            json!({ "node_state": node_state, "asked": deployment.cancel_requested_at.is_some() }),
        )
        .await?;
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
        let remains = match before(change.connection(), deployment).await? {
            Some(former) => former.remains(),
            // Nothing was ever sent: what the node ran before, it still runs.
            None if !history::was_sent(change.connection(), &deployment.id).await?
                && history::has_system(change.connection(), deployment).await? =>
            {
                Remains::System
            }
            None => Remains::Unknown,
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
        let node_state = self
            .end(
                change,
                deployment,
                DeploymentState::Failed,
                remains,
                Some(problem),
                now,
            )
            .await?;
        let kept = match remains {
            Remains::System if deployment.purpose == Purpose::Rescue => {
                " The node keeps its system and is active."
            }
            Remains::System => " Nothing was written: the node keeps its system and is active.",
            Remains::Nothing | Remains::Unknown => "",
        };
        let message = format!(
            "The {} failed in step {}: {cause} {remedy}{kept}",
            deployment.purpose.noun(),
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
        let former = before(change.connection(), deployment).await?;
        // Half a wipe is none: whoever gets the node next would find what is left.
        let half = || NodeProblem {
            step: Step::Wipe.to_string(),
            cause: "The release was cancelled while the disks were being wiped.".to_owned(),
            remedy: "Release the node again (imprint release), or deploy onto it what may see the rest."
                .to_owned(),
        };
        let problem = match deployment.purpose {
            Purpose::Release if former.is_none() => problem.or_else(|| Some(half())),
            _ => problem,
        };
        let remains = match (&problem, former) {
            (_, Some(former)) => former.remains(),
            (Some(_), None) => Remains::Unknown,
            (None, None) if history::has_system(change.connection(), deployment).await? => Remains::System,
            (None, None) => Remains::Nothing,
        };
        steps::end_open(
            change.connection(),
            &deployment.id,
            StepState::Failed,
            now,
            &format!("The {} was cancelled.", deployment.purpose.noun()),
            "",
        )
        .await?;
        let node_state = self
            .end(
                change,
                deployment,
                DeploymentState::Cancelled,
                remains,
                problem.as_ref(),
                now,
            )
            .await?;
        let message = format!(
            "The {} was cancelled in step {}.",
            deployment.purpose.noun(),
            deployment.step
        );
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
        remains: Remains,
        problem: Option<&NodeProblem>,
        now: Timestamp,
    ) -> Result<Option<NodeState>, DeployError> {
        deployment.state = state;
        deployment.phase = Phase::Ended;
        deployment.finished_at = Some(now);
        deployment.problem = problem.cloned();
        self.delete_seed(change.connection(), &deployment.id).await?;
        self.forget_password(change, deployment).await?;
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
        let former = before(change.connection(), deployment)
            .await?
            .filter(|_| state != DeploymentState::Succeeded || deployment.purpose == Purpose::Rescue)
            .cloned();
        let problem = match &former {
            Some(former) => former.problem.as_ref().or(problem),
            None => problem,
        };
        if let Some(former) = &former {
            point_to(change, &deployment.node_id, former.deployment_id.as_deref()).await?;
        }
        let node_state = match inventory::load(change.connection(), &deployment.node_id).await? {
            Some(node) => {
                let ended = NodeEvent::Ended(remains);
                Some(inventory::transit(change.connection(), &node, ended, problem).await?)
            }
            None => None,
        };
        self.hub.forget_progress(&deployment.node_id);
        self.events.forget_progress(&deployment.node_id);
        Ok(node_state)
    }

    /// Forgets the system whose disks were wiped: its guest plugin has no say any more.
    async fn forget_guest(
        &self,
        connection: &mut SqliteConnection,
        node_id: &str,
    ) -> Result<(), DatabaseError> {
        for statement in [
            "DELETE FROM guests WHERE node_id = ?1",
            "DELETE FROM report_tokens WHERE deployment_id IN (SELECT id FROM deployments WHERE node_id = ?1)",
        ] {
            sqlx::query(statement)
                .bind(node_id)
                .execute(&mut *connection)
                .await
                .map_err(doing("forget the system that was wiped"))?;
        }
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

/// The node as it was before, where that has not changed: after a rescue, or a release that no agent was ever told of.
async fn before<'d>(
    connection: &mut SqliteConnection,
    deployment: &'d Deployment,
) -> Result<Option<&'d Former>, DatabaseError> {
    let Some(terms) = &deployment.terms else {
        return Ok(None);
    };
    let unchanged =
        deployment.purpose == Purpose::Rescue || !history::was_sent(connection, &deployment.id).await?;
    Ok(unchanged.then(|| terms.former()))
}
