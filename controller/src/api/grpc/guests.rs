//! gRPC: the guest plugins of nodes, for callers.

use imprint_proto::v1::{
    GetGuestRequest, Guest as WireGuest, ListPasswordResetsRequest, ListPasswordResetsResponse,
    PasswordResetOrder, ResetPasswordRequest, ResetPasswordResponse,
    guests_server::{Guests, GuestsServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};
use zeroize::Zeroizing;

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    app::App,
    guests::{GuestError, NewReset, PasswordResetRecord},
    identity::{Caller, Permission},
    inventory::{InventoryError, Node},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(GuestsServer::new(GuestsService(app.clone())));
}

/// `imprint.v1.Guests`.
#[derive(Debug, Clone)]
struct GuestsService(App);

impl GuestsService {
    /// A node that the caller may see.
    async fn node(&self, caller: &Caller, wanted: &str) -> Result<Node, Status> {
        let found = self.0.nodes.find(&caller.viewer(), wanted).await;
        found.map_err(status::<InventoryError>)
    }
}

fn order(record: PasswordResetRecord) -> PasswordResetOrder {
    PasswordResetOrder {
        id: record.id,
        node_id: record.node_id,
        deployment_id: record.deployment_id,
        user: record.user,
        state: record.state.to_string(),
        reason: record.reason,
        requested_by: record.requested_by,
        created_at: Some(timestamp(record.created_at)),
        expires_at: Some(timestamp(record.expires_at)),
        ended_at: record.ended_at.map(timestamp),
    }
}

#[tonic::async_trait]
impl Guests for GuestsService {
    async fn get_guest(&self, request: Request<GetGuestRequest>) -> Result<Response<WireGuest>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let node = self.node(&caller, &request.into_inner().node).await?;
        let guest = self.0.guests.of_node(&node.id).await.map_err(status::<_>)?;
        let guest = guest.ok_or_else(|| status(GuestError::None(node.name)))?;
        Ok(Response::new(WireGuest {
            node_id: guest.node_id,
            deployment_id: guest.deployment_id,
            connected: guest.connected,
            version: guest.version,
            boot_id: guest.boot_id,
            drift: guest.drift,
            created_at: Some(timestamp(guest.created_at)),
            last_seen_at: guest.last_seen_at.map(timestamp),
        }))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let request = request.into_inner();
        let password = Zeroizing::new(request.password);
        let node = self.node(&caller, &request.node).await?;
        let wanted = NewReset {
            user: request.user,
            password: (!password.is_empty()).then_some(password),
            life_seconds: (request.life_seconds != 0).then_some(request.life_seconds),
        };
        let answer = self
            .0
            .guests
            .reset_password(&caller, &node, &wanted)
            .await
            .map_err(status::<GuestError>)?;
        Ok(Response::new(ResetPasswordResponse {
            order: Some(order(answer.record)),
            password: answer
                .generated
                .map(|password| password.to_string())
                .unwrap_or_default(),
        }))
    }

    async fn list_password_resets(
        &self,
        request: Request<ListPasswordResetsRequest>,
    ) -> Result<Response<ListPasswordResetsResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let node = self.node(&caller, &request.into_inner().node).await?;
        let orders = self.0.guests.resets(&node.id).await.map_err(status::<_>)?;
        Ok(Response::new(ListPasswordResetsResponse {
            orders: orders.into_iter().map(order).collect(),
        }))
    }
}
