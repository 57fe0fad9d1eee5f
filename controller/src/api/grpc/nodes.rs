//! gRPC: nodes.

use imprint_hardware::matching::Answer;
use imprint_proto::v1::{
    AnnounceNodeRequest, ApproveNodeRequest, AssignNodeRequest, BeginMaintenanceRequest, ConfirmNodeRequest,
    DeleteNodeRequest, Deployment as WireDeployment, EndMaintenanceRequest, GetNodeRequest, ListNodesRequest,
    ListNodesResponse, ListWipeCertificatesRequest, ListWipeCertificatesResponse, MatchFit as WireFit,
    Node as WireNode, Problem as WireProblem, ReleaseNodeRequest, RetireNodeRequest, TakeConsoleRequest,
    TakeConsoleResponse, WhyRequest, WhyResponse,
    nodes_server::{Nodes, NodesServer},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder};

use super::{caller, lifecycle, matching::reasons};
use crate::{
    api::rest::{console::controller_ends, problem::Problem},
    app::App,
    deploy::DeployError,
    events::DatabaseError,
    identity::{Permission, TenantError},
    inventory::{InventoryError, Node, NodeProblem, NodeQuery, NodeState},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(NodesServer::new(NodesService(app.clone())));
}

/// `imprint.v1.Nodes`.
#[derive(Debug, Clone)]
struct NodesService(App);

/// A time as the wire has it.
pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

/// A domain error as a status.
pub(super) fn status<E: Into<Problem>>(error: E) -> Status {
    error.into().to_status()
}

/// A problem as the wire has it.
pub(super) fn problem(problem: NodeProblem) -> WireProblem {
    WireProblem {
        step: problem.step,
        cause: problem.cause,
        remedy: problem.remedy,
    }
}

/// Why an image was thought to fit, as the wire has it.
pub(super) fn fit(answer: Answer) -> WireFit {
    WireFit {
        verdict: answer.verdict.to_string(),
        reasons: reasons(answer.reasons),
        notes: reasons(answer.notes),
    }
}

pub(super) fn wire(app: &App, node: Node) -> WireNode {
    WireNode {
        model: None,
        agent_connected: app.deployments.hub().is_connected(&node.id),
        id: node.id,
        name: node.name,
        state: node.state.to_string(),
        smbios_uuid: node.smbios_uuid.unwrap_or_default(),
        serial: node.serial.unwrap_or_default(),
        macs: node.macs,
        hardware: node.hardware,
        deployment_id: node.deployment_id.unwrap_or_default(),
        problem: node.problem.map(problem),
        last_seen_at: node.last_seen_at.map(timestamp),
        project_id: node.project_id,
        maintenance: node.maintenance.map(lifecycle::maintenance),
    }
}

