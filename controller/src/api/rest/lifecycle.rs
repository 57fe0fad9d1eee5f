//! REST: the life of nodes besides deployments.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, post, put},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    nodes::{NodeView, view},
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    deploy::{DeploymentView, ReleaseRequest, WipeCertificate},
    identity::Permission,
    inventory::NewNode,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route(
            "/v1/nodes/{node}/maintenance",
            put(begin_maintenance).delete(end_maintenance),
        )
        .route("/v1/nodes/{node}/retire", post(retire_node))
        .route("/v1/nodes/{node}/release", post(release_node))
        .route("/v1/wipe-certificates", get(list_wipe_certificates))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        announce_node,
        begin_maintenance,
        end_maintenance,
        retire_node,
        release_node,
        list_wipe_certificates
    ))]
    struct Part;
    Part::openapi()
}

/// Why a node is kept out of use.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MaintenanceRequest {
    /// In a few words, at most 200 characters.
    reason: String,
}

/// A page of certificates.
#[derive(Debug, Serialize, ToSchema)]
pub struct WipeCertificateList {
    /// The certificates, newest first.
    items: Vec<WipeCertificate>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which certificates.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WipeCertificateQuery {
    /// Only those of this node: its id, or the name that it had.
    node: Option<String>,
    /// Only those of this disk: its serial number or WWN.
    disk: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Announces a machine that is to come: it is in service from its first call, without approval.
#[utoipa::path(
    post,
    path = "/v1/nodes",
    tag = "nodes",
    request_body = NewNode,
    responses(
        (status = 201, description = "The node, enrolled", body = NodeView),
        (status = 409, description = "It is known already, or the name is taken", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That is no machine, or no name", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn announce_node(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<NewNode>, JsonRejection>,
) -> Result<(StatusCode, Json<NodeView>), Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(wanted) = body?;
    let node = app.nodes.announce(&caller, &wanted).await?;
    Ok((StatusCode::CREATED, Json(view(&app, node))))
}

/// Keeps a machine out of use: nothing is begun on it. What runs on it goes on.
#[utoipa::path(
    put,
    path = "/v1/nodes/{node}/maintenance",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = MaintenanceRequest,
    responses(
        (status = 200, description = "The node as it is now", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn begin_maintenance(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<MaintenanceRequest>, JsonRejection>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(request) = body?;
    let node = app
        .nodes
        .set_maintenance(&caller, &node, Some(&request.reason))
        .await?;
    Ok(Json(view(&app, node)))
}

/// Ends the maintenance of a machine.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{node}/maintenance",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The node as it is now", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn end_maintenance(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let node = app.nodes.set_maintenance(&caller, &node, None).await?;
    Ok(Json(view(&app, node)))
}

/// Takes a machine out of service for good: it boots its own disk and is left alone. `approve` takes it back.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/retire",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The node, retired", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has a system, or something runs on it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn retire_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let node = app.nodes.retire(&caller, &node).await?;
    Ok(Json(view(&app, node)))
}

/// Wipes the local disks of a machine, with proof; it is available then. Volumes stay as they are.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/release",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body(content = Option<ReleaseRequest>, description = "How, if not in the best way of each disk"),
    responses(
        (status = 201, description = "Begun, or the release that runs already", body = DeploymentView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its state does not allow it", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That cannot be asked of it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn release_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Option<Json<ReleaseRequest>>, JsonRejection>,
) -> Result<(StatusCode, Json<DeploymentView>), Problem> {
    caller.require(Permission::WriteDeployments)?;
    let request = body?.map(|Json(request)| request).unwrap_or_default();
    let release = app.deployments.release(&caller, &node, &request).await?;
    Ok((StatusCode::CREATED, Json(app.deployments.view(release).await?)))
}

/// What proves that disks were wiped, newest first. It outlives nodes and releases.
#[utoipa::path(
    get,
    path = "/v1/wipe-certificates",
    tag = "nodes",
    params(WipeCertificateQuery),
    responses((status = 200, description = "A page of certificates", body = WipeCertificateList))
)]
async fn list_wipe_certificates(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<WipeCertificateQuery>, QueryRejection>,
) -> Result<Json<WipeCertificateList>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let Query(query) = query?;
    let page = app
        .deployments
        .wipe_certificates(
            &caller.viewer(),
            query.node.as_deref(),
            query.disk.as_deref(),
            query.page_size,
            query.page_token.as_deref(),
        )
        .await?;
    Ok(Json(WipeCertificateList {
        items: page.items,
        next_page_token: page.next,
    }))
}
