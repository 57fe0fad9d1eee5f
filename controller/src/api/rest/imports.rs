//! REST: imports of files that the controller gets itself.

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    images::idempotency_key,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::ImageSpec,
    identity::Permission,
    ingest::{FileSpec, ImportRequest, ImportSource},
    jobs::Job,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new().route("/v1/imports", post(start_import))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(start_import))]
    struct Part;
    Part::openapi()
}

/// What is imported, and from where.
#[derive(Debug, Deserialize, ToSchema)]
struct ImportBody {
    /// What the new image is to be.
    spec: ImageSpec,
    /// What is known of the file.
    #[serde(default)]
    file: FileSpec,
    /// Where the controller gets the file from.
    source: ImportSource,
}

/// The answer to a request that started a job.
pub(super) fn accepted(job: Job) -> Response {
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.id))];
    (StatusCode::ACCEPTED, location, Json(job)).into_response()
}

/// Imports an image from a place that the controller can reach. The job tells how far it is; its image is in the
/// catalogue from the beginning, and can be used when the job has succeeded.
#[utoipa::path(
    post,
    path = "/v1/imports",
    tag = "images",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "A second request with this key is answered with the job of the first one"),
    ),
    request_body = ImportBody,
    responses(
        (status = 202, description = "Begun", body = Job),
        (status = 400, description = "The image cannot be so, or the source is none", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such upload", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken, or the upload is not complete", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "The controller does not know the credential", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs wait", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn start_import(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<ImportBody>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(ImportBody { spec, file, source }) = body?;
    let request = ImportRequest {
        spec,
        file,
        idempotency_key: idempotency_key(&headers)?,
        by: caller,
    };
    Ok(accepted(app.ingest.start(request, source).await?))
}
