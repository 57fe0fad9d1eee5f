//! The visible steps of a deployment, one row each.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::state::{Step, StepState};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, doing},
};

/// A step as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StepView {
    /// Which one.
    pub step: Step,
    /// How it stands.
    pub state: StepState,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// What was done or found.
    pub detail: String,
    /// What went wrong last.
    pub cause: String,
    /// What the operator can do.
    pub remedy: String,
}

/// News of a step.
#[derive(Debug, Clone)]
pub(super) struct StepChange<'a> {
    pub step: Step,
    pub state: StepState,
    pub at: Timestamp,
    pub detail: &'a str,
    pub cause: &'a str,
    pub remedy: &'a str,
}

impl<'a> StepChange<'a> {
    pub(super) fn new(step: Step, state: StepState, at: Timestamp, detail: &'a str) -> Self {
        Self {
            step,
            state,
            at,
            detail,
            cause: "",
            remedy: "",
        }
    }
}

/// Keeps the news. A step that starts again starts anew; otherwise an empty detail leaves the former one.
pub(super) async fn set(
    connection: &mut SqliteConnection,
    deployment_id: &str,
    change: &StepChange<'_>,
) -> Result<(), DatabaseError> {
    let ended = matches!(change.state, StepState::Finished | StepState::Failed);
    sqlx::query(
        "INSERT INTO deployment_steps (deployment_id, step, position, state, started_at, finished_at, detail, cause, remedy) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (deployment_id, step) DO UPDATE SET state = ?4, \
         started_at = CASE WHEN ?4 = 'running' AND state <> 'running' THEN ?5 ELSE started_at END, finished_at = ?6, \
         detail = CASE WHEN ?7 = '' THEN detail ELSE ?7 END, cause = ?8, remedy = ?9",
    )
    .bind(deployment_id)
    .bind(change.step.as_str())
    .bind(change.step.position())
    .bind(change.state.as_str())
    .bind(change.at.as_millisecond())
    .bind(ended.then(|| change.at.as_millisecond()))
    .bind(change.detail)
    .bind(change.cause)
    .bind(change.remedy)
    .execute(connection)
    .await
    .map_err(doing("keep the step"))?;
    Ok(())
}

/// Ends all steps that go on, with the given state.
pub(super) async fn end_open(
    connection: &mut SqliteConnection,
    deployment_id: &str,
    state: StepState,
    at: Timestamp,
    cause: &str,
    remedy: &str,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE deployment_steps SET state = ?, finished_at = ?, cause = ?, remedy = ? \
         WHERE deployment_id = ? AND state IN ('running', 'retrying')",
    )
    .bind(state.as_str())
    .bind(at.as_millisecond())
    .bind(cause)
    .bind(remedy)
    .bind(deployment_id)
    .execute(connection)
    .await
    .map_err(doing("end the steps"))?;
    Ok(())
}

/// Forgets the agent's steps, for a new attempt.
pub(super) async fn forget_agents(
    connection: &mut SqliteConnection,
    deployment_id: &str,
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM deployment_steps WHERE deployment_id = ? AND position > ?")
        .bind(deployment_id)
        .bind(Step::Boot.position())
        .execute(connection)
        .await
        .map_err(doing("forget the steps of the former attempt"))?;
    Ok(())
}

/// All steps so far, in their order.
pub(super) async fn list(
    connection: &mut SqliteConnection,
    deployment_id: &str,
) -> Result<Vec<StepView>, DatabaseError> {
    let rows = sqlx::query("SELECT * FROM deployment_steps WHERE deployment_id = ? ORDER BY position")
        .bind(deployment_id)
        .fetch_all(connection)
        .await
        .map_err(doing("read the steps"))?;
    rows.iter()
        .map(view)
        .collect::<Result<_, _>>()
        .map_err(doing("read the steps"))
}

fn view(row: &SqliteRow) -> Result<StepView, sqlx::Error> {
    let decode = |error| sqlx::Error::Decode(Box::new(error));
    Ok(StepView {
        step: row.try_get::<String, _>("step")?.parse().map_err(decode)?,
        state: row.try_get::<String, _>("state")?.parse().map_err(decode)?,
        started_at: timestamp_from_ms(row.try_get("started_at")?),
        finished_at: row
            .try_get::<Option<i64>, _>("finished_at")?
            .map(timestamp_from_ms),
        detail: row.try_get("detail")?,
        cause: row.try_get("cause")?,
        remedy: row.try_get("remedy")?,
    })
}
