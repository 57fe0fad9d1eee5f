//! REST: deployments.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    deploy::{DeployRequest, DeploymentPlan, DeploymentView},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/deployments", get(list_deployments).post(create_deployment))
        .route("/v1/deployments/{id}", get(get_deployment))
        .route("/v1/deployments/{id}/cancel", post(cancel_deployment))
        .route("/v1/deployments/{id}/accept", post(accept_deployment))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        create_deployment,
        list_deployments,
        get_deployment,
        cancel_deployment,
        accept_deployment
    ))]
    struct Part;
    Part::openapi()
}

/// A page of deployments.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeploymentList {
    /// The deployments, newest first.
    items: Vec<DeploymentView>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which deployments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeploymentListQuery {
    /// Only those of this node.
    node: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Puts an image onto a machine.
#[utoipa::path(
    post,
    path = "/v1/deployments",
    tag = "deployments",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "A second request with this key is answered with the deployment of the first one"),
    ),
    request_body = DeployRequest,
    responses(
        (status = 200, description = "`dry_run`: what would be done", body = DeploymentPlan),
        (status = 201, description = "Begun", body = DeploymentView),
        (status = 404, description = "No such node or image", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The node is not available", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "It cannot work; every reason is named", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_deployment(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<DeployRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let Json(request) = body?;
    let key = key_of(&headers)?;
    if request.dry_run {
        return Ok(Json(app.deployments.plan(&caller, &request).await?).into_response());
    }
    let deployment = app.deployments.create(&caller, &request, key).await?;
    let view = app.deployments.view(deployment).await?;
    let location = [(header::LOCATION, format!("/v1/deployments/{}", view.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

/// The Idempotency-Key of a request that makes deployments.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = headers.get("idempotency-key").map(|value| value.to_str());
    key.transpose().map_err(|_| {
        Problem::invalid(
            "The Idempotency-Key is not printable text.",
            "Use a short random text, such as a UUID.",
        )
    })
}

/// All deployments, newest first.
#[utoipa::path(
    get,
    path = "/v1/deployments",
    tag = "deployments",
    params(DeploymentListQuery),
    responses((status = 200, description = "A page of deployments", body = DeploymentList))
)]
async fn list_deployments(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<DeploymentListQuery>, QueryRejection>,
) -> Result<Json<DeploymentList>, Problem> {
    caller.require(Permission::ReadDeployments)?;
    let Query(query) = query?;
    let page = app
        .deployments
        .list(
            &caller.viewer(),
            query.node.as_deref(),
            query.page_size,
            query.page_token.as_deref(),
        )
        .await?;
    let mut items = Vec::with_capacity(page.items.len());
    for deployment in page.items {
        items.push(app.deployments.view(deployment).await?);
    }
    Ok(Json(DeploymentList {
        items,
        next_page_token: page.next,
    }))
}

/// One deployment with its steps and figures.
#[utoipa::path(
    get,
    path = "/v1/deployments/{id}",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the deployment")),
    responses(
        (status = 200, description = "The deployment", body = DeploymentView),
        (status = 404, description = "No such deployment", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_deployment(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<DeploymentView>, Problem> {
    caller.require(Permission::ReadDeployments)?;
    let deployment = app.deployments.get(&caller.viewer(), &id).await?;
    Ok(Json(app.deployments.view(deployment).await?))
}

/// Stops a deployment. It may go on until the agent has confirmed it.
#[utoipa::path(
    post,
    path = "/v1/deployments/{id}/cancel",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the deployment")),
    responses(
        (status = 200, description = "Cancelled, or about to be", body = DeploymentView),
        (status = 404, description = "No such deployment", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn cancel_deployment(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<DeploymentView>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let deployment = app.deployments.cancel(&caller, &id).await?;
    Ok(Json(app.deployments.view(deployment).await?))
}

/// Takes the system of a failed deployment as it is: it is up and has reported, but not all of it went well. The node is
/// active then.
#[utoipa::path(
    post,
    path = "/v1/deployments/{id}/accept",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the deployment")),
    responses(
        (status = 200, description = "It has succeeded, by this or before", body = DeploymentView),
        (status = 404, description = "No such deployment", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It has no system that could be accepted", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn accept_deployment(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<DeploymentView>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let deployment = app.deployments.accept(&caller, &id).await?;
    Ok(Json(app.deployments.view(deployment).await?))
}
