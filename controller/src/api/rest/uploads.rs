//! REST: files that arrive in pieces.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    images::idempotency_key,
    imports::accepted,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::Permission,
    ingest::{
        ImportRequest, ImportSource,
        upload::{NewUpload, Upload, UploadRequest},
    },
    jobs::Job,
};

const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";
/// As in the drafts and in tus, which have it from there.
const PIECE: &str = "application/offset+octet-stream";

/// Paths of this part.
pub fn router() -> Router<App> {
    let one = get(get_upload)
        .head(head_upload)
        .patch(append_upload)
        .delete(delete_upload);
    Router::new()
        .route("/v1/uploads", get(list_uploads).post(create_upload))
        .route("/v1/uploads/{upload}", one)
        .route("/v1/uploads/{upload}/complete", post(complete_upload))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        create_upload,
        list_uploads,
        get_upload,
        head_upload,
        append_upload,
        delete_upload,
        complete_upload
    ))]
    struct Part;
    Part::openapi()
}

/// An upload that is to begin.
#[derive(Debug, Deserialize, ToSchema)]
struct UploadBody {
    /// What the image is to be, and what is known of the file.
    #[serde(flatten)]
    request: UploadRequest,
    /// Length of the file, if it is known.
    #[serde(default)]
    length: Option<u64>,
}

/// All uploads; there are never many.
#[derive(Debug, Serialize, ToSchema)]
struct UploadList {
    /// The uploads, in the order of their beginning.
    items: Vec<Upload>,
    /// Always null: the list has one page.
    next_page_token: Option<String>,
}

/// How far an upload is, as headers.
fn headers_of(upload: &Upload) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(OFFSET, upload.offset.into());
    if let Some(length) = upload.length {
        headers.insert(LENGTH, length.into());
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// Begins an upload. Its bytes are sent by PATCH, in as many pieces as one likes.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    tag = "images",
    request_body = UploadBody,
    responses(
        (status = 201, description = "Begun", body = Upload),
        (status = 400, description = "The image cannot be so", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 413, description = "The file is too large", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 429, description = "Too many uploads are not complete", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 507, description = "The disk of the store is full", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_upload(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<UploadBody>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(UploadBody { request, length }) = body?;
    let new = NewUpload {
        request,
        length,
        by: &caller,
    };
    let upload = app.ingest.uploads().create(new).await?;
    let location = [(header::LOCATION, format!("/v1/uploads/{}", upload.id))];
    Ok((StatusCode::CREATED, location, headers_of(&upload), Json(upload)).into_response())
}

/// The uploads of the caller's project that are not complete.
#[utoipa::path(
    get,
    path = "/v1/uploads",
    tag = "images",
    responses((status = 200, description = "All uploads", body = UploadList))
)]
async fn list_uploads(caller: Caller, State(app): State<App>) -> Result<Json<UploadList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let items = app.ingest.uploads().list(&caller.viewer()).await?;
    Ok(Json(UploadList {
        items,
        next_page_token: None,
    }))
}

/// One upload.
#[utoipa::path(
    get,
    path = "/v1/uploads/{upload}",
    tag = "images",
    params(("upload" = String, Path, description = "Id of the upload")),
    responses(
        (status = 200, description = "The upload", body = Upload),
        (status = 404, description = "No such upload", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_upload(
    caller: Caller,
    State(app): State<App>,
    Path(upload): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadImages)?;
    let upload = app.ingest.uploads().get(&caller.viewer(), &upload).await?;
    Ok((headers_of(&upload), Json(upload)).into_response())
}

/// How far an upload is: the header Upload-Offset.
#[utoipa::path(
    head,
    path = "/v1/uploads/{upload}",
    tag = "images",
    params(("upload" = String, Path, description = "Id of the upload")),
    responses(
        (status = 200, description = "Upload-Offset says how much is there, Upload-Length how much it will be"),
        (status = 404, description = "No such upload"),
    )
)]
async fn head_upload(
    caller: Caller,
    State(app): State<App>,
    Path(upload): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadImages)?;
    let upload = app.ingest.uploads().get(&caller.viewer(), &upload).await?;
    Ok(headers_of(&upload).into_response())
}

/// Adds a piece. It must begin where the upload ends; what came of it stays, also when the connection breaks.
#[utoipa::path(
    patch,
    path = "/v1/uploads/{upload}",
    tag = "images",
    params(
        ("upload" = String, Path, description = "Id of the upload"),
        ("Upload-Offset" = u64, Header, description = "Where the piece begins"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream", description = "The piece"),
    responses(
        (status = 204, description = "Added; Upload-Offset says how much is there"),
        (status = 404, description = "No such upload", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It does not begin where the upload ends", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 413, description = "More than was announced, or than may be", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 415, description = "It is not application/offset+octet-stream", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn append_upload(
    caller: Caller,
    State(app): State<App>,
    Path(upload): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    // What the caller may not see is not there, whatever else is wrong.
    app.ingest.uploads().get(&caller.viewer(), &upload).await?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("content-type") != Some(PIECE) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-a-piece",
            "The body is not a piece of an upload",
            format!("The Content-Type is not {PIECE}."),
            format!("Send `Content-Type: {PIECE}`, and Upload-Offset with it."),
        ));
    }
    let offset = text(OFFSET).and_then(|text| text.parse().ok()).ok_or_else(|| {
        Problem::invalid(
            "The header Upload-Offset is missing, or is no number.",
            "Send where the piece begins; HEAD /v1/uploads/{id} tells.",
        )
    })?;
    let upload = app
        .ingest
        .uploads()
        .append(&caller.viewer(), &upload, offset, body)
        .await?;
    Ok((StatusCode::NO_CONTENT, headers_of(&upload)).into_response())
}

/// Removes an upload and its bytes.
#[utoipa::path(
    delete,
    path = "/v1/uploads/{upload}",
    tag = "images",
    params(("upload" = String, Path, description = "Id of the upload")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such upload", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete_upload(
    caller: Caller,
    State(app): State<App>,
    Path(upload): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Permission::WriteImages)?;
    app.ingest.uploads().delete(&caller.viewer(), &upload).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Imports an upload that is complete.
#[utoipa::path(
    post,
    path = "/v1/uploads/{upload}/complete",
    tag = "images",
    params(
        ("upload" = String, Path, description = "Id of the upload"),
        ("Idempotency-Key" = Option<String>, Header,
         description = "A second request with this key is answered with the job of the first one"),
    ),
    responses(
        (status = 202, description = "Begun", body = Job),
        (status = 404, description = "No such upload", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is not complete, or the name is taken", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn complete_upload(
    caller: Caller,
    State(app): State<App>,
    Path(upload): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let upload = app.ingest.uploads().get(&caller.viewer(), &upload).await?;
    let UploadRequest { spec, file } = upload.request;
    let request = ImportRequest {
        spec,
        file,
        idempotency_key: idempotency_key(&headers)?,
        by: caller,
    };
    let source = ImportSource::Upload { upload: upload.id };
    Ok(accepted(app.ingest.start(request, source).await?))
}
