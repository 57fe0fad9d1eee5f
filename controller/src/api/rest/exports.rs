//! REST: images as files.

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use imprint_image::export::ExportFormat;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    images::idempotency_key,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    catalog::{Image, ImageSpec},
    copy::spec_of,
    export::{ExportFault, ExportRequest, FileSum, OpenedDisk},
    identity::Permission,
    jobs::Job,
    range,
};

const SUM_HEADER: &str = "repr-digest";

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/images/{image}/content", get(get_content).head(head_content))
        .route("/v1/images/{image}/content/sum", get(get_sum))
        .route("/v1/images/{image}/export", post(export_image))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        paths(get_content, head_content, get_sum, export_image),
        components(schemas(ContentSum, ExportRequest))
    )]
    struct Part;
    Part::openapi()
}

/// What file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ContentQuery {
    /// raw (the default), raw.zst, qcow2, qcow2-zstd, vmdk or vhd.
    format: Option<String>,
    /// Role of the disk; needed when the image has several.
    disk: Option<String>,
}

/// What a file is known by, and what an import of it would be told to make the same image of it.
#[derive(Debug, Serialize, ToSchema)]
struct ContentSum {
    #[serde(flatten)]
    sum: FileSum,
    /// For an import of the file.
    image: ImageSpec,
}

async fn open(
    app: &App,
    caller: &Caller,
    image: &str,
    query: &ContentQuery,
) -> Result<(Image, OpenedDisk), Problem> {
    caller.require(Permission::ReadImages)?;
    let viewer = caller.viewer();
    let image = app.catalog.find(&viewer, image).await?;
    let format: ExportFormat = match query.format.as_deref() {
        None | Some("") => ExportFormat::Raw,
        Some(format) => format.parse().map_err(ExportFault::from)?,
    };
    let disk = app
        .exports
        .open(&image, &viewer, query.disk.as_deref(), format)
        .await?;
    Ok((image, disk))
}

/// An image as a file of a format that others read.
///
/// Every chunk is proven on the way. A stream that cannot go on is broken off: without its end it is not the file. A
/// range that begins anywhere gives the rest of the same file, as long as the ETag is the same; of a vmdk the length is
/// not known beforehand, and ranges are not given.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/content",
    tag = "images",
    params(
        ("image" = String, Path, description = "Id or name"),
        ContentQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The ETag of the part that is there already"),
    ),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "No such format", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "The image is sold by its owner", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such image, or no such disk", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The image has no content yet, or the format cannot hold it", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 416, description = "The range lies outside", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 503, description = "Too many images are being read", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_content(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    query: Result<Query<ContentQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let (image, disk) = open(&app, &caller, &image, &query).await?;
    let sent = match (disk.file_bytes, asked(&headers, &disk.etag())) {
        (Some(bytes), Some(spec)) => match range::read(Some(spec), bytes) {
            Ok(sent) => Some(sent).filter(|sent| sent.is_part),
            Err(outside) => return Ok(super::store::unsatisfiable(spec, &outside)),
        },
        _ => None,
    };
    let mut response = Response::new(Body::empty());
    describe(&app, &mut response, &image, &disk).await?;
    if let Some(sent) = &sent {
        sent.describe(&mut response);
    }
    let part = sent.map(|sent| sent.bytes);
    let stream = app.exports.stream(disk, part, &caller).await?;
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

/// What a file would be: its length, where that is known, its ETag, and its digest once it was written.
#[utoipa::path(
    head,
    path = "/v1/images/{image}/content",
    tag = "images",
    params(("image" = String, Path, description = "Id or name"), ContentQuery),
    responses((status = 200, description = "It can be read"))
)]
async fn head_content(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    query: Result<Query<ContentQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let (image, disk) = open(&app, &caller, &image, &query).await?;
    let mut response = Response::new(Body::empty());
    describe(&app, &mut response, &image, &disk).await?;
    Ok(response)
}

/// The range that is asked for, unless it belongs to another file than ours.
fn asked<'a>(headers: &'a HeaderMap, etag: &str) -> Option<&'a str> {
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|value| value.as_bytes() == etag.as_bytes());
    range::asked(headers).filter(|_| same)
}

async fn describe(
    app: &App,
    response: &mut Response,
    image: &Image,
    disk: &OpenedDisk,
) -> Result<(), Problem> {
    let sum = app.exports.known_sum(disk).await?;
    let headers = response.headers_mut();
    let mut put = |name: header::HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    put(header::ETAG, disk.etag());
    let name = disk.file_name(image.disks.len() > 1);
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && c != '"' && c != '\\' {
                c
            } else {
                '_'
            }
        })
        .collect();
    put(
        header::CONTENT_DISPOSITION,
        format!("attachment; filename=\"{plain}\""),
    );
    if let Some(bytes) = disk.file_bytes {
        put(header::CONTENT_LENGTH, bytes.to_string());
        put(header::ACCEPT_RANGES, "bytes".to_owned());
    } else {
        put(header::ACCEPT_RANGES, "none".to_owned());
    }
    if let Some(digest) = sum.and_then(|sum| repr_digest(&sum.sha256)) {
        put(header::HeaderName::from_static(SUM_HEADER), digest);
    }
    Ok(())
}

/// RFC 9530.
fn repr_digest(sha256: &str) -> Option<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = hex::decode(sha256).ok()?;
    Some(format!("sha-256=:{}:", STANDARD.encode(bytes)))
}

/// Length and SHA-256 of a file, and what is said of the image. Length and digest are known once the file was read from its first byte to its last; otherwise it is
/// made for this, which takes as long as reading it.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/content/sum",
    tag = "images",
    params(("image" = String, Path, description = "Id or name"), ContentQuery),
    responses(
        (status = 200, description = "The digest", body = ContentSum),
        (status = 404, description = "No such image, or no such disk", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 503, description = "Too many images are being read", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_sum(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    query: Result<Query<ContentQuery>, QueryRejection>,
) -> Result<Json<ContentSum>, Problem> {
    let Query(query) = query?;
    let (image, disk) = open(&app, &caller, &image, &query).await?;
    let sum = app.exports.sum(&disk).await?;
    Ok(Json(ContentSum {
        sum,
        image: spec_of(&image),
    }))
}

/// Writes an image into a bucket, with `KEY.sha256` and `KEY.json` beside it.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/export",
    tag = "images",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "A second request with this key starts no second job"),
    ),
    request_body = ExportRequest,
    responses(
        (status = 202, description = "The job that does it", body = Job),
        (status = 400, description = "No such format, or no such key", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 403, description = "The image is sold by its owner", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such image, disk or destination", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The image has no content yet, or the format cannot hold it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn export_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    headers: HeaderMap,
    body: Result<Json<ExportRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadImages)?;
    caller.require(Permission::WriteJobs)?;
    let Json(request) = body?;
    let key = idempotency_key(&headers)?;
    let image = app.catalog.find(&caller.viewer(), &image).await?;
    let job = app
        .exports
        .start(&app.jobs, &caller, &image, &request, key)
        .await?;
    let location = format!("/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job)).into_response())
}