#[tonic::async_trait]
impl Nodes for NodesService {
    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let request = request.into_inner();
        let state = match request.state.as_str() {
            "" => None,
            text => Some(
                text.parse::<NodeState>()
                    .map_err(|error| Status::invalid_argument(error.to_string()))?,
            ),
        };
        let query = NodeQuery {
            state,
            after: request.page_token,
            page_size: request.page_size,
        };
        let page = self
            .0
            .nodes
            .list(&caller.viewer(), &query)
            .await
            .map_err(status::<InventoryError>)?;
        let nodes = page.items.into_iter().map(|node| wire(&self.0, node)).collect();
        Ok(Response::new(ListNodesResponse {
            nodes,
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<WireNode>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let node = self
            .0
            .nodes
            .find(&caller.viewer(), &request.into_inner().node)
            .await
            .map_err(status::<InventoryError>)?;
        let inventory = self.0.nodes.inventory(&node.id).await;
        let inventory = inventory.map_err(status::<InventoryError>)?;
        let model = self
            .0
            .deployments
            .matching()
            .model_of(inventory.as_ref())
            .await
            .map_err(status::<DatabaseError>)?;
        Ok(Response::new(WireNode {
            model,
            ..wire(&self.0, node)
        }))
    }

    async fn announce_node(
        &self,
        request: Request<AnnounceNodeRequest>,
    ) -> Result<Response<WireNode>, Status> {
        lifecycle::announce(&self.0, request).await
    }

    async fn begin_maintenance(
        &self,
        request: Request<BeginMaintenanceRequest>,
    ) -> Result<Response<WireNode>, Status> {
        lifecycle::begin_maintenance(&self.0, request).await
    }

    async fn end_maintenance(
        &self,
        request: Request<EndMaintenanceRequest>,
    ) -> Result<Response<WireNode>, Status> {
        lifecycle::end_maintenance(&self.0, request).await
    }

    async fn retire_node(&self, request: Request<RetireNodeRequest>) -> Result<Response<WireNode>, Status> {
        lifecycle::retire(&self.0, request).await
    }

    async fn release_node(
        &self,
        request: Request<ReleaseNodeRequest>,
    ) -> Result<Response<WireDeployment>, Status> {
        lifecycle::release(&self.0, request).await
    }

    async fn list_wipe_certificates(
        &self,
        request: Request<ListWipeCertificatesRequest>,
    ) -> Result<Response<ListWipeCertificatesResponse>, Status> {
        lifecycle::list_wipe_certificates(&self.0, request).await
    }

    async fn approve_node(&self, request: Request<ApproveNodeRequest>) -> Result<Response<WireNode>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let request = request.into_inner();
        let node = self
            .0
            .nodes
            .approve(&caller, &request.node, Some(&request.name))
            .await
            .map_err(status::<InventoryError>)?;
        Ok(Response::new(wire(&self.0, node)))
    }

    async fn confirm_node(&self, request: Request<ConfirmNodeRequest>) -> Result<Response<WireNode>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let wanted = request.into_inner().node;
        let node = self
            .0
            .nodes
            .find(&caller.viewer(), &wanted)
            .await
            .map_err(status::<InventoryError>)?;
        if self.0.holds.confirm(&caller, &node).await.map_err(status::<_>)? {
            // Its agent calls again, and what it holds is judged anew.
            self.0.deployments.hub().dismiss(&node.id);
        }
        Ok(Response::new(wire(&self.0, node)))
    }

    async fn delete_node(&self, request: Request<DeleteNodeRequest>) -> Result<Response<WireNode>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let node = self
            .0
            .deployments
            .delete_node(&caller, &request.into_inner().node)
            .await
            .map_err(status::<InventoryError>)?;
        Ok(Response::new(wire(&self.0, node)))
    }

    async fn assign_node(&self, request: Request<AssignNodeRequest>) -> Result<Response<WireNode>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let request = request.into_inner();
        let project = self
            .0
            .tenants
            .project(&caller.viewer(), &request.project)
            .await
            .map_err(status::<TenantError>)?;
        let node = self
            .0
            .nodes
            .assign(&caller, &request.node, &project)
            .await
            .map_err(status::<InventoryError>)?;
        Ok(Response::new(wire(&self.0, node)))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let why = self
            .0
            .deployments
            .why(&caller.viewer(), &request.into_inner().node)
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(WhyResponse {
            state: why.state.to_string(),
            summary: why.summary,
            deadline: why.deadline.map(timestamp),
            problem: why.problem.map(problem),
            waiting_for: why.waiting_for.unwrap_or_default(),
            fit: why.fit.map(fit),
        }))
    }

    async fn take_console(
        &self,
        request: Request<Streaming<TakeConsoleRequest>>,
    ) -> Result<Response<TakeConsoleResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.ok_or_else(|| {
            Status::from(Problem::invalid(
                "No message came.",
                "Name the node in the first message.",
            ))
        })?;
        let node = self.0.nodes.find(&caller.viewer(), &first.node).await;
        let node = node.map_err(status::<InventoryError>)?;
        let mut console = self.0.deployments.console_of(&node.id);
        let mut next = Ok(Some(first));
        while let Ok(Some(part)) = next {
            console.take(&part.piece).await.map_err(status::<DeployError>)?;
            next = tokio::select! {
                next = parts.message() => next,
                () = self.0.shutdown.cancelled() => Err(controller_ends().to_status()),
            };
        }
        let taken = console.end().await.map_err(status::<DeployError>)?;
        next?;
        Ok(Response::new(TakeConsoleResponse {
            kept_lines: taken.kept_lines,
            other_lines: taken.other_lines,
        }))
    }
}
