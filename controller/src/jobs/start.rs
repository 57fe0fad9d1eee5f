//! A job begins: its row first, then its task.

use std::{future::Future, pin::Pin};

use serde_json::Value;
use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{Job, JobContext, JobError, JobKind, Jobs, record, run};
use crate::api::rest::problem::Problem;

/// Jobs of one project that have not ended.
const MAX_WAITING: i64 = 100;

/// What a job is to do.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// The project it works for.
    pub project_id: String,
    /// The image it is about, if it is about one.
    pub image_id: Option<String>,
    /// What was asked for, without secrets. The same request with the same key is the same job.
    pub request: Value,
    /// Who asked for it.
    pub by: String,
    /// Of the request.
    pub key: Option<String>,
}

/// What a job does, in a box.
pub(super) type Work = Box<dyn FnOnce(JobContext) -> Outcome + Send>;
/// How its work ends, later.
type Outcome = Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send>>;

pub(super) fn boxed<W, F>(work: W) -> Work
where
    W: FnOnce(JobContext) -> F + Send + 'static,
    F: Future<Output = Result<Value, Problem>> + Send + 'static,
{
    Box::new(move |context| Box::pin(work(context)))
}

impl Jobs {
    /// Starts a job and answers at once. The work begins when it is its turn; what it returns is the job's result or
    /// problem. A request that was made before, by its key, gives the job of that time, and `work` is dropped.
    pub async fn start<W, F>(&self, new: NewJob, work: W) -> Result<Job, JobError>
    where
        W: FnOnce(JobContext) -> F + Send + 'static,
        F: Future<Output = Result<Value, Problem>> + Send + 'static,
    {
        let id = Ulid::generate().to_string();
        self.start_as(id, new, work).await
    }

    /// As [`Jobs::start`], with an id of the caller's making.
    pub async fn start_as<W, F>(&self, id: String, new: NewJob, work: W) -> Result<Job, JobError>
    where
        W: FnOnce(JobContext) -> F + Send + 'static,
        F: Future<Output = Result<Value, Problem>> + Send + 'static,
    {
        let mut tx = self.0.db.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(job) = made_before(&mut tx, &new).await? {
            return Ok(self.0.fresh(job));
        }
        require_room(&mut tx, &new.project_id).await?;
        let row = sqlx::query(
            "INSERT INTO jobs (id, kind, project_id, image_id, state, request, requested_by, idempotency_key, created_at)
             VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?) RETURNING *",
        )
        .bind(id)
        .bind(new.kind.as_str())
        .bind(&new.project_id)
        .bind(&new.image_id)
        .bind(new.request.to_string())
        .bind(&new.by)
        .bind(&new.key)
        .bind(self.0.clock.now_ms())
        .fetch_one(&mut *tx)
        .await?;
        let job = record::from_row(&row)?;
        tx.commit().await?;
        run::spawn(&self.0, job.clone(), boxed(work));
        Ok(job)
    }

    /// The job that an earlier request with this key made.
    pub async fn made_by(&self, new: &NewJob) -> Result<Option<Job>, JobError> {
        let mut connection = self.0.db.acquire().await?;
        let job = made_before(&mut connection, new).await?;
        Ok(job.map(|job| self.0.fresh(job)))
    }
}

async fn made_before(db: &mut SqliteConnection, new: &NewJob) -> Result<Option<Job>, JobError> {
    let Some(key) = &new.key else {
        return Ok(None);
    };
    let row = sqlx::query("SELECT * FROM jobs WHERE project_id = ? AND idempotency_key = ?")
        .bind(&new.project_id)
        .bind(key)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let job = record::from_row(&row)?;
    if job.kind == new.kind && job.request == new.request {
        Ok(Some(job))
    } else {
        Err(JobError::KeyReused { id: job.id })
    }
}

async fn require_room(db: &mut SqliteConnection, project_id: &str) -> Result<(), JobError> {
    let query = "SELECT count(*) FROM jobs WHERE project_id = ? AND state IN ('queued', 'running')";
    let waiting: i64 = sqlx::query_scalar(query).bind(project_id).fetch_one(db).await?;
    if waiting < MAX_WAITING {
        Ok(())
    } else {
        Err(JobError::TooMany { waiting })
    }
}
