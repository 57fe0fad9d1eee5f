//! REST: copies of images, and images that come from other regions.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use imprint_image::{MAX_MANIFEST_BYTES, MAX_PACK_BYTES};
use utoipa::OpenApi;

use super::{
    auth::Caller,
    images::idempotency_key,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::Image,
    copy::{
        CopyFault, CopyRequest,
        transfer::{BeginTransfer, Transfer},
    },
    identity::Permission,
    jobs::Job,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/images/{image}/copy", post(copy_image))
        .route("/v1/transfers", post(begin_transfer))
        .route(
            "/v1/transfers/{transfer}",
            get(get_transfer).delete(abandon_transfer),
        )
        .route("/v1/transfers/{transfer}/complete", post(complete_transfer))
        .route(
            "/v1/transfers/{transfer}/disks/{position}/manifest",
            put(put_manifest),
        )
        .route(
            "/v1/transfers/{transfer}/disks/{position}/missing",
            get(get_missing),
        )
        .route("/v1/transfers/{transfer}/packs/{digest}", put(put_pack))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        paths(
            copy_image,
            begin_transfer,
            get_transfer,
            abandon_transfer,
            complete_transfer,
            put_manifest,
            get_missing,
            put_pack
        ),
        components(schemas(CopyRequest, BeginTransfer, Transfer))
    )]
    struct Part;
    Part::openapi()
}

/// Copies an image that the caller may read: within the region as a private image of the caller's project, or to another
/// region.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/copy",
    tag = "images",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "A second request with this key starts no second job"),
    ),
    request_body = CopyRequest,
    responses(
        (status = 202, description = "The job that does it", body = Job),
        (status = 403, description = "The image is sold by its owner, or the project is not the caller's", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such image, or no such region", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken, or the image has no content yet", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn copy_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    headers: HeaderMap,
    body: Result<Json<CopyRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(request) = body?;
    let key = idempotency_key(&headers)?;
    let image = app.catalog.find(&caller.viewer(), &image).await?;
    let job = app
        .copies
        .start(&app.jobs, &caller, &image, &request, key)
        .await?;
    let location = format!("/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job)).into_response())
}

/// Announces an image of another region, or takes its transfer up where it broke off.
#[utoipa::path(
    post,
    path = "/v1/transfers",
    tag = "transfers",
    request_body = BeginTransfer,
    responses(
        (status = 201, description = "Begun, or taken up again", body = Transfer),
        (status = 403, description = "Images of the region are not taken here", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn begin_transfer(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<BeginTransfer>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(request) = body?;
    let transfer = app.transfers.begin(&caller, &request).await?;
    Ok((StatusCode::CREATED, Json(transfer)).into_response())
}

/// What has come of a transfer.
#[utoipa::path(
    get,
    path = "/v1/transfers/{transfer}",
    tag = "transfers",
    params(("transfer" = String, Path, description = "Id of the transfer")),
    responses(
        (status = 200, description = "The transfer", body = Transfer),
        (status = 404, description = "No such transfer", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_transfer(
    caller: Caller,
    State(app): State<App>,
    Path(transfer): Path<String>,
) -> Result<Json<Transfer>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.transfers.get(&caller.viewer(), &transfer).await?))
}

/// Gives a transfer up. What came of it is removed.
#[utoipa::path(
    delete,
    path = "/v1/transfers/{transfer}",
    tag = "transfers",
    params(("transfer" = String, Path, description = "Id of the transfer")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such transfer", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn abandon_transfer(
    caller: Caller,
    State(app): State<App>,
    Path(transfer): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Permission::WriteImages)?;
    app.transfers.abandon(&caller.viewer(), &transfer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the image of what has come. It is signed with this controller's key.
#[utoipa::path(
    post,
    path = "/v1/transfers/{transfer}/complete",
    tag = "transfers",
    params(("transfer" = String, Path, description = "Id of the transfer")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = 404, description = "No such transfer", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Something is missing, or the name is taken by now", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "It is not the image that was announced", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn complete_transfer(
    caller: Caller,
    State(app): State<App>,
    Path(transfer): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.transfers.complete(&caller, &transfer).await?))
}

/// The manifest of a disk, signed by its region.
#[utoipa::path(
    put,
    path = "/v1/transfers/{transfer}/disks/{position}/manifest",
    tag = "transfers",
    params(
        ("transfer" = String, Path, description = "Id of the transfer"),
        ("position" = i64, Path, description = "Position of the disk, from 0"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "Taken"),
        (status = 404, description = "No such transfer or disk", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "No trusted key has signed it, or it is of another image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn put_manifest(
    caller: Caller,
    State(app): State<App>,
    Path((transfer, position)): Path<(String, i64)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    caller.require(Permission::WriteImages)?;
    let bytes = whole(body, MAX_MANIFEST_BYTES).await?;
    app.transfers
        .put_manifest(&caller.viewer(), &transfer, position, &bytes)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which chunks of a disk are missing: a bit for each chunk with data, in the order of the disk, the lowest of a byte
/// first.
#[utoipa::path(
    get,
    path = "/v1/transfers/{transfer}/disks/{position}/missing",
    tag = "transfers",
    params(
        ("transfer" = String, Path, description = "Id of the transfer"),
        ("position" = i64, Path, description = "Position of the disk, from 0"),
    ),
    responses(
        (status = 200, description = "The bits", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such transfer", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its manifest has not come yet", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_missing(
    caller: Caller,
    State(app): State<App>,
    Path((transfer, position)): Path<(String, i64)>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let bits = app
        .transfers
        .missing(&caller.viewer(), &transfer, position)
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bits).into_response())
}

/// A pack of missing chunks. Each frame must be one that a manifest of the transfer names.
#[utoipa::path(
    put,
    path = "/v1/transfers/{transfer}/packs/{digest}",
    tag = "transfers",
    params(
        ("transfer" = String, Path, description = "Id of the transfer"),
        ("digest" = String, Path, description = "BLAKE3 of the pack, hex"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "Taken"),
        (status = 404, description = "No such transfer", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It is damaged, or has something that is not of the image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn put_pack(
    caller: Caller,
    State(app): State<App>,
    Path((transfer, digest)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    caller.require(Permission::WriteImages)?;
    let digest = super::store::parse(&digest)?;
    let bytes = whole(body, MAX_PACK_BYTES).await?;
    app.transfers
        .put_pack(&caller.viewer(), &transfer, digest, bytes)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn whole(body: Body, limit: u64) -> Result<Bytes, Problem> {
    let most = usize::try_from(limit).expect("at most 128 MiB");
    let read = axum::body::to_bytes(body, most).await;
    read.map_err(|_| CopyFault::Body { limit }.into())
}
