//! REST: what is to be paid for.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::{Usage, UsageQuery, UsageRecord},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/usage", get(get_usage))
        .route("/v1/usage/records", get(list_usage_records))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(get_usage, list_usage_records))]
    struct Part;
    Part::openapi()
}

/// Which usage.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SpanQuery {
    /// The beginning, as 2026-11-01T00:00:00Z; 30 days before the end when it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end, which does not belong to it; now when it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Id or name of a project. Operators see all without it, others their own.
    project: Option<String>,
    /// At most this many records: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageRecordList {
    /// The records, in the order in which they were written.
    items: Vec<UsageRecord>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

async fn query(app: &App, caller: &Caller, span: SpanQuery) -> Result<UsageQuery, Problem> {
    let project_id = match span.project.as_deref().filter(|project| !project.is_empty()) {
        None => None,
        Some(project) => Some(app.tenants.project(&caller.viewer(), project).await?.id),
    };
    Ok(UsageQuery {
        from: span.from,
        to: span.to,
        project_id,
        page_size: span.page_size,
        page_token: span.page_token,
    })
}

/// What usage comes to, by project and image, up to this moment.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = "usage",
    params(SpanQuery),
    responses(
        (status = 200, description = "Sums", body = Usage),
        (status = 400, description = "The times cannot be read, or are in the wrong order", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_usage(
    caller: Caller,
    State(app): State<App>,
    span: Result<Query<SpanQuery>, QueryRejection>,
) -> Result<Json<Usage>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(span) = span?;
    let query = query(&app, &caller, span).await?;
    Ok(Json(app.catalog.usage(&caller.viewer(), &query).await?))
}

/// The records that bills are made of. A span that has not ended has none yet.
#[utoipa::path(
    get,
    path = "/v1/usage/records",
    tag = "usage",
    params(SpanQuery),
    responses(
        (status = 200, description = "A page of records", body = UsageRecordList),
        (status = 400, description = "The times cannot be read, or the page token is of another list", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_usage_records(
    caller: Caller,
    State(app): State<App>,
    span: Result<Query<SpanQuery>, QueryRejection>,
) -> Result<Json<UsageRecordList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(span) = span?;
    let query = query(&app, &caller, span).await?;
    let page = app.catalog.usage_records(&caller.viewer(), &query).await?;
    Ok(Json(UsageRecordList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}
