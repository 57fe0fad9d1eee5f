//! A job is to stop.

use super::{Job, JobError, JobState, Jobs};
use crate::identity::Viewer;

impl Jobs {
    /// Asks a job to stop, and answers at once; the job is `cancelled` when its work has cleaned up. Asking twice is
    /// asking once. A job that has ended otherwise refuses.
    pub async fn cancel(&self, viewer: &Viewer, id: &str) -> Result<Job, JobError> {
        let job = self.get(viewer, id).await?;
        match job.state {
            JobState::Cancelled => return Ok(job),
            JobState::Queued | JobState::Running => {}
            state => {
                return Err(JobError::Ended { id: job.id, state });
            }
        }
        sqlx::query(
            "UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, ?)
             WHERE id = ? AND state IN ('queued', 'running')",
        )
        .bind(self.0.clock.now_ms())
        .bind(&job.id)
        .execute(&self.0.db)
        .await?;
        if let Some(live) = self.0.live(&job.id) {
            live.cancel.cancel();
        }
        self.get(viewer, id).await
    }
}
