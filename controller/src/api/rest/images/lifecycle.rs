//! The states of an image, at once or planned.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    routing::{delete, get, post},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Caller, Problem, ProblemDocument};
use crate::{
    app::App,
    catalog::{Image, ImageState, Transition, TransitionRequest},
    identity::Permission,
};

/// When and why an image takes a state.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LifecycleRequest {
    /// When; now when it is left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Id or name of the image to use instead.
    replacement: Option<String>,
    /// What everybody should know who uses the image.
    reason: Option<String>,
}

/// Planned changes of an image.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransitionList {
    /// By their time.
    items: Vec<Transition>,
    /// Always null: there are few.
    next_page_token: Option<String>,
}

/// Paths of this part.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/images/{image}/activate", post(activate_image))
        .route("/v1/images/{image}/deactivate", post(deactivate_image))
        .route("/v1/images/{image}/deprecate", post(deprecate_image))
        .route("/v1/images/{image}/obsolete", post(obsolete_image))
        .route(
            "/v1/images/{image}/transitions",
            get(list_transitions).delete(cancel_all_transitions),
        )
        .route(
            "/v1/images/{image}/transitions/{state}",
            delete(cancel_transition),
        )
}

type Body = Result<Option<Json<LifecycleRequest>>, JsonRejection>;

async fn change(
    caller: Caller,
    app: App,
    image: String,
    to: ImageState,
    body: Body,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    let wanted = body?.map(|Json(wanted)| wanted).unwrap_or_default();
    let wanted = TransitionRequest {
        to,
        at: wanted.at,
        replacement: wanted.replacement,
        reason: wanted.reason,
    };
    Ok(Json(app.catalog.transition(&caller, &image, &wanted).await?))
}

/// Puts an image back into use.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/activate",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    request_body(content = Option<LifecycleRequest>, description = "When, if not now"),
    responses(
        (status = 200, description = "The image, active or planned to be", body = Image),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn activate_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Body,
) -> Result<Json<Image>, Problem> {
    change(caller, app, image, ImageState::Active, body).await
}

/// Takes an image out of use for now: deployments of it are refused.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/deactivate",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    request_body(content = Option<LifecycleRequest>, description = "When and why"),
    responses(
        (status = 200, description = "The image, deactivated or planned to be", body = Image),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn deactivate_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Body,
) -> Result<Json<Image>, Problem> {
    change(caller, app, image, ImageState::Deactivated, body).await
}

/// Says that an image should not be used any more: it works, with a warning that names the one to use instead.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/deprecate",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    request_body(content = Option<LifecycleRequest>, description = "When, why, and what to use instead"),
    responses(
        (status = 200, description = "The image, deprecated or planned to be", body = Image),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn deprecate_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Body,
) -> Result<Json<Image>, Problem> {
    change(caller, app, image, ImageState::Deprecated, body).await
}

/// Ends the use of an image: deployments of it are refused, with the one to use instead.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/obsolete",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    request_body(content = Option<LifecycleRequest>, description = "When, why, and what to use instead"),
    responses(
        (status = 200, description = "The image, obsolete or planned to be", body = Image),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn obsolete_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Body,
) -> Result<Json<Image>, Problem> {
    change(caller, app, image, ImageState::Obsolete, body).await
}

/// The planned changes of an image.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/transitions",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "What is planned", body = TransitionList),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_transitions(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<TransitionList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let image = app.catalog.find(&caller.viewer(), &image).await?;
    Ok(Json(TransitionList {
        items: image.transitions,
        next_page_token: None,
    }))
}

/// Takes all planned changes of an image back.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}/transitions",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image without plans", body = Image),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel_all_transitions(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.cancel_transitions(&caller, &image, None).await?))
}

/// Takes a planned change of an image back.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}/transitions/{state}",
    tag = "images",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("state" = String, Path, description = "The state that it was to lead to"),
    ),
    responses(
        (status = 200, description = "The image without that plan", body = Image),
        (status = 404, description = "There is no such image or plan", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel_transition(
    caller: Caller,
    State(app): State<App>,
    Path((image, state)): Path<(String, String)>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    let state: ImageState = state.parse().map_err(|error: crate::words::UnknownWord| {
        Problem::invalid(
            format!("{error}."),
            "Give active, deactivated, deprecated, obsolete or deleted.",
        )
    })?;
    Ok(Json(
        app.catalog
            .cancel_transitions(&caller, &image, Some(state))
            .await?,
    ))
}
