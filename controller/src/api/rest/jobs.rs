//! REST: jobs.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::Permission,
    jobs::{Job, JobKind, JobQuery, JobState},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/jobs", get(list_jobs))
        .route("/v1/jobs/{job}", get(get_job))
        .route("/v1/jobs/{job}/cancel", post(cancel_job))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(list_jobs, get_job, cancel_job))]
    struct Part;
    Part::openapi()
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// The jobs, newest first.
    items: Vec<Job>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct JobListQuery {
    /// Only those of this kind.
    kind: Option<JobKind>,
    /// Only those in this state.
    state: Option<JobState>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// The jobs of the caller's project, newest first; of all projects for operators.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    params(JobListQuery),
    responses((status = 200, description = "A page of jobs", body = JobList))
)]
async fn list_jobs(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<JobListQuery>, QueryRejection>,
) -> Result<Json<JobList>, Problem> {
    caller.require(Permission::ReadJobs)?;
    let Query(query) = query?;
    let query = JobQuery {
        kind: query.kind,
        state: query.state,
        page_size: query.page_size,
        page_token: query.page_token,
    };
    let page = app.jobs.list(&caller.viewer(), &query).await?;
    Ok(Json(JobList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}

/// One job, with its newest progress.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job}",
    tag = "jobs",
    params(("job" = String, Path, description = "Id of the job")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_job(
    caller: Caller,
    State(app): State<App>,
    Path(job): Path<String>,
) -> Result<Json<Job>, Problem> {
    caller.require(Permission::ReadJobs)?;
    Ok(Json(app.jobs.get(&caller.viewer(), &job).await?))
}

/// Stops a job. It is `cancelled` when it has cleaned up; asking twice is asking once.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}/cancel",
    tag = "jobs",
    params(("job" = String, Path, description = "Id of the job")),
    responses(
        (status = 200, description = "Cancelled, or about to be", body = Job),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn cancel_job(
    caller: Caller,
    State(app): State<App>,
    Path(job): Path<String>,
) -> Result<Json<Job>, Problem> {
    caller.require(Permission::WriteJobs)?;
    Ok(Json(app.jobs.cancel(&caller, &job).await?))
}
