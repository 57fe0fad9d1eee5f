//! REST: figures for Prometheus.

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header;
use utoipa::OpenApi;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, identity::Permission, metrics};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new().route("/metrics", get(read_metrics))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(read_metrics))]
    struct Part;
    Part::openapi()
}

/// All figures, for Prometheus: OpenMetrics text. `docs/metrics.md` says what they are.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "OpenMetrics 1.0", body = String, content_type = "application/openmetrics-text"),
        (status = 403, description = "The token may not read metrics", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn read_metrics(caller: Caller, State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    caller.require(Permission::ReadMetrics)?;
    let page = app.metrics.render(&app).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page))
}
