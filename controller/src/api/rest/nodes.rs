//! REST: nodes.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, post, put},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    deploy::Why,
    identity::Permission,
    inventory::{Inventory, Maintenance, Node, NodeProblem, NodeQuery, NodeState},
    matching::MatchError,
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/nodes", get(list_nodes).post(super::lifecycle::announce_node))
        .route("/v1/nodes/{node}", get(get_node).delete(delete_node))
        .route("/v1/nodes/{node}/approve", post(approve_node))
        .route("/v1/nodes/{node}/confirm", post(confirm_node))
        .route("/v1/nodes/{node}/project", put(assign_node))
        .route("/v1/nodes/{node}/why", get(why_node))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_nodes,
        get_node,
        delete_node,
        approve_node,
        confirm_node,
        assign_node,
        why_node
    ))]
    struct Part;
    Part::openapi()
}

/// A machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// ULID.
    id: String,
    /// Unique without regard to case.
    name: String,
    /// Whose it is.
    project_id: String,
    /// Where it is in its life.
    state: NodeState,
    /// Whether the agent's session is open now.
    agent_connected: bool,
    /// SMBIOS UUID.
    smbios_uuid: Option<String>,
    /// Serial number.
    serial: Option<String>,
    /// MAC addresses.
    macs: Vec<String>,
    /// Vendor and product.
    hardware: String,
    /// The current or the last deployment.
    deployment_id: Option<String>,
    /// Set in state failed.
    problem: Option<NodeProblem>,
    /// Set: nothing is begun on it.
    maintenance: Option<Maintenance>,
    /// When it was last heard of; about a minute behind while its agent is connected.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// The agent that called last.
    agent_version: Option<String>,
    /// What the agent found missing in its ramdisk.
    agent_defects: Vec<String>,
    /// When it was first heard of.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A machine with its hardware.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeDetail {
    /// The machine.
    #[serde(flatten)]
    node: NodeView,
    /// Name of its hardware model; null: none describes it.
    model: Option<String>,
    /// What the agent read; null until it has.
    inventory: Option<Inventory>,
}

/// A page of nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeList {
    /// The nodes, in the order in which they became known.
    items: Vec<NodeView>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NodeListQuery {
    /// Only nodes in this state.
    state: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// How a node is taken into service.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// A new name; unchanged when it is left out.
    name: Option<String>,
}

/// Whose a node is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Assignment {
    /// Id or name of the project.
    project: String,
}

pub(super) fn view(app: &App, node: Node) -> NodeView {
    NodeView {
        agent_connected: app.deployments.hub().is_connected(&node.id),
        id: node.id,
        name: node.name,
        project_id: node.project_id,
        state: node.state,
        smbios_uuid: node.smbios_uuid,
        serial: node.serial,
        macs: node.macs,
        hardware: node.hardware,
        deployment_id: node.deployment_id,
        problem: node.problem,
        maintenance: node.maintenance,
        last_seen_at: node.last_seen_at,
        agent_version: node.agent_version,
        agent_defects: node.agent_defects,
        created_at: node.created_at,
    }
}

/// All machines.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "nodes",
    params(NodeListQuery),
    responses((status = 200, description = "A page of nodes", body = NodeList))
)]
async fn list_nodes(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<NodeListQuery>, QueryRejection>,
) -> Result<Json<NodeList>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let Query(query) = query?;
    let state = query
        .state
        .as_deref()
        .filter(|state| !state.is_empty())
        .map(str::parse::<NodeState>)
        .transpose();
    let state = state
        .map_err(|error| Problem::invalid(error.to_string(), "Use one of these states, or none for all."))?;
    let after = query.page_token.unwrap_or_default();
    let page = app
        .nodes
        .list(
            &caller.viewer(),
            &NodeQuery {
                state,
                after,
                page_size: query.page_size,
            },
        )
        .await?;
    let items = page.items.into_iter().map(|node| view(&app, node)).collect();
    Ok(Json(NodeList {
        items,
        next_page_token: page.next,
    }))
}

/// One machine with its hardware.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The node", body = NodeDetail),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodeDetail>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let inventory = app.nodes.inventory(&node.id).await?;
    let model = app.deployments.matching().model_of(inventory.as_ref()).await;
    Ok(Json(NodeDetail {
        node: view(&app, node),
        model: model.map_err(MatchError::from)?,
        inventory,
    }))
}

/// Forgets a machine and its deployments; its events stay. If it boots from the network again it is a new machine.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{node}",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The node as it was", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "A deployment runs on it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn delete_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let node = app.deployments.delete_node(&caller, &node).await?;
    Ok(Json(view(&app, node)))
}

/// Takes a discovered machine into service.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/approve",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body(content = Option<Approval>, description = "A new name, if it is to have one"),
    responses(
        (status = 200, description = "The node, now available", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is not discovered, or the name is taken", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That cannot be a name", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn approve_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Option<Json<Approval>>, JsonRejection>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let approval = body?.map(|Json(approval)| approval).unwrap_or_default();
    let node = app
        .nodes
        .approve(&caller, &node, approval.name.as_deref())
        .await?;
    Ok(Json(view(&app, node)))
}

/// Ends the hold that a node has since a backup was restored: the controller goes on as its database says.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/confirm",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The node, which is not on hold", body = NodeView),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn confirm_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    if app.holds.confirm(&caller, &node).await? {
        // Its agent calls again, and what it holds is judged anew.
        app.deployments.hub().dismiss(&node.id);
    }
    Ok(Json(view(&app, node)))
}

/// Gives a machine to a project: from then on its members see it and deploy on it.
#[utoipa::path(
    put,
    path = "/v1/nodes/{node}/project",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = Assignment,
    responses(
        (status = 200, description = "The node as it is now", body = NodeView),
        (status = 404, description = "No such node or project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "A deployment runs on it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn assign_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<Assignment>, JsonRejection>,
) -> Result<Json<NodeView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(assignment) = body?;
    let project = app.tenants.project(&caller.viewer(), &assignment.project).await?;
    let node = app.nodes.assign(&caller, &node, &project).await?;
    Ok(Json(view(&app, node)))
}

/// What a machine does, what it waits for and until when.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/why",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The answer", body = Why),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn why_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<Why>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.deployments.why(&caller.viewer(), &node).await?))
}
