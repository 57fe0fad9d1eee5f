//! REST: images.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, catalog::Image, ingest::ImportRequest};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/images", get(list_images).post(import_image))
        .route("/v1/images/{image}", get(get_image))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        paths(import_image, list_images, get_image),
        components(schemas(Image, ImageList))
    )]
    struct Part;
    Part::openapi()
}

/// A page of images.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageList {
    /// The images, in the order of their import.
    items: Vec<Image>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// What is imported.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// Unique name of the new image.
    name: String,
    /// Format of the file: auto (the default), raw, raw.gz, raw.xz, raw.zst, raw.bz2, qcow2, qcow, qed, vmdk, vhd, vhdx or vdi.
    /// A fixed vhd must be named: only its end tells it from raw.
    format: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Imports an image: the body is the file, as it is. The answer comes when the image can be deployed.
#[utoipa::path(
    post,
    path = "/v1/images",
    tag = "images",
    params(
        ImportQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "A second request with this key makes no second image"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The image file"),
    responses(
        (status = 201, description = "Imported", body = Image),
        (status = 400, description = "The name or the format is none", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The file is damaged, or not of the format", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 507, description = "The disk of the store is full", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn import_image(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let request = ImportRequest {
        name: query.name,
        format: query.format,
        idempotency_key: idempotency_key(&headers)?,
        length: headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok()),
        by: caller.name,
    };
    let image = app.ingest.import(request, body).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/images/{}", image.id))],
        Json(image),
    )
        .into_response())
}

/// All images.
#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    params(PageQuery),
    responses((status = 200, description = "A page of images", body = ImageList))
)]
async fn list_images(
    _caller: Caller,
    State(app): State<App>,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<ImageList>, Problem> {
    let Query(PageQuery {
        page_size,
        page_token,
    }) = query?;
    let page = app.catalog.list(page_size, page_token.as_deref()).await?;
    Ok(Json(ImageList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}

/// One image.
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = 404, description = "There is none; the remedy has names like it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_image(
    _caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<Image>, Problem> {
    Ok(Json(app.catalog.find(&image).await?))
}

const MAX_KEY_BYTES: usize = 255;

/// The Idempotency-Key header of a request, for all requests that make something.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Problem::invalid(
            format!("The Idempotency-Key is not 1 to {MAX_KEY_BYTES} printable ASCII characters."),
            "Send a UUID.",
        )
    })
}
