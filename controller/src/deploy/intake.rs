//! What agents say, taken exactly once.
//!
//! Steps and outcomes are numbered within a task. A number is kept in the same transaction as what its message
//! changes, and acknowledged after the commit, so that a message that is sent again changes nothing.

use std::sync::Arc;

use imprint_proto::agent::v1 as wire;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Deployments,
    advance::{News, cancel, message, task_facts, tell},
    certificate,
    decide::Outcome,
    error::DeployError,
    figures::figures,
    held::{hold_for_unknown, stays_on_hold},
    hello::connected_message,
    hub::{Outgoing, Seat},
    record::{Deployment, load, running_of, save},
    state::{DeploymentState, DiskState, Phase, Purpose, Step, StepState},
    steps::{self, StepChange},
    taken::Terms,
};
use crate::{
    backup::hold_of,
    events::{Change, DatabaseError, NewEvent, doing},
    inventory::{Disk, NodeProblem},
};

/// Longest text of an agent that is kept.
const MAX_TEXT: usize = 4096;

/// A numbered message.
#[derive(Debug)]
enum Numbered {
    Step(Box<wire::StepEvent>),
    Outcome(Box<wire::Outcome>),
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) deployment_id: String,
    pub(super) node_id: String,
    taken: u64,
    ended: bool,
}

impl Deployments {
    /// An agent has called: its session takes its place, and it learns what it is to do.
    pub async fn attach(
        &self,
        node_id: &str,
        hello: &wire::Hello,
        outbox: tokio::sync::mpsc::Sender<Outgoing>,
        ca_pem: &Arc<str>,
        controller_version: &str,
    ) -> Result<Seat, DeployError> {
        let seat = self.hub.open(node_id, outbox, ca_pem, self.clock.now());
        let welcome = wire::Welcome {
            node_id: node_id.to_owned(),
            controller_version: controller_version.to_owned(),
            heartbeat_seconds: self.heartbeat_seconds(),
        };
        self.hub.send(
            node_id,
            message(wire::controller_message::Message::Welcome(welcome)),
        );
        match self.greet(&seat, hello).await {
            Ok(()) => Ok(seat),
            Err(error) => {
                let closed = self.hub.close(&seat);
                tracing::debug!(node.id = node_id, closed, "a session could not begin");
                Err(error)
            }
        }
    }

    async fn greet(&self, seat: &Seat, hello: &wire::Hello) -> Result<(), DeployError> {
        let node_id = seat.node_id.as_str();
        let mut change = self.events.begin().await?;
        self.nodes
            .record_agent(change.connection(), node_id, hello)
            .await?;
        let deployment = running_of(change.connection(), node_id).await?;
        let details = json!({
            "agent_version": clip(&hello.agent_version), "task_id": clip(&hello.task_id), "defects": hello.defects.len(),
        });
        change
            .append(NewEvent {
                kind: "agent.connected",
                node_id: Some(node_id),
                deployment_id: deployment.as_ref().map(|deployment| deployment.id.as_str()),
                message: connected_message(hello),
                details,
            })
            .await?;
        let now = self.clock.now_ms();
        let on_hold = stays_on_hold(&mut change, node_id, hello, deployment.as_ref(), now).await?;
        let held = self
            .judge_held_task(change.connection(), node_id, hello, deployment.as_ref())
            .await?;
        if held == (Held::Older { running: true }) {
            self.hub.settle_busy(seat, Some(&hello.task_id));
            // What it writes may be wanted by what happened since the backup.
            if !on_hold {
                self.hub
                    .send(node_id, cancel(&hello.task_id, "The deployment has ended."));
            }
        } else {
            self.hub.settle_busy(seat, None);
        }
        let Some(mut deployment) = deployment else {
            return Ok(change.commit().await?);
        };

        let news = News {
            restarted: held == Held::Lost,
            ..News::default()
        };
        let effects = self.settle(&mut change, &mut deployment, news).await?;
        change.commit().await?;
        self.act(&deployment, &effects).await
    }

    /// Compares what the agent holds with what it should hold.
    async fn judge_held_task(
        &self,
        connection: &mut SqliteConnection,
        node_id: &str,
        hello: &wire::Hello,
        deployment: Option<&Deployment>,
    ) -> Result<Held, DeployError> {
        let present = deployment
            .map(|deployment| deployment.task_id.as_str())
            .unwrap_or_default();
        if !hello.task_id.is_empty() && hello.task_id != present {
            let ended = find_task(connection, &hello.task_id)
                .await?
                .is_some_and(|task| task.node_id == node_id && task.ended);
            return Ok(Held::Older { running: !ended });
        }
        let Some(deployment) = deployment.filter(|deployment| deployment.phase == Phase::AgentWorks) else {
            return Ok(if hello.task_id.is_empty() {
                Held::Nothing
            } else {
                Held::Present
            });
        };
        if hello.task_id == deployment.task_id {
            sqlx::query("UPDATE deployment_tasks SET held_at = COALESCE(held_at, ?) WHERE task_id = ?")
                .bind(self.clock.now_ms())
                .bind(&deployment.task_id)
                .execute(connection)
                .await
                .map_err(doing("note that the agent holds the task"))?;
            return Ok(Held::Present);
        }
        let task = task_facts(connection, &deployment.task_id).await?;
        Ok(if task.accepted { Held::Lost } else { Held::Nothing })
    }

