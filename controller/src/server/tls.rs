//! TLS: the certificate of the controller, and nodes verified by its own CA.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use crate::{app::App, identity::IdentityError};

/// HTTP/2 among the protocols that are agreed on with the handshake (RFC 9113, section 3.2); all others are HTTP/1.1.
pub(super) const HTTP2: &[u8] = b"h2";

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server certificate.
    #[error("cannot get the server certificate")]
    Certificate(#[from] IdentityError),
    /// The verifier of client certificates.
    #[error("cannot verify client certificates with the controller's CA")]
    Verifier(#[from] VerifierBuilderError),
    /// The library refused certificate or key.
    #[error("the server certificate cannot be used")]
    Config(#[from] rustls::Error),
}

pub(super) fn config(app: &App) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificate = app.authority.server_certificate(&app.config.server_names())?;
    let mut roots = RootCertStore::empty();
    roots.add(app.authority.ca_der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate.chain, certificate.key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
