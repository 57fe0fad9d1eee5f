//! The artifact store over HTTP, for agents: manifests and packs, whole or in ranges.

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use imprint_image::Digest;
use utoipa::OpenApi;

use super::{
    auth,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::{Permission, Viewer},
    range::{self, Outside},
    server::Peer,
    store::{StoreError, StoreObject},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/store/manifests/{digest}", get(get_manifest))
        .route("/v1/store/packs/{digest}", get(get_pack))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(get_manifest, get_pack))]
    struct Part;
    Part::openapi()
}

/// The signed manifest of an image.
#[utoipa::path(
    get,
    path = "/v1/store/manifests/{digest}",
    tag = "store",
    params(("digest" = String, Path, description = "Digest of the image, hex")),
    responses(
        (status = 200, description = "The signed manifest", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 403, description = "Not an image that this node is to get", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such manifest", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "The range lies outside", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_manifest(
    State(app): State<App>,
    Path(digest): Path<String>,
    access: Access,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    serve(&app, StoreObject::Manifest(parse(&digest)?), &access, &headers).await
}

/// A pack of chunks. Ask for ranges of neighbouring chunks.
#[utoipa::path(
    get,
    path = "/v1/store/packs/{digest}",
    tag = "store",
    params(
        ("digest" = String, Path, description = "Digest of the pack, hex"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
    ),
    responses(
        (status = 200, description = "The whole pack", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 403, description = "Not of an image that this node is to get", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such pack", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "The range lies outside", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_pack(
    State(app): State<App>,
    Path(digest): Path<String>,
    access: Access,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    serve(&app, StoreObject::Pack(parse(&digest)?), &access, &headers).await
}

/// Who may read: a caller with a token what belongs to images that it may see, a node what its deployment uses.
enum Access {
    Caller(Viewer),
    Node(String),
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Problem> {
        let refused = match auth::caller_of(&parts.extensions) {
            Ok(caller) => {
                caller.require(Permission::ReadImages)?;
                return Ok(Self::Caller(caller.viewer()));
            }
            Err(refused) => refused,
        };
        let node = parts
            .extensions
            .get::<Peer>()
            .and_then(|peer| peer.node_id.clone());
        node.map(Self::Node).ok_or(refused)
    }
}

async fn serve(
    app: &App,
    object: StoreObject,
    access: &Access,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Access::Node(node) = access
        && !app.deployments.store_access(node, &object).await
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not-for-this-node",
            "The node may not read this object",
            format!("No running deployment of node {node} uses {}.", object.key()),
            "Start a deployment of the image for this node, `imprint deploy NODE --image IMAGE`, or read it with an API token.",
        ));
    }
    if let Access::Caller(viewer) = access
        && !app.catalog.shows(viewer, &object).await?
    {
        // As if it were not there: whether others have it is nobody's business.
        return Err(StoreError::Missing { key: object.key() }.into());
    }
    let size = app.store.size(&object).await?;
    let asked = range::asked(headers);
    let sent = match range::read(asked, size) {
        Ok(sent) => sent,
        Err(outside) => return Ok(unsatisfiable(asked.unwrap_or_default(), &outside)),
    };
    let mut response = Response::new(Body::empty());
    sent.describe(&mut response);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    *response.body_mut() = Body::from_stream(app.store.stream(object, sent.bytes));
    Ok(response)
}

pub(super) fn unsatisfiable(asked: &str, outside: &Outside) -> Response {
    let problem = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range-outside",
        "The range lies outside of the object",
        format!(
            "`{asked}` was asked for, and the object has {} bytes.",
            outside.size
        ),
        "Ask for a range that begins within the object.",
    );
    let mut response = problem.into_response();
    outside.describe(&mut response);
    response
}

pub(super) fn parse(digest: &str) -> Result<Digest, Problem> {
    digest.parse().map_err(|_| {
        Problem::invalid(
            "The last part of the path is no digest.",
            "Give the 64 hex digits of the digest, as the image or its manifest says them.",
        )
    })
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing { key } => Self::new(
                StatusCode::NOT_FOUND,
                "no-such-object",
                "The store has no such object",
                format!("The store has no object {key}."),
                "Check the digest; `imprint image list` shows those of all images.",
            ),
            StoreError::NoSpace { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                "The disk of the artifact store is full",
                format!("{error}."),
                "Free space on the disk of the controller's data folder, or move the folder to a larger one.",
            ),
            StoreError::Bucket {
                what,
                key,
                place,
                fault,
            } => {
                tracing::error!(store = place, key, error = %fault, "cannot {what} an object");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store-unavailable",
                    "The artifact store cannot be used",
                    format!("The controller cannot {what} {key} in the artifact store."),
                    "Repeat the request later. Operators find the cause in the controller's log and with `imprint store show`.",
                )
            }
            _ => Self::internal(&error),
        }
    }
}
