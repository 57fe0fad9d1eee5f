//! REST: the guest plugins of nodes.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    routing::get,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use zeroize::Zeroizing;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    guests::{Guest, GuestError, NewReset, PasswordResetRecord},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/nodes/{node}/guest", get(get_guest))
        .route(
            "/v1/nodes/{node}/password-resets",
            get(list_password_resets).post(reset_password),
        )
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(get_guest, list_password_resets, reset_password))]
    struct Part;
    Part::openapi()
}

/// Whose password, and which.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordResetRequest {
    /// A user of the installed system.
    user: String,
    /// 8 to 256 characters in one line; one is made when it is left out.
    #[schema(format = Password)]
    password: Option<String>,
    /// Until the order is good no more: 10 to 900, 120 when it is left out.
    life_seconds: Option<u32>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
struct PasswordResetAnswer {
    /// The order.
    #[serde(flatten)]
    order: PasswordResetRecord,
    /// The password that was made; it is told here and nowhere else. Null when it was given.
    #[schema(format = Password)]
    password: Option<String>,
}

/// The orders of a node.
#[derive(Debug, Serialize, ToSchema)]
struct PasswordResetList {
    /// The last 100, newest first.
    items: Vec<PasswordResetRecord>,
    /// Always null: there are no more pages.
    next_page_token: Option<String>,
}

/// The guest plugin of a node's installed system.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/guest",
    tag = "guests",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The plugin", body = Guest),
        (status = 404, description = "No such node, or no plugin ever reported from it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_guest(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<Guest>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let guest = app.guests.of_node(&node.id).await?;
    Ok(Json(guest.ok_or(GuestError::None(node.name))?))
}

/// The orders to set a password on a node.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/password-resets",
    tag = "guests",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The last 100, newest first", body = PasswordResetList),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list_password_resets(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<PasswordResetList>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let items = app.guests.resets(&node.id).await?;
    Ok(Json(PasswordResetList {
        items,
        next_page_token: None,
    }))
}

/// Sets a password on a node's installed system: once, sealed to the plugin that is connected now. Answers when the plugin
/// has, or after 30 seconds with state `sent`.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/password-resets",
    tag = "guests",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = PasswordResetRequest,
    responses(
        (status = 200, description = "The order, with its end as far as it is known", body = PasswordResetAnswer),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The plugin is not connected", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That cannot be a user or a password", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn reset_password(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<PasswordResetRequest>, JsonRejection>,
) -> Result<Json<PasswordResetAnswer>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let Json(request) = body?;
    let wanted = NewReset {
        user: request.user,
        password: request.password.map(Zeroizing::new),
        life_seconds: request.life_seconds,
    };
    let answer = app.guests.reset_password(&caller, &node, &wanted).await?;
    Ok(Json(PasswordResetAnswer {
        order: answer.record,
        password: answer.generated.map(|password| password.to_string()),
    }))
}