    /// A session has ended. Nothing is decided by that: the agent goes on by itself and calls again.
    pub async fn detach(&self, seat: &Seat, reason: &str) -> Result<(), DeployError> {
        if !self.hub.close(seat) {
            return Ok(());
        }
        let mut change = self.events.begin().await?;
        self.nodes.record_seen(change.connection(), &seat.node_id).await?;
        let deployment = running_of(change.connection(), &seat.node_id).await?;
        change
            .append(NewEvent {
                kind: "agent.disconnected",
                node_id: Some(&seat.node_id),
                deployment_id: deployment.as_ref().map(|deployment| deployment.id.as_str()),
                message: format!("The agent's session ended: {reason}."),
                details: json!({}),
            })
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// Takes a step event and acknowledges it.
    pub async fn take_step(&self, node_id: &str, event: wire::StepEvent) -> Result<(), DeployError> {
        let (task_id, sequence) = (event.task_id.clone(), event.sequence);
        self.take(node_id, &task_id, sequence, Numbered::Step(Box::new(event)))
            .await
    }

    /// Takes the end of a task and acknowledges it, once everything that follows from it is kept.
    pub async fn take_outcome(&self, node_id: &str, outcome: wire::Outcome) -> Result<(), DeployError> {
        let (task_id, sequence) = (outcome.task_id.clone(), outcome.sequence);
        self.take(node_id, &task_id, sequence, Numbered::Outcome(Box::new(outcome)))
            .await
    }

    async fn take(
        &self,
        node_id: &str,
        task_id: &str,
        sequence: u64,
        numbered: Numbered,
    ) -> Result<(), DeployError> {
        let is_outcome = matches!(numbered, Numbered::Outcome(_));
        // What goes on in the agent unless it is told otherwise: it works, or it restarts into the new system once its
        // success is acknowledged. Where that is not wanted any more, the cancellation has to come before the Ack.
        let goes_on = match &numbered {
            Numbered::Step(_) => true,
            Numbered::Outcome(outcome) => {
                matches!(outcome.result, Some(wire::outcome::Result::Success(_)))
            }
        };
        let mut change = self.events.begin().await?;
        let task = find_task(change.connection(), task_id)
            .await?
            .filter(|task| task.node_id == node_id);
        let Some(task) = task else {
            let now = self.clock.now_ms();
            let on_hold = hold_of(change.connection(), node_id).await?.is_some()
                || hold_for_unknown(&mut change, node_id, task_id, None, now).await?;
            change.commit().await?;
            tracing::warn!(
                node.id = node_id,
                task.id = task_id,
                "an agent reports a task that is not known here"
            );
            if on_hold {
                // Neither stopped nor acknowledged: the agent keeps what it has to say until somebody knows.
                return Ok(());
            }
            if goes_on {
                self.hub.send(
                    node_id,
                    cancel(task_id, "The task is not known to this controller."),
                );
            }
            return self.finish_older(node_id, task_id, sequence, is_outcome).await;
        };
        if sequence <= task.taken {
            let deployment = load(change.connection(), &task.deployment_id).await?;
            drop(change);
            // It was taken: that is certain only when it would survive a loss of power.
            self.events.settled().await?;
            if is_outcome && goes_on && deployment.is_none_or(|deployment| is_unwanted(&deployment)) {
                self.hub.send(node_id, cancel(task_id, ENDED));
            }
            return self.finish_older(node_id, task_id, task.taken, is_outcome).await;
        }
        if sequence > task.taken + 1 {
            tracing::warn!(
                node.id = node_id,
                task.id = task_id,
                sequence,
                taken = task.taken,
                "an agent left out numbers"
            );
        }
        note_taken(
            change.connection(),
            task_id,
            sequence,
            is_outcome.then(|| self.clock.now_ms()),
        )
        .await?;
        let deployment = load(change.connection(), &task.deployment_id).await?;
        let unwanted = deployment.as_ref().is_none_or(is_unwanted);
        let present = deployment.filter(|deployment| {
            deployment.state == DeploymentState::Running
                && deployment.task_id == task_id
                && deployment.phase != Phase::AwaitReport
        });
        let Some(mut deployment) = present else {
            change.commit().await?;
            if goes_on && unwanted {
                self.hub.send(node_id, cancel(task_id, ENDED));
            }
            return self.finish_older(node_id, task_id, sequence, is_outcome).await;
        };
        let news = match numbered {
            Numbered::Step(event) => {
                self.apply_step(&mut change, &mut deployment, &event).await?;
                News::default()
            }
            Numbered::Outcome(mut outcome) => {
                let certificates = std::mem::take(&mut outcome.certificates);
                let nothing = matches!(&deployment.terms, Some(Terms::Release { diskless: true, .. }));
                let proven = certificate::all_wiped(&certificates) || nothing && certificates.is_empty();
                let now = self.clock.now_ms();
                certificate::keep(change.connection(), &deployment, certificates, now).await?;
                let outcome = match deployment.purpose {
                    Purpose::Release => self.apply_wipe(&mut deployment, *outcome, proven),
                    Purpose::Rescue if matches!(outcome.result, Some(wire::outcome::Result::Success(_))) => {
                        deployment.moved_at = self.clock.now();
                        Outcome::Success
                    }
                    Purpose::Install | Purpose::Rescue => self.apply_outcome(&mut deployment, *outcome),
                };
                News {
                    outcome: Some(outcome),
                    ..News::default()
                }
            }
        };
        save(change.connection(), &mut deployment).await?;
        let effects = self.settle(&mut change, &mut deployment, news).await?;
        change.commit().await?;
        if is_outcome && goes_on && is_unwanted(&deployment) {
            self.hub.send(node_id, cancel(task_id, ENDED));
        }
        self.ack(node_id, task_id, sequence);
        self.act(&deployment, &effects).await
    }

    fn ack(&self, node_id: &str, task_id: &str, sequence: u64) {
        let ack = wire::Ack {
            task_id: task_id.to_owned(),
            sequence,
        };
        self.hub
            .send(node_id, message(wire::controller_message::Message::Ack(ack)));
    }

    /// Acknowledges what changes nothing any more. An agent that has ended an older task is free for the present one.
    async fn finish_older(
        &self,
        node_id: &str,
        task_id: &str,
        sequence: u64,
        is_outcome: bool,
    ) -> Result<(), DeployError> {
        self.ack(node_id, task_id, sequence);
        if is_outcome
            && self.hub.clear_busy(node_id, task_id)
            && let Some(deployment) = self.running_on(node_id).await?
        {
            self.advance(&deployment.id).await?;
        }
        Ok(())
    }

    async fn apply_step(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        event: &wire::StepEvent,
    ) -> Result<(), DeployError> {
        let now = self.clock.now();
        let step = Step::of_wire(event.step()).unwrap_or(deployment.step);
        let (detail, cause, remedy) = (clip(&event.detail), clip(&event.cause), clip(&event.remedy));
        let (state, kind) = match event.kind() {
            wire::StepKind::Started => (Some(StepState::Running), "deployment.step.started"),
            wire::StepKind::Retrying => (Some(StepState::Retrying), "deployment.step.retrying"),
            wire::StepKind::Finished => (Some(StepState::Finished), "deployment.step.finished"),
            wire::StepKind::Failed => (Some(StepState::Failed), "deployment.step.failed"),
            wire::StepKind::Note | wire::StepKind::Unspecified => (None, "deployment.step.note"),
        };
        if let Some(state) = state {
            let news = StepChange {
                step,
                state,
                at: now,
                detail: &detail,
                cause: &cause,
                remedy: &remedy,
            };
            steps::set(change.connection(), &deployment.id, &news).await?;
            deployment.step = step;
        }
        if matches!(step, Step::Write | Step::Wipe)
            && state == Some(StepState::Running)
            && deployment.disk_state == DiskState::Untouched
        {
            deployment.disk_state = DiskState::Writing;
        }
        if let Some(report) = &event.rescue {
            self.note_access(change, deployment, report).await?;
        }
        // A retry is no progress: a step that only retries ends by its deadline.
        if event.kind() != wire::StepKind::Retrying {
            deployment.moved_at = now;
        }
        let text = [detail.as_str(), cause.as_str(), remedy.as_str()];
        let text: Vec<&str> = text.into_iter().filter(|part| !part.is_empty()).collect();
        let told = if text.is_empty() {
            step.doing().to_owned()
        } else {
            text.join(" ")
        };
        let details = json!({
            "step": step, "attempt": deployment.attempt, "sequence": event.sequence, "detail": detail, "cause": cause,
            "remedy": remedy, "retry_in_ms": event.retry_in_ms,
            "agent_time": event.at.as_ref().map(|at| at.seconds),
        });
        tell(change, deployment, kind, format!("{step}: {told}"), details).await?;
        Ok(())
    }

    /// The end of a release: success is worth what its certificates are.
    fn apply_wipe(&self, deployment: &mut Deployment, outcome: wire::Outcome, proven: bool) -> Outcome {
        if !matches!(outcome.result, Some(wire::outcome::Result::Success(_))) {
            return self.apply_outcome(deployment, outcome);
        }
        deployment.moved_at = self.clock.now();
        if proven {
            deployment.disk_state = DiskState::Wiped;
            return Outcome::Success;
        }
        Outcome::Failure(NodeProblem {
            step: Step::Wipe.to_string(),
            cause: "The agent says that it has wiped the disks, and does not prove it for all of them."
                .to_owned(),
            remedy: "Look at the certificates (imprint node wipes), and release the node again.".to_owned(),
        })
    }

    fn apply_outcome(&self, deployment: &mut Deployment, outcome: wire::Outcome) -> Outcome {
        deployment.moved_at = self.clock.now();
        match outcome.result {
            Some(wire::outcome::Result::Success(success)) => {
                if success.image_digest != hex::decode(&deployment.image_digest).unwrap_or_default() {
                    return Outcome::Failure(wrong_image(deployment));
                }
                deployment.disk_state = DiskState::Written;
                deployment.disk = success.disk.map(Disk::from);
                deployment.boot_entry = Some(clip(&success.boot_entry)).filter(|entry| !entry.is_empty());
                deployment.write = success.write.as_ref().map(figures);
                if success.no_first_boot_report {
                    Outcome::Unreported
                } else {
                    Outcome::Success
                }
            }
            Some(wire::outcome::Result::Failure(failure)) => {
                if failure.head_cleared {
                    deployment.disk_state = DiskState::Cleared;
                }
                let step = Step::of_wire(failure.step()).unwrap_or(deployment.step);
                Outcome::Failure(NodeProblem {
                    step: step.to_string(),
                    cause: clip(&failure.cause),
                    remedy: remedy_of(&failure),
                })
            }
            Some(wire::outcome::Result::Cancelled(cancelled)) => {
                if cancelled.head_cleared {
                    deployment.disk_state = DiskState::Cleared;
                }
                Outcome::Cancelled
            }
            None => Outcome::Failure(NodeProblem {
                step: deployment.step.to_string(),
                cause: "The agent ended the task in a way that this controller does not know.".to_owned(),
                remedy: "Use the ramdisk that belongs to this version of the controller.".to_owned(),
            }),
        }
    }
}

/// What an agent holds, compared with what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Nothing, and it has not taken the present task yet.
    Nothing,
    /// The present task.
    Present,
    /// Nothing, although it had taken the present task: the machine was restarted.
    Lost,
    /// A task of an earlier deployment or attempt.
    Older { running: bool },
}

