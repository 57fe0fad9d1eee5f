//! The way to the controller: TLS with the CA of the deployment, and an end to every wait.

use std::time::Duration;

use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{config::GuestConfig, fault::Fault};

/// The controller's address with the CA that it is known by, and this system's certificate where it has one.
pub(crate) fn endpoint(
    config: &GuestConfig,
    identity: Option<Identity>,
    attempt: Duration,
) -> Result<Endpoint, Fault> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&config.ca_pem));
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    Endpoint::from_shared(config.controller_url.clone())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map(|endpoint| endpoint.connect_timeout(attempt))
        .map_err(Fault::Endpoint)
}

/// The endpoint's own limit covers the connection, but not a TLS handshake that never ends.
pub(crate) async fn connect(endpoint: &Endpoint, attempt: Duration) -> Result<Channel, Fault> {
    tokio::time::timeout(attempt, endpoint.connect())
        .await
        .map_err(|_| silent())?
        .map_err(Fault::Connect)
}

/// The controller has answered with an error.
pub(crate) fn answered(status: Status) -> Fault {
    Fault::Answer(Box::new(status))
}

/// The controller has not answered.
pub(crate) fn silent() -> Fault {
    answered(Status::deadline_exceeded("no answer in time"))
}
