//! REST: deployments of many nodes by one request.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    deployments::key_of,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    deploy::{Batch, BatchRequest},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/batches", get(list_batches).post(create_batch))
        .route("/v1/batches/{id}", get(get_batch))
        .route("/v1/batches/{id}/cancel", post(cancel_batch))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(create_batch, list_batches, get_batch, cancel_batch))]
    struct Part;
    Part::openapi()
}

/// The newest batches.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchList {
    /// At most 100, newest first, without their nodes.
    items: Vec<Batch>,
}

/// How a batch is stopped.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchCancellation {
    /// Deployments that run are cancelled as well. Default false.
    #[serde(default)]
    running: bool,
}

/// Puts an image onto many machines, some at a time. Each gets a deployment at once, which waits for its turn.
#[utoipa::path(
    post,
    path = "/v1/batches",
    tag = "deployments",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "A second request with this key is answered with the batch of the first one"),
    ),
    request_body = BatchRequest,
    responses(
        (status = 201, description = "Begun; nodes that cannot be deployed are named with the reason", body = Batch),
        (status = 404, description = "Of one node or all: there is no such thing", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "Of one node or all: not available", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That is no batch, or it cannot work on any node", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_batch(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<BatchRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Batch>), Problem> {
    caller.require(Permission::WriteDeployments)?;
    let Json(request) = body?;
    let key = key_of(&headers)?;
    let batch = app.deployments.create_batch(&caller, &request, key).await?;
    Ok((StatusCode::CREATED, Json(batch)))
}

/// The newest batches.
#[utoipa::path(
    get,
    path = "/v1/batches",
    tag = "deployments",
    responses((status = 200, description = "The newest batches", body = BatchList))
)]
async fn list_batches(caller: Caller, State(app): State<App>) -> Result<Json<BatchList>, Problem> {
    caller.require(Permission::ReadDeployments)?;
    let items = app.deployments.batches(&caller.viewer()).await?;
    Ok(Json(BatchList { items }))
}

/// One batch with a report of each node.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the batch")),
    responses(
        (status = 200, description = "The batch", body = Batch),
        (status = 404, description = "No such batch", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_batch(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Batch>, Problem> {
    caller.require(Permission::ReadDeployments)?;
    Ok(Json(app.deployments.batch(&caller.viewer(), &id).await?))
}

/// Begins no further deployment of a batch.
#[utoipa::path(
    post,
    path = "/v1/batches/{id}/cancel",
    tag = "deployments",
    params(("id" = String, Path, description = "Id of the batch")),
    request_body(content = Option<BatchCancellation>, description = "What becomes of those that run"),
    responses(
        (status = 200, description = "Stopped, or about to be", body = Batch),
        (status = 404, description = "No such batch", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn cancel_batch(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
    body: Result<Option<Json<BatchCancellation>>, JsonRejection>,
) -> Result<Json<Batch>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let wanted = body?.map(|Json(wanted)| wanted).unwrap_or_default();
    Ok(Json(
        app.deployments.cancel_batch(&caller, &id, wanted.running).await?,
    ))
}