fn remedy_of(failure: &wire::Failure) -> String {
    let remedy = clip(&failure.remedy);
    match (remedy.is_empty(), failure.retryable) {
        (false, _) => remedy,
        (true, true) => "Deploy again: nothing else has to be changed.".to_owned(),
        (true, false) => "Mend the cause, then deploy again.".to_owned(),
    }
}

const ENDED: &str = "The deployment has ended.";

/// Whether the deployment has ended without its image being wanted on the disk.
fn is_unwanted(deployment: &Deployment) -> bool {
    matches!(
        deployment.state,
        DeploymentState::Failed | DeploymentState::Cancelled
    )
}

fn wrong_image(deployment: &Deployment) -> NodeProblem {
    NodeProblem {
        step: deployment.step.to_string(),
        cause: "The agent reports another image than the one it was to write.".to_owned(),
        remedy: "Use the ramdisk that belongs to this version of the controller, then deploy again."
            .to_owned(),
    }
}

pub(super) fn clip(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .take(MAX_TEXT)
        .collect()
}

pub(super) async fn find_task(
    connection: &mut SqliteConnection,
    task_id: &str,
) -> Result<Option<Task>, DatabaseError> {
    let row: Option<(String, String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT deployment_id, node_id, sequence_taken, ended_at FROM deployment_tasks WHERE task_id = ?",
    )
    .bind(task_id)
    .fetch_optional(connection)
    .await
    .map_err(doing("read the task"))?;
    Ok(row.map(|(deployment_id, node_id, taken, ended)| Task {
        deployment_id,
        node_id,
        taken: u64::try_from(taken).unwrap_or(0),
        ended: ended.is_some(),
    }))
}

async fn note_taken(
    connection: &mut SqliteConnection,
    task_id: &str,
    sequence: u64,
    ended_at: Option<i64>,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE deployment_tasks SET sequence_taken = ?, ended_at = COALESCE(ended_at, ?) WHERE task_id = ?",
    )
    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
    .bind(ended_at)
    .bind(task_id)
    .execute(connection)
    .await
    .map_err(doing("keep the number of a message"))?;
    Ok(())
}
