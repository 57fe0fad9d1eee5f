//! The shell around [`decide`]: load, decide, persist with a version check, then act.

use std::sync::atomic::Ordering;

use imprint_proto::agent::v1 as wire;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{
    Deployments,
    create::new_task,
    decide::{Agent, Decision, Effect, Facts, Limits, Next, Outcome, decide},
    error::DeployError,
    history,
    record::{Deployment, load, save},
    state::{DeploymentState, DiskState, Phase, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    catalog::charge,
    events::{Change, DatabaseError, NewEvent, doing},
    inventory::{self, NodeProblem, NodeState},
};

/// What has just happened and is not kept anywhere else yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The agent's work ended.
    pub outcome: Option<Outcome>,
    /// The agent called and no longer knows the task.
    pub restarted: bool,
    /// The installed system reported.
    pub reported: bool,
}

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 4))
}

impl Deployments {
    /// Lets a deployment go on as far as it can now.
    pub(super) async fn advance(&self, id: &str) -> Result<(), DeployError> {
        let mut change = self.events.begin().await?;
        let Some(mut deployment) = load(change.connection(), id).await? else {
            return Ok(());
        };
        let effects = self.settle(&mut change, &mut deployment, News::default()).await?;
        change.commit().await?;
        self.act(&deployment, &effects).await
    }

    /// Decides and persists until there is nothing to decide; what has to be done then is left to [`Self::act`],
    /// after the commit.
    pub(super) async fn settle(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        mut news: News,
    ) -> Result<Vec<Effect>, DeployError> {
        let mut effects = Vec::new();
        while deployment.state == DeploymentState::Running {
            let task = task_facts(change.connection(), &deployment.task_id).await?;
            let facts = self.facts(deployment, task, &news);
            match decide(deployment.phase, &facts) {
                Decision::Stay { .. } => break,
                Decision::Act(effect) => {
                    effects.push(effect);
                    break;
                }
                Decision::Go(next) => {
                    // An agent that still works on what has just ended is told so.
                    let stops = matches!(next, Next::Failed(_) | Next::Cancelled(_))
                        && news.outcome.is_none()
                        && deployment.phase == Phase::AgentWorks;
                    if stops && matches!(facts.agent, Agent::Connected { task_sent: true, .. }) {
                        effects.push(Effect::SendCancel);
                    }
                    self.go(change, deployment, next).await?;
                    news = News::default();
                }
            }
        }
        Ok(effects)
    }

    /// Everything a decision about this deployment rests on.
    pub(super) fn facts(&self, deployment: &Deployment, task: TaskFacts, news: &News) -> Facts {
        let watched = |at: Timestamp| at.max(self.watching_since);
        let progress = self.hub.moved_at(&deployment.node_id, &deployment.task_id);
        let limits = &self.timeouts;
        // As its hardware model says.
        let longer = u64::from(deployment.boot_seconds);
        Facts {
            now: self.clock.now(),
            agent: self.hub.agent(&deployment.node_id, &deployment.task_id),
            powered: deployment.step > Step::Power,
            step: deployment.step,
            sent: task.sent,
            accepted: task.accepted,
            resend: self
                .hub
                .may_resend(&deployment.node_id, &deployment.task_id, self.clock.now()),
            restarted: news.restarted,
            attempt: deployment.attempt,
            outcome: news.outcome.clone(),
            data_disk: !deployment.finish,
            reported: news.reported,
            moved_at: watched(progress.map_or(deployment.moved_at, |at| at.max(deployment.moved_at))),
            cancel_requested_at: deployment.cancel_requested_at.map(watched),
            limits: Limits {
                boot: seconds(limits.boot_seconds + longer),
                step: seconds(limits.step_progress_seconds),
                first_boot: seconds(limits.first_boot_seconds + longer),
                cancel: seconds(limits.agent_silence_seconds),
            },
        }
    }

    async fn go(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        next: Next,
    ) -> Result<(), DeployError> {
        let now = self.clock.now();
        deployment.phase_since = now;
        deployment.moved_at = now;
        match next {
            Next::AgentWorks => {
                deployment.phase = Phase::AgentWorks;
                deployment.step = Step::Boot;
                for step in [Step::Power, Step::Boot] {
                    let detail = "The agent is connected.";
                    steps::set(
                        change.connection(),
                        &deployment.id,
                        &StepChange::new(step, StepState::Finished, now, detail),
                    )
                    .await?;
                }
                let message = "The agent is connected; the server is ready for its task.".to_owned();
                tell(
                    change,
                    deployment,
                    "deployment.step.finished",
                    message,
                    json!({ "step": Step::Boot }),
                )
                .await?;
            }
            Next::NewAttempt => {
                deployment.attempt += 1;
                deployment.task_id = Ulid::generate().to_string();
                deployment.step = Step::Boot;
                let (id, node_id) = (deployment.id.clone(), deployment.node_id.clone());
                let (task_id, attempt) = (deployment.task_id.clone(), deployment.attempt);
                new_task(
                    change.connection(),
                    &task_id,
                    &id,
                    &node_id,
                    attempt,
                    now.as_millisecond(),
                )
                .await?;
                steps::forget_agents(change.connection(), &id).await?;
                self.hub.forget_progress(&node_id);
                self.events.forget_progress(&node_id);
                let message =
                    format!("The server was restarted in the middle of the work; attempt {attempt} begins.");
                tell(
                    change,
                    deployment,
                    "deployment.attempt",
                    message,
                    json!({ "attempt": attempt }),
                )
                .await?;
            }
            Next::AwaitReport => {
                deployment.phase = Phase::AwaitReport;
                deployment.step = Step::FirstBootReport;
                steps::end_open(
                    change.connection(),
                    &deployment.id,
                    StepState::Finished,
                    now,
                    "",
                    "",
                )
                .await?;
                let detail = "Waits for the installed system to start and to report.";
                let waiting = StepChange::new(Step::FirstBootReport, StepState::Running, now, detail);
                steps::set(change.connection(), &deployment.id, &waiting).await?;
                self.delete_seed(change.connection(), &deployment.id).await?;
                let message = "The image is on the disk; the server restarts from it.".to_owned();
                tell(
                    change,
                    deployment,
                    "deployment.written",
                    message,
                    json!({ "boot_entry": deployment.boot_entry }),
                )
                .await?;
            }
            Next::Succeeded => self.succeed(change, deployment, now).await?,
            Next::Failed(problem) => self.fail(change, deployment, &problem, now).await?,
            Next::Cancelled(problem) => self.end_cancelled(change, deployment, problem, now).await?,
        }
        save(change.connection(), deployment).await?;
        Ok(())
    }

