//! REST: what projects may keep.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, put},
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::Quota,
    identity::{Permission, ProjectChange},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/quota", get(get_quota))
        .route("/v1/projects/{project}/quota", put(set_quota))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(get_quota, set_quota))]
    struct Part;
    Part::openapi()
}

/// Whose quota.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QuotaQuery {
    /// Id or name of a project; the caller's own when it is left out.
    project: Option<String>,
}

/// New limits; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuotaChange {
    /// Private images that each of its users may have; 0 goes back to what the configuration says.
    max_images_per_user: Option<u64>,
    /// Bytes that its images may take in the store; 0 goes back to what the configuration says.
    max_stored_bytes: Option<u64>,
}

/// What a project may keep, and what it does. Public images count for nobody.
#[utoipa::path(
    get,
    path = "/v1/quota",
    tag = "quota",
    params(QuotaQuery),
    responses(
        (status = 200, description = "Limits, what is used, what is reserved", body = Quota),
        (status = 404, description = "There is no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_quota(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<QuotaQuery>, QueryRejection>,
) -> Result<Json<Quota>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    let project_id = match query.project.as_deref().filter(|project| !project.is_empty()) {
        None => caller.project_id.clone(),
        Some(project) => app.tenants.project(&caller.viewer(), project).await?.id,
    };
    Ok(Json(app.catalog.quota(&caller, &project_id).await?))
}

/// Changes what a project may keep. Administrators only. What it has beyond that stays; it gets nothing more.
#[utoipa::path(
    put,
    path = "/v1/projects/{project}/quota",
    tag = "quota",
    params(("project" = String, Path, description = "Id or name")),
    request_body = QuotaChange,
    responses(
        (status = 200, description = "The quota as it is now", body = Quota),
        (status = 403, description = "The caller is no administrator", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "A limit is too large to be kept", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn set_quota(
    caller: Caller,
    State(app): State<App>,
    Path(project): Path<String>,
    body: Result<Json<QuotaChange>, JsonRejection>,
) -> Result<Json<Quota>, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Json(wanted) = body?;
    let change = ProjectChange {
        max_images_per_user: wanted.max_images_per_user,
        max_stored_bytes: wanted.max_stored_bytes,
        ..ProjectChange::default()
    };
    let project = app.tenants.update_project(&caller, &project, &change).await?;
    Ok(Json(app.catalog.quota(&caller, &project.id).await?))
}
