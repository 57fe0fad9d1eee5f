//! An image file in one request.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};

use super::{Caller, Problem, ProblemDocument, idempotency_key};
use crate::{
    app::App,
    catalog::ImageSpec,
    identity::Permission,
    ingest::{FileSpec, ImportRequest, Imported},
};

/// Imports an image: the body is the file, as it is. The answer comes when the image can be deployed.
#[utoipa::path(
    post,
    path = "/v1/images",
    tag = "images",
    params(
        ImageSpec,
        FileSpec,
        ("Idempotency-Key" = Option<String>, Header, description = "A second request with this key makes no second image"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The image file"),
    responses(
        (status = 201, description = "Imported", body = Imported),
        (status = 400, description = "The name or the format is none", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The file is damaged, or not of the format", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 507, description = "The disk of the store is full", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn import_image(
    caller: Caller,
    State(app): State<App>,
    spec: Result<Query<ImageSpec>, QueryRejection>,
    file: Result<Query<FileSpec>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let (Query(spec), Query(file)) = (spec?, file?);
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let request = ImportRequest {
        spec,
        file,
        idempotency_key: idempotency_key(&headers)?,
        by: caller,
    };
    let imported = app.ingest.import(request, length, body).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/images/{}", imported.image.id))],
        Json(imported),
    )
        .into_response())
}
