//! The shell around [`decide`]: load, decide, persist with a version check, then act.

use imprint_proto::agent::v1 as wire;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection};
use ulid::Ulid;

use super::{
    Deployments,
    batch::{Turn, turn_of},
    create::new_task,
    decide::{
        Agent, Decision, Effect, Facts, Limits, Next, Outcome, PowerFact, Report, decide, is_missed_deadline,
    },
    ending::Manner,
    error::DeployError,
    record::{Deployment, load, save},
    state::{DeploymentState, Phase, Step, StepState},
    steps::{self, StepChange},
    taken::Terms,
    volume::VolumeFact,
};
use crate::{
    api::rest::problem::chain,
    events::{Change, DatabaseError, NewEvent, doing},
};

/// What has just happened and is not kept anywhere else yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The agent's work ended.
    pub outcome: Option<Outcome>,
    /// The agent called and no longer knows the task.
    pub restarted: bool,
    /// The installed system reported.
    pub reported: Option<Report>,
}

pub(super) fn seconds(seconds: u64) -> SignedDuration {
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
            let turn = turn_of(change.connection(), deployment).await?;
            let facts = Facts {
                turn,
                ..self.facts(deployment, task, &news)
            };
            match decide(deployment.phase, &facts) {
                Decision::Stay { .. } => break,
                Decision::Act(effect) => {
                    effects.push(effect);
                    break;
                }
                Decision::Go(next) => {
                    if is_missed_deadline(deployment.phase, &facts) {
                        let step = deployment.step;
                        let message = format!("Step {step} has missed its deadline: nothing moved in time.");
                        let details = json!({ "step": step, "phase": deployment.phase });
                        tell(change, deployment, "deployment.deadline-missed", message, details).await?;
                    }
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
        let watched = |at: Timestamp| at.max(self.watch.since());
        let progress = self.hub.moved_at(&deployment.node_id, &deployment.task_id);
        let limits = &self.timeouts;
        // As its hardware model says.
        let longer = u64::from(deployment.boot_seconds);
        Facts {
            // Looked at where it matters: not here, for all that run.
            turn: Turn::Now,
            purpose: deployment.purpose,
            now: self.clock.now(),
            agent: self.hub.agent(&deployment.node_id, &deployment.task_id),
            called_at: self.hub.called_at(&deployment.node_id),
            powered: deployment.step > Step::Power,
            power: task.power,
            step: deployment.step,
            sent: task.sent,
            accepted: task.accepted,
            resend: self
                .hub
                .may_resend(&deployment.node_id, &deployment.task_id, self.clock.now()),
            restarted: news.restarted,
            held: task.held,
            attempt: deployment.attempt,
            outcome: news.outcome.clone(),
            data_disk: !deployment.finish,
            stays_until: match &deployment.terms {
                Some(Terms::Rescue(terms)) => Some(terms.until),
                Some(Terms::Release { .. }) | None => None,
            },
            volume: task.volume,
            up: deployment.first_boot.is_some(),
            reported: news.reported.clone(),
            moved_at: watched(progress.map_or(deployment.moved_at, |at| at.max(deployment.moved_at))),
            cancel_requested_at: deployment.cancel_requested_at.map(watched),
            limits: Limits {
                queue: seconds(limits.queue_seconds),
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
            Next::AwaitAgent => {
                deployment.phase = Phase::AwaitAgent;
                let detail = "Waits for the server to boot the ramdisk from the network.";
                let waiting = StepChange::new(Step::Power, StepState::Running, now, detail);
                steps::set(change.connection(), &deployment.id, &waiting).await?;
                let message = "Its turn in its batch has come.".to_owned();
                tell(
                    change,
                    deployment,
                    "deployment.turn",
                    message,
                    json!({ "batch_id": deployment.batch_id }),
                )
                .await?;
            }
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
                self.forget_access(change, deployment).await?;
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
            Next::Succeeded => self.succeed(change, deployment, Manner::InTime, now).await?,
            Next::Failed(problem) => self.fail(change, deployment, &problem, now).await?,
            Next::Cancelled(problem) => self.end_cancelled(change, deployment, problem, now).await?,
        }
        save(change.connection(), deployment).await?;
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
        self.note_volume_use(deployment).await?;
        let mut change = self.events.begin().await?;
        let noted = sqlx::query(
            "UPDATE deployment_tasks SET sent_at = COALESCE(sent_at, ?1) WHERE task_id = ?2 AND EXISTS \
             (SELECT 1 FROM deployments WHERE task_id = ?2 AND state = 'running' AND cancel_requested_at IS NULL)",
        )
        .bind(self.clock.now_ms())
        .bind(&deployment.task_id)
        .execute(change.connection())
        .await
        .map_err(doing("note that the task is sent"))?;
        change.commit().await?;
        Ok((noted.rows_affected() == 1).then_some(task))
    }

    /// Does what was decided. Doing it twice is harmless.
    pub(super) async fn act(&self, deployment: &Deployment, effects: &[Effect]) -> Result<(), DeployError> {
        let (node_id, task_id) = (&deployment.node_id, &deployment.task_id);
        if deployment.state != DeploymentState::Running {
            // Figures may have come in while the end was not committed.
            self.hub.forget_progress(node_id);
            self.events.forget_progress(node_id);
        }
        for effect in effects {
            #[cfg(test)]
            crate::testing::crash::here()?;
            match effect {
                // What a BMC does not do stops no deployment: its server may boot all the same.
                Effect::BootRamdisk | Effect::SwitchOn => {
                    if let Err(error) = self.power.have_boot(&deployment.id, node_id, *effect).await {
                        tracing::error!(deployment.id = deployment.id, error = %chain(&error), "a BMC could not be asked");
                    }
                }
                Effect::SendTask => {
                    let Some(ca_pem) = self.hub.claim_task(node_id, task_id, self.clock.now()) else {
                        continue;
                    };
                    let task = self
                        .task_to_send(deployment, &ca_pem)
                        .await
                        .inspect_err(|_| self.hub.unclaim_task(node_id))?;
                    #[cfg(test)]
                    crate::testing::crash::here()?;
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
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct TaskFacts {
    /// It has left for the agent.
    pub sent: bool,
    /// The agent has said at least one thing about it.
    pub accepted: bool,
    /// Its node is on hold.
    pub held: bool,
    /// How its volume is.
    #[sqlx(flatten)]
    pub volume: VolumeFact,
    /// How the power of its server is changed.
    #[sqlx(flatten)]
    pub power: PowerFact,
}

impl TaskFacts {
    /// The columns, of a deployment `d` and its task `t`.
    pub(super) fn columns() -> String {
        format!(
            "t.sent_at IS NOT NULL AS sent, t.sequence_taken > 0 OR t.held_at IS NOT NULL AS accepted, \
             EXISTS (SELECT 1 FROM node_holds h WHERE h.node_id = d.node_id) AS held, {}, {}",
            VolumeFact::COLUMNS,
            PowerFact::COLUMNS
        )
    }

    /// Where they come from.
    pub(super) fn joins() -> String {
        format!("{} {}", VolumeFact::JOIN, PowerFact::JOIN)
    }
}

/// What is kept of the task with this id.
pub(super) async fn task_facts(
    connection: &mut SqliteConnection,
    task_id: &str,
) -> Result<TaskFacts, DatabaseError> {
    let facts: Option<TaskFacts> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {} FROM deployment_tasks t JOIN deployments d ON d.id = t.deployment_id {} WHERE t.task_id = ?",
        TaskFacts::columns(),
        TaskFacts::joins()
    )))
    .bind(task_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("read the task"))?;
    Ok(facts.unwrap_or_default())
}
