//! What a controller that ended has left.

use http::StatusCode;
use jiff::SignedDuration;

use super::{Job, JobContext, JobError, JobKind, JobState, Jobs, record, run, start};
use crate::api::rest::problem::Problem;

/// Jobs that ended before this are forgotten.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What becomes of a job that was interrupted.
pub enum Interrupted {
    /// It fails.
    Fail,
    /// It goes on, with this work.
    Resume(ResumeWork),
}

/// The work that takes up a job again. Made by [`Interrupted::resume`].
pub struct ResumeWork(start::Work);

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fail => "Fail",
            Self::Resume(_) => "Resume",
        })
    }
}

impl std::fmt::Debug for ResumeWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeWork")
    }
}

impl Interrupted {
    /// It goes on, with this work.
    pub fn resume<W, F>(work: W) -> Self
    where
        W: FnOnce(JobContext) -> F + Send + 'static,
        F: Future<Output = Result<serde_json::Value, Problem>> + Send + 'static,
    {
        Self::Resume(ResumeWork(start::boxed(work)))
    }
}

impl Jobs {
    /// Deals with all jobs that had not ended when the controller did, and forgets those that ended long ago. Called
    /// once at the start, when whatever `decide` needs is there.
    pub async fn recover(&self, decide: impl Fn(&Job) -> Interrupted) -> Result<(), JobError> {
        let rows = sqlx::query("SELECT * FROM jobs WHERE state IN ('queued', 'running') ORDER BY id")
            .fetch_all(&self.0.db)
            .await?;
        for row in &rows {
            let job = record::from_row(row)?;
            if job.cancel_requested_at.is_some() {
                self.0.end(&job, JobState::Cancelled, None, None).await?;
                continue;
            }
            match decide(&job) {
                Interrupted::Resume(ResumeWork(work)) => {
                    tracing::info!(job.id, job.kind = %job.kind, "job goes on");
                    run::spawn(&self.0, job, work);
                }
                Interrupted::Fail => {
                    tracing::info!(job.id, job.kind = %job.kind, "job was interrupted");
                    let problem = interrupted(job.kind);
                    self.0.end(&job, JobState::Failed, None, Some(problem)).await?;
                }
            }
        }
        let before = self.0.clock.now() - KEPT;
        sqlx::query("DELETE FROM jobs WHERE ended_at < ?")
            .bind(before.as_millisecond())
            .execute(&self.0.db)
            .await?;
        Ok(())
    }
}

/// The controller ended before the work did.
pub(crate) fn interrupted(kind: JobKind) -> Problem {
    let remedy = match kind {
        JobKind::Import => {
            "Nothing was kept of it. Start it again; a file that was uploaded in pieces is still there: `imprint image import FILE` goes on with it (API: POST /v1/uploads/{id}/complete)."
        }
        JobKind::Copy => "Nothing was kept of it. Start it again: `imprint image copy`.",
        JobKind::Export => "Start it again: `imprint image export`; it replaces what is half written.",
        JobKind::Verify => "Start it again: `imprint store verify`.",
        JobKind::Gc => "Start it again: `imprint store gc`. What it had removed was needed by nobody.",
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "interrupted",
        "The controller ended in the middle of the job",
        "The controller ended, or was restarted, before the job had ended.",
        remedy,
    )
}
