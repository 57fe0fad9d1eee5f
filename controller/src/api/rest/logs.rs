//! REST: logs of deployments.

use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, identity::Permission, logs::Part};

/// Where the next part of a log begins.
const NEXT: HeaderName = HeaderName::from_static("log-next");

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new().route("/v1/deployments/{id}/log", get(read_log))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(read_log))]
    struct Part;
    Part::openapi()
}

/// Which part of a log; all of it without either.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// Only the last lines.
    tail: Option<usize>,
    /// Only what is behind this place: the `Log-Next` of an earlier answer.
    from: Option<u64>,
}

impl LogQuery {
    fn part(&self) -> Result<Part, Problem> {
        match (self.tail, self.from) {
            (None, None) => Ok(Part::All),
            (Some(lines), None) => Ok(Part::Tail(lines)),
            (None, Some(place)) => Ok(Part::From(place)),
            (Some(_), Some(_)) => Err(Problem::invalid(
                "`tail` and `from` ask for different parts of the log.",
                "Leave one of them out.",
            )),
        }
    }
}

/// What the agent and its kernel said while they worked on the deployment. It is kept for a while and up to a size
/// (`[logs]` in `docs/configuration.md`); a line that begins with `#` says how much is missing.
#[utoipa::path(
    get,
    path = "/v1/deployments/{id}/log",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the deployment"), LogQuery),
    responses(
        (status = 200, description = "The log; empty where there is none", body = String, content_type = "text/plain",
         headers(("Log-Next" = u64, description = "The place behind the answer, for `from`"))),
        (status = 404, description = "No such deployment", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn read_log(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadDeployments)?;
    let Query(query) = query?;
    let log = app
        .deployments
        .read_log(&caller.viewer(), &id, query.part()?)
        .await?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (NEXT, HeaderValue::from(log.next)),
    ];
    Ok((headers, log.text).into_response())
}
