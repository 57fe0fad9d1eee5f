//! A job as it is kept and as callers see it.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::JobKind;
use crate::{api::rest::problem::ProblemDocument, clock::timestamp_from_ms, words::words};

words! {
    /// Where a job is.
    JobState, "state of a job", {
        /// It waits for its turn.
        Queued => "queued",
        /// It runs.
        Running => "running",
        /// It has done what it should.
        Succeeded => "succeeded",
        /// It has not; the problem says why.
        Failed => "failed",
        /// It was stopped and has cleaned up.
        Cancelled => "cancelled",
    }
}

impl JobState {
    /// Whether nothing follows it.
    #[must_use]
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobProgress {
    /// What it does now, in a word or two; empty before it has begun.
    pub step: String,
    /// Of this step.
    pub bytes_done: u64,
    /// Of this step; 0 when nobody knows.
    pub bytes_total: u64,
}

/// Long work that goes on after its request was answered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Job {
    /// ULID.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// The project it works for.
    pub project_id: String,
    /// The image it is about, if it is about one.
    pub image_id: Option<String>,
    /// Where it is.
    pub state: JobState,
    /// What was asked for, without secrets.
    #[schema(value_type = Object)]
    pub request: Value,
    /// How far it is.
    pub progress: JobProgress,
    /// What came of it, when it has succeeded.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why it has failed.
    pub problem: Option<ProblemDocument>,
    /// Who asked for it.
    pub requested_by: String,
    /// Since when it is to stop.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its turn came.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

pub(super) fn from_row(row: &SqliteRow) -> Result<Job, sqlx::Error> {
    let time = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(name)?.map(timestamp_from_ms));
    Ok(Job {
        id: row.try_get("id")?,
        kind: word(row, "kind")?,
        project_id: row.try_get("project_id")?,
        image_id: row.try_get("image_id")?,
        state: word(row, "state")?,
        request: document(row, "request")?.unwrap_or_default(),
        progress: document(row, "progress")?.unwrap_or_default(),
        result: document(row, "result")?,
        problem: document(row, "problem")?,
        requested_by: row.try_get("requested_by")?,
        cancel_requested_at: time("cancel_requested_at")?,
        created_at: timestamp_from_ms(row.try_get("created_at")?),
        started_at: time("started_at")?,
        ended_at: time("ended_at")?,
    })
}

fn word<T>(row: &SqliteRow, name: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.try_get(name)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn document<T: for<'a> Deserialize<'a>>(row: &SqliteRow, name: &str) -> Result<Option<T>, sqlx::Error> {
    let text: Option<String> = row.try_get(name)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
