//! Why a request about jobs is refused.

use http::StatusCode;

use super::JobState;
use crate::{
    api::rest::problem::{Problem, sentence},
    events::DatabaseError,
};

/// Why a request about jobs is refused.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// There is none, or none that the caller may see.
    #[error("there is no job `{id}`")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// It cannot be cancelled any more.
    #[error("job {id} has {state} already")]
    Ended {
        /// The job.
        id: String,
        /// How it ended.
        state: JobState,
    },
    /// The key belongs to another request.
    #[error("the Idempotency-Key was used for job {id}, which is not the same request")]
    KeyReused {
        /// The job of the other request.
        id: String,
    },
    /// The project has too many jobs that have not ended.
    #[error("{waiting} jobs of the project have not ended yet, which is the most there can be")]
    TooMany {
        /// How many.
        waiting: i64,
    },
    /// The page token is not one of this list.
    #[error("the page token is not one of this list")]
    BadPageToken,
    /// The database.
    #[error(transparent)]
    Event(#[from] DatabaseError),
    /// The database.
    #[error("cannot read or write the jobs in the database")]
    Database(#[from] sqlx::Error),
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            JobError::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "job-not-found",
                "There is no such job",
                detail,
                "`imprint job list` shows all jobs (API: GET /v1/jobs).",
            ),
            JobError::Ended { id, .. } => Self::new(
                StatusCode::CONFLICT,
                "job-ended",
                "The job has ended",
                detail,
                format!("`imprint job show {id}` tells how it ended (API: GET /v1/jobs/{id})."),
            ),
            JobError::KeyReused { .. } => Self::new(
                StatusCode::CONFLICT,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
                detail,
                "Send a new key with each new request.",
            ),
            JobError::TooMany { .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-jobs",
                "Too many jobs wait",
                detail,
                "Wait until some have ended, or cancel some: `imprint job list --state queued`, `imprint job cancel JOB`.",
            ),
            JobError::BadPageToken => Self::invalid(
                detail,
                "Take `next_page_token` of the page before, or leave it out for the first page.",
            ),
            JobError::Event(error) => Self::internal(&error),
            JobError::Database(error) => Self::internal(&error),
        }
    }
}
