//! An image file in one request.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Caller, Problem, ProblemDocument, idempotency_key};
use crate::{
    app::App,
    catalog::{Image, ImageSpec},
    identity::Permission,
    ingest::ImportRequest,
};

/// How the file is read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FormatQuery {
    /// Format of the file: auto (the default), raw, raw.gz, raw.xz, raw.zst, raw.bz2, qcow2, qcow, qed, vmdk, vhd, vhdx or vdi.
    /// A fixed vhd must be named: only its end tells it from raw.
    format: Option<String>,
}

/// Imports an image: the body is the file, as it is. The answer comes when the image can be deployed.
#[utoipa::path(
    post,
    path = "/v1/images",
    tag = "images",
    params(
        ImageSpec,
        FormatQuery,
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
pub(super) async fn import_image(
    caller: Caller,
    State(app): State<App>,
    spec: Result<Query<ImageSpec>, QueryRejection>,
    format: Result<Query<FormatQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let (Query(spec), Query(FormatQuery { format })) = (spec?, format?);
    let request = ImportRequest {
        spec,
        format,
        idempotency_key: idempotency_key(&headers)?,
        length: headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok()),
        by: caller,
    };
    let image = app.ingest.import(request, body).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/images/{}", image.id))],
        Json(image),
    )
        .into_response())
}
