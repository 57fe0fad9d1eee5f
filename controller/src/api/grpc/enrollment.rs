//! gRPC: enrollment. A boot token is exchanged, once, for a certificate.

use imprint_proto::agent::v1::{
    EnrollRequest, EnrollResponse, Fingerprint, RenewRequest, RenewResponse,
    enrollment_server::{Enrollment, EnrollmentServer},
};
use serde_json::json;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::peer_node;
use crate::{
    api::rest::problem::chain,
    app::App,
    boot::RedeemError,
    events::NewEvent,
    identity::{IdentityError, IssuedCertificate},
    inventory::{EnrollError, InventoryError, NodeState, Recognised},
};

/// Longest certificate request that is read.
const MAX_CSR: usize = 16 * 1024;

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(EnrollmentServer::new(EnrollmentService(app.clone())));
}

/// `imprint.agent.v1.Enrollment`.
#[derive(Debug, Clone)]
struct EnrollmentService(App);

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let app = &self.0;
        check_csr(&request.csr_der)?;
        let fingerprint = request.fingerprint.unwrap_or_default();
        let redeemed = match app.boot_tokens.redeem(&request.boot_token, &fingerprint).await {
            Ok(redeemed) => redeemed,
            Err(error) => return Err(self.refuse(&error, &fingerprint).await),
        };
        // Whoever has a token for one NIC must not become another machine by showing that one's UUID or MACs as well.
        if let Recognised::Known(node) = app
            .nodes
            .find_for_agent(&fingerprint)
            .await
            .map_err(|error| internal(&error))?
            && node.state != NodeState::Discovered
            && !node.macs.contains(&redeemed.mac)
        {
            let error = RedeemError::WrongMachine {
                token_id: redeemed.token_id,
                mac: redeemed.mac.clone(),
                expected: format!("MAC address {}", redeemed.mac),
                got: format!("the identity of node {}, which has no such NIC", node.name),
            };
            return Err(self.refuse(&error, &fingerprint).await);
        }
        let node = app
            .nodes
            .enroll(&fingerprint, &request.agent_version)
            .await
            .map_err(|error| refused(&error))?;
        let issued = app
            .authority
            .issue_node_certificate(&request.csr_der, &node.id)
            .map_err(|error| not_issued(&error))?;
        tracing::info!(
            node.id = node.id,
            node.name = node.name,
            "an agent was given a certificate"
        );
        let expires_at = Some(timestamp(&issued));
        Ok(Response::new(EnrollResponse {
            node_id: node.id,
            certificate_chain_der: issued.chain_der,
            expires_at,
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let node_id = peer_node(&request)?;
        let app = &self.0;
        let node = app.nodes.get(&node_id).await.map_err(|error| match error {
            InventoryError::NotFound { .. } => {
                Status::unauthenticated("The node of this certificate is not known any more.")
            }
            error => internal(&error),
        })?;
        let csr = request.into_inner().csr_der;
        check_csr(&csr)?;
        let issued = app
            .authority
            .issue_node_certificate(&csr, &node.id)
            .map_err(|error| not_issued(&error))?;
        let expires_at = Some(timestamp(&issued));
        Ok(Response::new(RenewResponse {
            certificate_chain_der: issued.chain_der,
            expires_at,
        }))
    }
}

impl EnrollmentService {
    /// Refuses a token; what should never happen is an alarm in the log.
    async fn refuse(&self, error: &RedeemError, fingerprint: &Fingerprint) -> Status {
        let (kind, mac) = match error {
            RedeemError::Spent { mac, .. } => ("alarm.boot-token-reused", mac),
            RedeemError::WrongMachine { mac, .. } => ("alarm.boot-token-wrong-machine", mac),
            RedeemError::Database(_) => return internal(error),
            _ => return Status::unauthenticated(error.to_string()),
        };
        let node = self.0.nodes.find(mac).await.ok();
        let event = NewEvent {
            kind,
            node_id: node.as_ref().map(|node| node.id.as_str()),
            deployment_id: None,
            message: format!("An enrolment was refused: {error}."),
            details: json!({
                "token_mac": mac,
                "shown_macs": fingerprint.macs.iter().take(64).collect::<Vec<_>>(),
                "shown_uuid": fingerprint.smbios_uuid.chars().take(64).collect::<String>(),
            }),
        };
        match self.0.events.append(event).await {
            Ok(_) => Status::unauthenticated(error.to_string()),
            Err(error) => internal(&error),
        }
    }
}

fn check_csr(csr: &[u8]) -> Result<(), Status> {
    if csr.is_empty() || csr.len() > MAX_CSR {
        return Err(Status::invalid_argument(format!(
            "The certificate request has {} bytes; 1 to {MAX_CSR} are taken.",
            csr.len()
        )));
    }
    Ok(())
}

fn refused(error: &EnrollError) -> Status {
    match error {
        EnrollError::Anonymous => Status::failed_precondition(format!("{error}.")),
        EnrollError::Conflict(conflict) => Status::failed_precondition(format!(
            "{conflict}. Check whether a NIC was moved or whether two machines carry the same SMBIOS data."
        )),
        EnrollError::Database(_) => internal(error),
    }
}

fn not_issued(error: &IdentityError) -> Status {
    tracing::warn!(error = %chain(error), "no certificate was issued");
    Status::invalid_argument(chain(error))
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = %chain(error), "an enrolment failed by a fault of the controller");
    Status::unavailable("The controller cannot read or write its database just now.")
}

fn timestamp(issued: &IssuedCertificate) -> prost_types::Timestamp {
    super::nodes::timestamp(issued.expires_at)
}
