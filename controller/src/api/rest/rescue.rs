//! REST: rescues, in which somebody works in the ramdisk of a node.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    routing::post,
};
use http::StatusCode;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    deploy::{DeploymentView, Rescue, RescueRequest},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/nodes/{node}/rescue", post(begin_rescue).delete(end_rescue))
        .route("/v1/nodes/{node}/rescue/password", post(new_rescue_password))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(begin_rescue, new_rescue_password, end_rescue))]
    struct Part;
    Part::openapi()
}

/// A rescue, and the password that was made for it.
#[derive(Serialize, ToSchema)]
struct RescueAnswer {
    /// The rescue.
    #[serde(flatten)]
    rescue: DeploymentView,
    /// Of root, good for one login; told here and nowhere else.
    #[schema(format = Password)]
    password: String,
}

async fn answer(app: &App, rescue: Rescue) -> Result<(StatusCode, Json<RescueAnswer>), Problem> {
    Ok((
        StatusCode::CREATED,
        Json(RescueAnswer {
            rescue: app.deployments.view(rescue.deployment).await?,
            password: rescue.password.0.as_str().to_owned(),
        }),
    ))
}

/// Boots the ramdisk with an ssh server, so that somebody can work on a machine. No disk is touched. It ends by itself, or
/// when it is asked to; the node is what it was before.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/rescue",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body(content = Option<RescueRequest>, description = "For how long, and with which keys"),
    responses(
        (status = 201, description = "Begun, with its one-time password", body = RescueAnswer),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it, or the controller has no ramdisk for it", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That cannot be asked of it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn begin_rescue(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Option<Json<RescueRequest>>, JsonRejection>,
) -> Result<(StatusCode, Json<RescueAnswer>), Problem> {
    caller.require(Permission::WriteDeployments)?;
    let request = body?.map(|Json(request)| request).unwrap_or_default();
    let rescue = app.deployments.begin_rescue(&caller, &node, &request).await?;
    answer(&app, rescue).await
}

/// Makes another one-time password for a rescue that runs; the former one is good no more.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/rescue/password",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 201, description = "The rescue, with its new password", body = RescueAnswer),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No rescue runs on it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn new_rescue_password(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<(StatusCode, Json<RescueAnswer>), Problem> {
    caller.require(Permission::WriteDeployments)?;
    let rescue = app.deployments.new_rescue_password(&caller, &node).await?;
    answer(&app, rescue).await
}

/// Ends a rescue: its sessions are ended and the machine restarts. It may take until the agent has confirmed it.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{node}/rescue",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The rescue, which is ending or has ended", body = DeploymentView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No rescue runs on it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn end_rescue(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<DeploymentView>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let ended = app.deployments.end_rescue(&caller, &node).await?;
    Ok(Json(app.deployments.view(ended).await?))
}
