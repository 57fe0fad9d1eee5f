//! A job is to stop.

use serde_json::json;

use super::{Job, JobError, JobState, Jobs, run::told};
use crate::identity::Caller;

impl Jobs {
    /// Asks a job to stop, and answers at once; the job is `cancelled` when its work has cleaned up. Asking twice is
    /// asking once. A job that has ended otherwise refuses.
    pub async fn cancel(&self, by: &Caller, id: &str) -> Result<Job, JobError> {
        let viewer = &by.viewer();
        let job = self.get(viewer, id).await?;
        match job.state {
            JobState::Cancelled => return Ok(job),
            JobState::Queued | JobState::Running => {}
            state => {
                return Err(JobError::Ended { id: job.id, state });
            }
        }
        let author = by.author().in_project(&job.project_id);
        let mut change = self.0.events.begin_by(author).await?;
        let asked = sqlx::query(
            "UPDATE jobs SET cancel_requested_at = ?
             WHERE id = ? AND state IN ('queued', 'running') AND cancel_requested_at IS NULL",
        )
        .bind(self.0.clock.now_ms())
        .bind(&job.id)
        .execute(change.connection())
        .await?;
        if asked.rows_affected() == 1 {
            let event = told(&job, "job.cancel-requested", "was asked to stop", json!({}));
            change.append(event).await?;
        }
        change.commit().await?;
        if let Some(live) = self.0.live(&job.id) {
            live.cancel.cancel();
        }
        self.get(viewer, id).await
    }
}