    /// Ends it well. The report may also come after the deadline, when the deployment has failed already.
    pub(super) async fn succeed(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let late = deployment.state == DeploymentState::Failed;
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
                "The installed system has reported.",
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
                "The installed system reported as {} ({}){}: the node is active.",
                report.hostname,
                report.os_name,
                if late {
                    ", late: the deployment had been given up"
                } else {
                    ""
                }
            ),
            None if node_state == NodeState::Active => {
                "The data disk is written and verified; restart the server to go back to its system."
                    .to_owned()
            }
            None => "The data disk is written and verified.".to_owned(),
        };
        let details = json!({ "late": late, "node_state": node_state });
        tell(change, deployment, "deployment.succeeded", message, details).await?;
        Ok(())
    }

    async fn fail(
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

    async fn end_cancelled(
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

    async fn delete_seed(
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

    /// The task, noted as sent before it leaves. `None` when it is not wanted any more: a cancellation may have come
    /// between the decision and its effect.
    async fn task_to_send(
        &self,
        deployment: &Deployment,
        ca_pem: &str,
    ) -> Result<Option<wire::Task>, DeployError> {
        let task = self.task_of(deployment, ca_pem).await?;
        let noted = sqlx::query(
            "UPDATE deployment_tasks SET sent_at = COALESCE(sent_at, ?1) WHERE task_id = ?2 AND EXISTS \
             (SELECT 1 FROM deployments WHERE task_id = ?2 AND state = 'running' AND cancel_requested_at IS NULL)",
        )
        .bind(self.clock.now_ms())
        .bind(&deployment.task_id)
        .execute(&self.db)
        .await
        .map_err(doing("note that the task is sent"))?;
        Ok((noted.rows_affected() == 1).then_some(task))
    }

    /// Does what was decided. Doing it twice is harmless.
    pub(super) async fn act(&self, deployment: &Deployment, effects: &[Effect]) -> Result<(), DeployError> {
        let (node_id, task_id) = (&deployment.node_id, &deployment.task_id);
        for effect in effects {
            match effect {
                Effect::SendTask => {
                    let Some(ca_pem) = self.hub.claim_task(node_id, task_id, self.clock.now()) else {
                        continue;
                    };
                    let task = self
                        .task_to_send(deployment, &ca_pem)
                        .await
                        .inspect_err(|_| self.hub.unclaim_task(node_id))?;
                    match task {
                        Some(task) => self
                            .hub
                            .send(node_id, message(wire::controller_message::Message::Task(task))),
                        None => self.hub.unclaim_task(node_id),
                    }
                }
                Effect::SendCancel => {
                    if deployment.state != DeploymentState::Running {
                        self.hub.set_busy(node_id, task_id);
                    }
                    if self.hub.claim_cancel(node_id, task_id) {
                        self.hub
                            .send(node_id, cancel(task_id, "The deployment has ended."));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A message for an agent.
pub(super) fn message(message: wire::controller_message::Message) -> wire::ControllerMessage {
    wire::ControllerMessage {
        message: Some(message),
    }
}

/// The message that stops a task.
pub(super) fn cancel(task_id: &str, reason: &str) -> wire::ControllerMessage {
    message(wire::controller_message::Message::Cancel(wire::CancelTask {
        task_id: task_id.to_owned(),
        reason: reason.to_owned(),
    }))
}

/// Writes an event about a deployment.
pub(super) async fn tell(
    change: &mut Change,
    deployment: &Deployment,
    kind: &str,
    message: String,
    details: serde_json::Value,
) -> Result<(), DatabaseError> {
    let event = NewEvent {
        kind,
        node_id: Some(&deployment.node_id),
        deployment_id: Some(&deployment.id),
        message,
        details,
    };
    change.append(event).await.map(drop)
}

/// What is kept of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct TaskFacts {
    /// It has left for the agent.
    pub sent: bool,
    /// The agent has said at least one thing about it.
    pub accepted: bool,
}

/// What is kept of the task with this id.
pub(super) async fn task_facts(
    connection: &mut SqliteConnection,
    task_id: &str,
) -> Result<TaskFacts, DatabaseError> {
    let facts: Option<TaskFacts> = sqlx::query_as(
        "SELECT sent_at IS NOT NULL AS sent, sequence_taken > 0 OR held_at IS NOT NULL AS accepted \
         FROM deployment_tasks WHERE task_id = ?",
    )
    .bind(task_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("read the task"))?;
    Ok(facts.unwrap_or_default())
}
