//! TLS with BMCs: their certificates are mostly made by themselves, so an operator says which one is right. None is taken
//! unseen.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest as _, Sha256};

use crate::power::BmcError;

/// Whom a BMC is trusted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::power) enum Trust {
    /// The CAs of the controller's host.
    Host,
    /// These CAs, PEM.
    Ca(String),
    /// The certificate with this SHA-256, whatever name it has and whoever signed it.
    Fingerprint([u8; 32]),
}

/// What the last refused certificate was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distrusted {
    /// SHA-256 over it, hex.
    pub fingerprint: String,
    /// What is wrong with it; empty: it is another one than was expected.
    pub said: String,
}

/// Where the verifier leaves what it has refused.
pub(super) type Refusals = Arc<Mutex<Option<Distrusted>>>;

/// The certificates of a PEM text.
pub(in crate::power) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("it holds no certificate".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The digits of a fingerprint, however they are set apart.
pub(in crate::power) fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let text = text
        .strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("SHA256:"))
        .unwrap_or(text);
    let digits: String = text.chars().filter(|sign| !matches!(sign, ':' | ' ')).collect();
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// Settings of TLS for one BMC, and where a refused certificate is told.
pub(super) fn settings(trust: &Trust) -> Result<(ClientConfig, Refusals), BmcError> {
    let unusable = |why: String| BmcError::Setup(format!("TLS with the BMC cannot be set up: {why}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let by: By = match trust {
        Trust::Fingerprint(fingerprint) => By::Fingerprint(*fingerprint),
        Trust::Host => {
            let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider));
            By::Names(Arc::new(verifier.map_err(|error| unusable(error.to_string()))?))
        }
        Trust::Ca(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem).map_err(unusable)? {
                let added = roots.add(certificate);
                added.map_err(|error| unusable(error.to_string()))?;
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            By::Names(verifier.map_err(|error| unusable(error.to_string()))?)
        }
    };
    let refusals = Refusals::default();
    let verifier = Verifier {
        by,
        provider: Arc::clone(&provider),
        refusals: Arc::clone(&refusals),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok((config, refusals))
}

#[derive(Debug)]
enum By {
    Fingerprint([u8; 32]),
    Names(Arc<dyn ServerCertVerifier>),
}

/// Never more lenient than the verifier it stands for; a pinned certificate is compared as a whole. Both have the server prove
/// that it has the key.
#[derive(Debug)]
struct Verifier {
    by: By,
    provider: Arc<CryptoProvider>,
    refusals: Refusals,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        let refused = |said: String| {
            *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = Some(Distrusted {
                fingerprint: hex::encode(shown),
                said,
            });
        };
        match &self.by {
            By::Fingerprint(trusted) if *trusted == shown => Ok(ServerCertVerified::assertion()),
            By::Fingerprint(_) => {
                refused(String::new());
                Err(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::ApplicationVerificationFailure,
                ))
            }
            By::Names(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .inspect_err(|error| refused(error.to_string())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_taken_as_tools_print_them() {
        let digits = "ab".repeat(32);
        let apart = ["AB"; 32].join(":");
        for text in [
            digits.clone(),
            apart.clone(),
            format!("sha256:{digits}"),
            format!(" {apart}\n"),
        ] {
            assert_eq!(parse_fingerprint(&text), Some([0xab; 32]), "{text}");
        }
        for text in ["", "ab", &"zz".repeat(32), &"ab".repeat(20)] {
            assert_eq!(parse_fingerprint(text), None, "{text}");
        }
    }
}
