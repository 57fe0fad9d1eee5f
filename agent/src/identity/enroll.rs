//! Exchanging the boot token for a certificate, and renewing it.

use std::{path::Path, time::Duration};

use imprint_proto::agent::v1::{EnrollRequest, RenewRequest, enrollment_client::EnrollmentClient};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{BootIdentity, Credentials, IdentityError, NodeKey, tls};
use crate::{
    machine::Machine,
    session::backoff::{Backoff, chain},
};

const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The network may take its time to come up.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A token that was refused once will be refused again; only the controller's operator can change that.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// Enrols; tries for as long as it takes. None when told to stop. The fingerprint is read anew for each try: a NIC
/// whose driver was still loading belongs to it.
///
/// # Errors
/// When the identity itself is no use.
pub async fn enroll(
    identity: &BootIdentity,
    key: &NodeKey,
    machine: &dyn Machine,
    state: &Path,
    stop: &CancellationToken,
) -> Result<Option<Credentials>, IdentityError> {
    let endpoint = tls::endpoint(identity, None)?;
    let mut request = EnrollRequest {
        boot_token: identity.boot_token.clone(),
        csr_der: key.request()?,
        fingerprint: None,
        agent_version: machine.version().to_owned(),
        boot_id: machine.boot_id(),
    };
    let mut backoff = Backoff::new(LONGEST_WAIT);
    let mut last = String::new();
    loop {
        request.fingerprint = Some(machine.fingerprint());
        let mut client = EnrollmentClient::new(endpoint.connect_lazy());
        let answer = tokio::time::timeout(CALL_TIMEOUT, client.enroll(request.clone())).await;
        let status = match answer {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let credentials =
                    credentials(&answer.node_id, &answer.certificate_chain_der, answer.expires_at);
                match credentials {
                    Ok(credentials) => {
                        credentials.save(state)?;
                        return Ok(Some(credentials));
                    }
                    Err(status) => status,
                }
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the controller does not answer"),
        };
        let refused = matches!(
            status.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
        );
        let cause = chain(&status);
        if cause != last {
            if refused {
                tracing::error!(
                    cause,
                    remedy = "restart this machine over the network: each start gets a fresh token",
                    "the controller refuses the boot token of this machine"
                );
            } else {
                tracing::warn!(controller = %identity.controller_url, cause, "cannot enrol yet, trying again");
            }
            last = cause;
        }
        let wait = if refused { REFUSED_WAIT } else { backoff.delay() };
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks for the next certificate with the present one.
///
/// # Errors
/// When the controller doesn't give one.
pub async fn renew(
    identity: &BootIdentity,
    key: &NodeKey,
    old: &Credentials,
    state: &Path,
) -> Result<Credentials, Status> {
    let internal = |error: IdentityError| Status::internal(chain(&error));
    let endpoint = tls::endpoint(identity, Some((old, key))).map_err(internal)?;
    let mut client = EnrollmentClient::new(endpoint.connect_lazy());
    let request = RenewRequest {
        csr_der: key.request().map_err(internal)?,
    };
    let answer = tokio::time::timeout(CALL_TIMEOUT, client.renew(request))
        .await
        .map_err(|_| Status::deadline_exceeded("the controller does not answer"))??
        .into_inner();
    let new = credentials(&old.node_id, &answer.certificate_chain_der, answer.expires_at)?;
    new.save(state).map_err(internal)?;
    Ok(new)
}

fn credentials(
    node_id: &str,
    chain_der: &[Vec<u8>],
    expires_at: Option<prost_types::Timestamp>,
) -> Result<Credentials, Status> {
    let expires_at = expires_at.and_then(|at| Timestamp::from_second(at.seconds).ok());
    match expires_at {
        Some(expires_at) if !chain_der.is_empty() => {
            Ok(Credentials::new(node_id, chain_der, Timestamp::now(), expires_at))
        }
        _ => Err(Status::internal(
            "the controller answered without a certificate or its end",
        )),
    }
}
