//! REST: images that are published, who may use those that cost something, and whether one can be deployed.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Caller, Problem, ProblemDocument};
use crate::{
    app::App,
    catalog::{Entitlement, Image, Proofs, PublishRequest},
    deploy::Preflight,
    identity::Permission,
};

/// Paths of this part.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/images/{image}/publish", post(publish_image))
        .route("/v1/images/{image}/unpublish", post(unpublish_image))
        .route("/v1/images/{image}/entitlements", get(list_entitlements))
        .route(
            "/v1/images/{image}/entitlements/{project}",
            put(grant_entitlement).delete(revoke_entitlement),
        )
        .route("/v1/images/{image}/preflight", get(preflight_image))
}

/// Their description.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        publish_image,
        unpublish_image,
        list_entitlements,
        grant_entitlement,
        revoke_entitlement,
        preflight_image
    ))]
    struct Part;
    Part::openapi()
}

/// Who may use an image that costs something.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntitlementList {
    /// The projects, by name.
    items: Vec<Entitlement>,
    /// Always null: the list has one page.
    next_page_token: Option<String>,
}

/// Where the image is to go.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PreflightQuery {
    /// Id, name, UUID, serial number or MAC address of the node; without it only the image is looked at.
    node: Option<String>,
    /// Which disk of an image that has several; the system when it is left out.
    role: Option<String>,
}

/// Publishes an image. A refusal names everything that is in the way. Publishing it again changes its terms.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/publish",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name")),
    request_body = PublishRequest,
    responses(
        (status = 200, description = "Published", body = Image),
        (status = 400, description = "A field cannot be kept", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 403, description = "It belongs to another project, or only administrators may", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It is not fit for that, for all the reasons in the detail", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn publish_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Result<Json<PublishRequest>, JsonRejection>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(request) = body?;
    let keys = app.authority.manifest_public_keys();
    let proofs = Proofs {
        store: &app.store,
        keys: &keys,
    };
    Ok(Json(
        app.catalog.publish(&caller, &image, &request, proofs).await?,
    ))
}

/// Makes a published image private again. Deployments that run go on.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/unpublish",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image as it is now", body = Image),
        (status = 403, description = "It belongs to another project, or only administrators may", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It is not published", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn unpublish_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.unpublish(&caller, &image).await?))
}

/// Who may use an image that costs something: all for its owner, and for others their own entry.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/entitlements",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The projects", body = EntitlementList),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_entitlements(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<EntitlementList>, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(Json(EntitlementList {
        items: app.catalog.entitlements(&caller, &image).await?,
        next_page_token: None,
    }))
}

/// Lets a project use an image that costs something. By its owner, or an administrator.
#[utoipa::path(
    put,
    path = "/v1/images/{image}/entitlements/{project}",
    tag = "sharing",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("project" = String, Path, description = "Id of the project"),
    ),
    responses(
        (status = 200, description = "It may, from now on or since then", body = Entitlement),
        (status = 403, description = "The image belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such image, or no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn grant_entitlement(
    caller: Caller,
    State(app): State<App>,
    Path((image, project)): Path<(String, String)>,
) -> Result<Json<Entitlement>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.entitle(&caller, &image, &project).await?))
}

/// Takes the right to use an image back. Deployments that run go on.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}/entitlements/{project}",
    tag = "sharing",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("project" = String, Path, description = "Id of the project"),
    ),
    responses(
        (status = 200, description = "What it was", body = Entitlement),
        (status = 403, description = "The image belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "It has none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn revoke_entitlement(
    caller: Caller,
    State(app): State<App>,
    Path((image, project)): Path<(String, String)>,
) -> Result<Json<Entitlement>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.disentitle(&caller, &image, &project).await?))
}

/// Whether an image can be deployed: each condition, with what is in the way. The checks are those of a deployment.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/preflight",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name"), PreflightQuery),
    responses(
        (status = 200, description = "The conditions", body = Preflight),
        (status = 404, description = "There is no such image, or no such node", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn preflight_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    query: Result<Query<PreflightQuery>, QueryRejection>,
) -> Result<Json<Preflight>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    if query.node.is_some() {
        caller.require(Permission::ReadNodes)?;
    }
    let preflight = app
        .deployments
        .preflight(&caller, &image, query.node.as_deref(), query.role.as_deref())
        .await?;
    Ok(Json(preflight))
}
