//! gRPC: enrollment. A boot token is exchanged for a certificate, for one key only.

use imprint_proto::agent::v1::{
    EnrollRequest, EnrollResponse, Fingerprint, RenewRequest, RenewResponse,
    enrollment_server::{Enrollment, EnrollmentServer},
};
use jiff::SignedDuration;
use serde_json::json;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::peer_node;
use crate::{
    api::rest::problem::chain,
    app::App,
    boot::RedeemError,
    events::{DatabaseError, NewEvent, Seldom},
    identity::{Authority, IdentityError, IssuedCertificate, KeyDigest, Viewer},
    inventory::{EnrollError, InventoryError, Node, NodeState, Recognised},
};

/// Longest certificate request that is read.
const MAX_CSR: usize = 16 * 1024;

/// How often the same refusal is told of the same machine.
const TELL_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(EnrollmentServer::new(EnrollmentService {
        app: app.clone(),
        seldom: Seldom::every(TELL_EVERY),
    }));
}

/// `imprint.agent.v1.Enrollment`.
#[derive(Debug, Clone)]
struct EnrollmentService {
    app: App,
    seldom: Seldom,
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        check_csr(&request.csr_der)?;
        let key = Authority::key_of_request(&request.csr_der).map_err(|error| not_issued(&error))?;
        let fingerprint = request.fingerprint.clone().unwrap_or_default();
        let (node, issued) = match self.exchange(&request, &fingerprint, &key).await {
            Ok(exchanged) => exchanged,
            Err(refusal) => return Err(self.refuse(refusal, &fingerprint).await),
        };
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
        let app = &self.app;
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

/// Why a machine gets no certificate.
#[derive(Debug)]
enum Refusal {
    Token(RedeemError),
    Machine(EnrollError),
    Request(IdentityError),
    Database(DatabaseError),
}

impl From<RedeemError> for Refusal {
    fn from(error: RedeemError) -> Self {
        Self::Token(error)
    }
}

impl From<EnrollError> for Refusal {
    fn from(error: EnrollError) -> Self {
        Self::Machine(error)
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl EnrollmentService {
    /// Token, node and certificate in one transaction: either the machine is known and its token spent, or nothing
    /// has happened. An answer that is lost afterwards is given again to the same key.
    async fn exchange(
        &self,
        request: &EnrollRequest,
        fingerprint: &Fingerprint,
        key: &KeyDigest,
    ) -> Result<(Node, IssuedCertificate), Refusal> {
        let (app, token) = (&self.app, request.boot_token.as_str());
        // Whoever has no token does not get as far as the write lock.
        app.boot_tokens.check(token, fingerprint, key).await?;
        let mut change = app.events.begin().await?;
        let redeemed = app
            .boot_tokens
            .redeem(change.connection(), token, fingerprint, key)
            .await?;
        // Whoever has a token for one NIC must not become another machine by showing that one's UUID or MACs as well.
        if let Recognised::Known(node) = app.nodes.find_for_agent(change.connection(), fingerprint).await?
            && node.state != NodeState::Discovered
            && !node.macs.contains(&redeemed.mac)
        {
            change.commit().await?;
            return Err(Refusal::Token(RedeemError::WrongMachine {
                token_id: redeemed.token_id,
                mac: redeemed.mac.clone(),
                expected: format!("MAC address {}", redeemed.mac),
                got: format!("the identity of node {}, which has no such NIC", node.name),
            }));
        }
        let node = app
            .nodes
            .enroll_in(&mut change, fingerprint, &request.agent_version)
            .await?;
        let issued = app
            .authority
            .issue_node_certificate(&request.csr_der, &node.id)
            .map_err(Refusal::Request)?;
        change.commit().await?;
        Ok((node, issued))
    }

    /// Refuses a machine. An agent tries again and again: the same reason is told once in a while.
    async fn refuse(&self, refusal: Refusal, fingerprint: &Fingerprint) -> Status {
        match refusal {
            Refusal::Token(error) => self.refuse_token(&error, fingerprint).await,
            Refusal::Machine(error) => {
                if let EnrollError::Conflict(conflict) = &error
                    && self.may_tell(&format!("conflict {}", conflict.reason))
                    && let Err(error) = self.app.nodes.tell_conflict(conflict, fingerprint).await
                {
                    return internal(&error);
                }
                refused(&error)
            }
            Refusal::Request(error) => not_issued(&error),
            Refusal::Database(error) => internal(&error),
        }
    }

    fn may_tell(&self, news: &str) -> bool {
        self.seldom.may_tell(news, self.app.clock.now())
    }

    /// Whatever a token is refused for says something about the boot network: the worst of it is an alarm.
    async fn refuse_token(&self, error: &RedeemError, fingerprint: &Fingerprint) -> Status {
        let (kind, mac) = match error {
            RedeemError::Spent { mac, .. } => ("alarm.boot-token-reused", mac),
            RedeemError::WrongMachine { mac, .. } => ("alarm.boot-token-wrong-machine", mac),
            RedeemError::Superseded { mac, .. } => ("boot-token.superseded", mac),
            RedeemError::Expired { mac, .. } => ("boot-token.expired", mac),
            RedeemError::Database(_) => return internal(error),
            RedeemError::Unknown => return Status::unauthenticated(error.to_string()),
        };
        if !self.may_tell(&format!("{kind} {mac}")) {
            return Status::unauthenticated(error.to_string());
        }
        let node = self.app.nodes.find(&Viewer::All, mac).await.ok();
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
        match self.app.events.append(event).await {
            Ok(_) => Status::unauthenticated(error.to_string()),
            Err(error) => internal(&error),
        }
    }
}

pub(super) fn check_csr(csr: &[u8]) -> Result<(), Status> {
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
