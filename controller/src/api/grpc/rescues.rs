//! gRPC: rescues, in which somebody works in the ramdisk of a node.

use imprint_proto::v1::{
    BeginRescueRequest, EndRescueRequest, NewRescuePasswordRequest, Rescue as WireRescue,
    RescueAccess as WireAccess, RescueResponse,
    rescues_server::{Rescues, RescuesServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, deployments, nodes::status};
use crate::{
    app::App,
    deploy::{DeployError, Deployment, Rescue, RescueRequest, Terms},
    identity::Permission,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(RescuesServer::new(RescuesService(app.clone())));
}

/// `imprint.v1.Rescues`.
#[derive(Debug, Clone)]
struct RescuesService(App);

fn wire(deployment: Deployment) -> WireRescue {
    let access = match &deployment.terms {
        Some(Terms::Rescue(terms)) => terms.access.clone(),
        _ => None,
    };
    WireRescue {
        deployment: Some(deployments::wire(deployment)),
        access: access.map(|access| WireAccess {
            addresses: access.addresses,
            host_key: access.host_key,
            host_key_fingerprint: access.host_key_fingerprint,
            password_used: access.password_used,
        }),
    }
}

fn answer(rescue: Rescue) -> Response<RescueResponse> {
    Response::new(RescueResponse {
        rescue: Some(wire(rescue.deployment)),
        password: rescue.password.0.as_str().to_owned(),
    })
}

#[tonic::async_trait]
impl Rescues for RescuesService {
    async fn begin_rescue(
        &self,
        request: Request<BeginRescueRequest>,
    ) -> Result<Response<RescueResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let request = request.into_inner();
        let asked = RescueRequest {
            ssh_keys: request.ssh_keys,
            life_seconds: (request.life_seconds != 0).then_some(request.life_seconds),
        };
        let begun = self
            .0
            .deployments
            .begin_rescue(&caller, &request.node, &asked)
            .await;
        Ok(answer(begun.map_err(status::<DeployError>)?))
    }

    async fn new_rescue_password(
        &self,
        request: Request<NewRescuePasswordRequest>,
    ) -> Result<Response<RescueResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let node = request.into_inner().node;
        let renewed = self.0.deployments.new_rescue_password(&caller, &node).await;
        Ok(answer(renewed.map_err(status::<DeployError>)?))
    }

    async fn end_rescue(&self, request: Request<EndRescueRequest>) -> Result<Response<WireRescue>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let node = request.into_inner().node;
        let ended = self.0.deployments.end_rescue(&caller, &node).await;
        Ok(Response::new(wire(ended.map_err(status::<DeployError>)?)))
    }
}
