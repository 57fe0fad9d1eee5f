//! REST: what is known of the content of an image.

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::header;
use utoipa::OpenApi;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::Image,
    contents::{self, ImageFacts, ImageLint},
    identity::Permission,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/images/{image}/facts", get(get_facts))
        .route("/v1/images/{image}/lint", get(get_lint))
        .route("/v1/images/{image}/sbom", get(get_sbom))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(get_facts, get_lint, get_sbom))]
    struct Part;
    Part::openapi()
}

async fn visible(caller: &Caller, app: &App, image: &str) -> Result<Image, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(app.catalog.find(&caller.viewer(), image).await?)
}

/// What was read from the disks of an image at its import: firmware, system, kernels, drivers, plugins.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/facts",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The facts", body = ImageFacts),
        (status = 404, description = "No such image", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_facts(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<ImageFacts>, Problem> {
    let image = visible(&caller, &app, &image).await?;
    Ok(Json(contents::facts(&app.db, &image).await?))
}

/// What would keep an image from working on bare metal, with what to do about it.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/lint",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The report, the worst first", body = ImageLint),
        (status = 404, description = "No such image", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_lint(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<ImageLint>, Problem> {
    let image = visible(&caller, &app, &image).await?;
    Ok(Json(contents::lint(&app.db, &image).await?))
}

/// The software in an image as a bill of materials: SPDX 2.3.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/sbom",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "An SPDX 2.3 document", body = Object, content_type = "application/spdx+json"),
        (status = 404, description = "No such image", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_sbom(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Response, Problem> {
    let image = visible(&caller, &app, &image).await?;
    let document = contents::sbom(&app.db, &image).await?;
    Ok(([(header::CONTENT_TYPE, "application/spdx+json")], Json(document)).into_response())
}
