//! The task of a job: waits for its turn, runs the work, keeps progress, writes the end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Inner, Job, JobContext, JobProgress, JobState, Live, error::JobError, start::Work};
use crate::{
    api::rest::problem::{Problem, ProblemDocument, chain},
    events::{Author, NewEvent},
};

/// How often progress is written.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Starts the task of a job whose row is there.
pub(super) fn spawn(inner: &Arc<Inner>, job: Job, work: Work) {
    let live = Live {
        cancel: inner.shutdown.child_token(),
        ended: CancellationToken::new(),
        progress: Arc::new(Mutex::new(job.progress.clone())),
    };
    inner
        .live
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(job.id.clone(), live.clone());
    let inner = inner.clone();
    tokio::spawn(async move {
        let id = job.id.clone();
        if let Err(error) = run(&inner, job, &live, work).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::error!(job.id = id, error = %chain(error), "the end of a job was not kept; the next start will end it");
        }
        inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        live.ended.cancel();
    });
}

async fn run(inner: &Arc<Inner>, job: Job, live: &Live, work: Work) -> Result<(), JobError> {
    let slots = &inner.slots[&job.kind];
    let slot = tokio::select! {
        biased;
        () = live.cancel.cancelled() => None,
        slot = slots.acquire() => Some(slot.expect("the semaphore is never closed")),
    };
    if slot.is_none() || !inner.begin(&job).await? {
        live.cancel.cancel();
    }
    // Also what was cancelled before its turn: only the work knows what its request has left.
    let outcome = inner.work(&job, live, work).await;
    // The controller ends: the next one decides what becomes of the job.
    if inner.shutdown.is_cancelled() && outcome.is_err() {
        return Ok(());
    }
    match outcome {
        Ok(result) => inner.end(&job, JobState::Succeeded, Some(result), None).await,
        Err(_) if live.cancel.is_cancelled() => inner.end(&job, JobState::Cancelled, None, None).await,
        Err(problem) => inner.end(&job, JobState::Failed, None, Some(problem)).await,
    }
}

impl Inner {
    /// Whether it may begin: it was not cancelled before it had a task that could be told.
    async fn begin(&self, job: &Job) -> Result<bool, JobError> {
        let mut change = self.events.begin_by(author(job)).await?;
        let done = sqlx::query(
            "UPDATE jobs SET state = 'running', started_at = ? WHERE id = ? AND cancel_requested_at IS NULL",
        )
        .bind(self.clock.now_ms())
        .bind(&job.id)
        .execute(change.connection())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let event = told(job, "job.started", "has started", json!({}));
        change.append(event).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Runs the work to its end, in a task of its own, so that a panic in it is no end of ours.
    async fn work(&self, job: &Job, live: &Live, work: Work) -> Result<Value, Problem> {
        let context = JobContext {
            id: job.id.clone(),
            cancel: live.cancel.clone(),
            progress: live.progress.clone(),
        };
        let mut task = tokio::spawn(work(context));
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = JobProgress::default();
        loop {
            tokio::select! {
                ended = &mut task => {
                    self.keep(&job.id, live, &mut kept).await;
                    return ended.unwrap_or_else(|error| Err(Problem::internal(&error)));
                }
                _ = ticks.tick() => self.keep(&job.id, live, &mut kept).await,
            }
        }
    }

    /// Writes the progress if there is any news. That it cannot be written is no reason to stop.
    async fn keep(&self, id: &str, live: &Live, kept: &mut JobProgress) {
        let newest = live
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if newest == *kept {
            return;
        }
        let text = json!(newest).to_string();
        let done = sqlx::query("UPDATE jobs SET progress = ? WHERE id = ?")
            .bind(text)
            .bind(id)
            .execute(&self.db)
            .await;
        match done {
            Ok(_) => *kept = newest,
            Err(error) => tracing::debug!(job.id = id, %error, "the progress of a job was not kept"),
        }
    }

    /// Writes the end of a job, once.
    pub(super) async fn end(
        &self,
        job: &Job,
        state: JobState,
        result: Option<Value>,
        problem: Option<Problem>,
    ) -> Result<(), JobError> {
        let problem = problem.map(ProblemDocument::from);
        let (kind, verb) = match state {
            JobState::Succeeded => ("job.succeeded", "has succeeded"),
            JobState::Cancelled => ("job.cancelled", "was cancelled"),
            _ => ("job.failed", "has failed"),
        };
        let details = problem
            .as_ref()
            .map_or_else(|| json!({}), |p| json!({ "problem": p }));
        let mut change = self.events.begin_by(author(job)).await?;
        let done = sqlx::query(
            "UPDATE jobs SET state = ?, result = ?, problem = ?, ended_at = ?
             WHERE id = ? AND state IN ('queued', 'running')",
        )
        .bind(state.as_str())
        .bind(result.map(|value| value.to_string()))
        .bind(problem.map(|problem| json!(problem).to_string()))
        .bind(self.clock.now_ms())
        .bind(&job.id)
        .execute(change.connection())
        .await?;
        if done.rows_affected() == 1 {
            change.append(told(job, kind, verb, details)).await?;
        }
        Ok(change.commit().await?)
    }
}

/// What a job does is done for whoever asked for it.
fn author(job: &Job) -> Author {
    Author {
        actor: Some(job.requested_by.clone()).filter(|name| !name.is_empty()),
        project_id: Some(job.project_id.clone()),
    }
}

/// The event of a change of a job.
pub(super) fn told<'a>(job: &'a Job, kind: &'a str, verb: &str, mut details: Value) -> NewEvent<'a> {
    details["job_id"] = json!(job.id);
    details["job_kind"] = json!(job.kind);
    details["image_id"] = json!(job.image_id);
    details["project_id"] = json!(job.project_id);
    details["by"] = json!(job.requested_by);
    NewEvent {
        kind,
        node_id: None,
        deployment_id: None,
        message: format!("Job {} ({}) {verb}.", job.id, job.kind),
        details,
    }
}
