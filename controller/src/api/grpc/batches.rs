//! gRPC: deployments of many nodes by one request.

use imprint_proto::v1::{
    Batch as WireBatch, BatchNode as WireNode, CancelBatchRequest, CreateBatchRequest, GetBatchRequest,
    ListBatchesRequest, ListBatchesResponse, RefusedNode as WireRefused,
    batches_server::{Batches, BatchesServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    deployments::{asked, key_of},
    nodes::{problem, status, timestamp},
};
use crate::{
    app::App,
    deploy::{Batch, BatchRequest, DeployError},
    identity::Permission,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(BatchesServer::new(BatchesService(app.clone())));
}

/// `imprint.v1.Batches`.
#[derive(Debug, Clone)]
struct BatchesService(App);

fn wire(batch: Batch) -> WireBatch {
    WireBatch {
        id: batch.id,
        project_id: batch.project_id,
        requested_by: batch.requested_by,
        image_name: batch.image_name,
        at_once: batch.at_once,
        stop_after: batch.stop_after.unwrap_or_default(),
        stopped_at: batch.stopped_at.map(timestamp),
        stop_reason: batch.stop_reason,
        created_at: Some(timestamp(batch.created_at)),
        ended: batch.ended,
        queued: batch.counts.queued,
        running: batch.counts.running,
        succeeded: batch.counts.succeeded,
        failed: batch.counts.failed,
        cancelled: batch.counts.cancelled,
        nodes: (batch.nodes.into_iter())
            .map(|node| WireNode {
                node_id: node.node_id,
                node: node.node,
                deployment_id: node.deployment_id,
                state: node.state.to_string(),
                queued: node.queued,
                step: node.step.to_string(),
                problem: node.problem.map(problem),
            })
            .collect(),
        refused: (batch.refused.into_iter())
            .map(|refused| WireRefused {
                node: refused.node,
                problem: refused.problem,
                detail: refused.detail,
                remedy: refused.remedy,
            })
            .collect(),
    }
}

#[tonic::async_trait]
impl Batches for BatchesService {
    async fn create_batch(
        &self,
        request: Request<CreateBatchRequest>,
    ) -> Result<Response<WireBatch>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let key = key_of(&request);
        let request = request.into_inner();
        let wanted = BatchRequest {
            nodes: request.nodes,
            deployment: asked(request.deployment.unwrap_or_default()),
            at_once: Some(request.at_once).filter(|at_once| *at_once > 0),
            stop_after: Some(request.stop_after).filter(|limit| *limit > 0),
        };
        let batch = self
            .0
            .deployments
            .create_batch(&caller, &wanted, key.as_deref())
            .await;
        Ok(Response::new(wire(batch.map_err(status::<DeployError>)?)))
    }

    async fn get_batch(&self, request: Request<GetBatchRequest>) -> Result<Response<WireBatch>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadDeployments)?;
        let batch = self
            .0
            .deployments
            .batch(&caller.viewer(), &request.into_inner().id)
            .await;
        Ok(Response::new(wire(batch.map_err(status::<DeployError>)?)))
    }

    async fn list_batches(
        &self,
        request: Request<ListBatchesRequest>,
    ) -> Result<Response<ListBatchesResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadDeployments)?;
        let batches = self.0.deployments.batches(&caller.viewer()).await;
        let batches = batches
            .map_err(status::<DeployError>)?
            .into_iter()
            .map(wire)
            .collect();
        Ok(Response::new(ListBatchesResponse { batches }))
    }

    async fn cancel_batch(
        &self,
        request: Request<CancelBatchRequest>,
    ) -> Result<Response<WireBatch>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let request = request.into_inner();
        let batch = self
            .0
            .deployments
            .cancel_batch(&caller, &request.id, request.running)
            .await;
        Ok(Response::new(wire(batch.map_err(status::<DeployError>)?)))
    }
}
