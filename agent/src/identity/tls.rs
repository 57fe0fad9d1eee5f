//! TLS towards the controller: its CA and no other, our certificate when we have one.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{BootIdentity, Credentials, IdentityError, NodeKey};
use crate::source::HttpClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that doesn't answer a ping of the transport for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes aws-lc-rs the provider of this process; a second call changes nothing.
pub fn install_provider() {
    if provider().install_default().is_err() {
        tracing::debug!("the TLS provider was already there");
    }
}

/// aws-lc-rs with the ciphers in the order that suits this processor: the server follows it. Without AES
/// instructions, ChaCha20-Poly1305 is several times faster than AES-GCM in software.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !has_aes_instructions() {
        provider.cipher_suites.sort_by_key(|suite| !is_chacha20(*suite));
    }
    provider
}

fn is_chacha20(suite: SupportedCipherSuite) -> bool {
    matches!(
        suite.suite(),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

#[cfg(target_arch = "x86_64")]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

/// How to reach the controller by gRPC.
///
/// # Errors
/// When the address or the TLS material is bad.
pub fn endpoint(
    identity: &BootIdentity,
    ours: Option<(&Credentials, &NodeKey)>,
) -> Result<Endpoint, IdentityError> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&identity.ca_pem));
    if let Some((credentials, key)) = ours {
        tls = tls.identity(Identity::from_pem(chain_pem(credentials), key.pem()));
    }
    let failed = |error: tonic::transport::Error| IdentityError::Tls(Box::new(error));
    Ok(Channel::from_shared(identity.controller_url.to_string())
        .map_err(|error| IdentityError::Tls(Box::new(error)))?
        .tls_config(tls)
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A client for manifests and packs.
///
/// # Errors
/// When the TLS material is bad.
pub fn http_client(
    identity: &BootIdentity,
    credentials: &Credentials,
    key: &NodeKey,
) -> Result<HttpClient, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(identity.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| IdentityError::Tls(error.to_string().into()))?;
        roots
            .add(certificate)
            .map_err(|error| IdentityError::Tls(Box::new(error)))?;
    }
    let chain = credentials
        .chain_der()
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.der()));
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
        })
        .map_err(|error| IdentityError::Tls(Box::new(error)))?;
    crate::source::http_client(Some(config)).map_err(|error| IdentityError::Tls(Box::new(error)))
}

fn chain_pem(credentials: &Credentials) -> String {
    credentials.chain_der().iter().map(|der| pem(der)).collect()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_of_any_length_reads_back() {
        for length in [1, 2, 3, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length)
                .map(|byte| u8::try_from(byte % 251).unwrap())
                .collect();
            assert_eq!(
                CertificateDer::from_pem_slice(pem(&der).as_bytes())
                    .unwrap()
                    .as_ref(),
                der
            );
        }
    }
}
