//! The certificate of the controller as a server, re-issued when its names or its life do not suit any more.

use std::{fmt, net::IpAddr, path::Path};

use jiff::{SignedDuration, Timestamp};
use rcgen::{Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::{IdentityError, certificate, keyfile};

const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";
/// With less life than this left it is re-issued, at the next start.
const LEAST_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A certificate with its key, ready for TLS.
pub struct ServerCertificate {
    /// The leaf, then the CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn obtain(
    folder: &Path,
    names: &[String],
    now: Timestamp,
    ca: &CertificateDer<'static>,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<ServerCertificate, IdentityError> {
    let kept = read(folder);
    let (leaf, key) = match kept {
        Some(kept) if suits(&kept.0, ca, names, now) => kept,
        kept => {
            // Names that were given once, at `init`, stay.
            let mut names = names.to_vec();
            for old in kept.iter().flat_map(|(leaf, _)| listed_names(leaf)) {
                if !names.contains(&old) {
                    names.push(old);
                }
            }
            issue(folder, &names, now, issuer)?
        }
    };
    Ok(ServerCertificate {
        chain: vec![leaf, ca.clone()],
        key,
    })
}

/// What the folder holds; anything unreadable is replaced, since a server certificate can always be made anew.
fn read(folder: &Path) -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let pem = keyfile::read(&folder.join(CERTIFICATE)).ok()?;
    let key_pem = keyfile::read_text(&folder.join(KEY)).ok()?;
    let leaf = CertificateDer::from_pem_slice(&pem).ok()?;
    // A crash between the two files would leave a certificate for another key.
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&leaf).ok()?;
    let pair = KeyPair::from_pem(&key_pem).ok()?;
    if *parsed.public_key().subject_public_key.data != *pair.public_key_raw() {
        return None;
    }
    Some((
        leaf.clone(),
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).ok()?,
    ))
}

fn issue(
    folder: &Path,
    names: &[String],
    now: Timestamp,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IdentityError> {
    let key = KeyPair::generate().map_err(IdentityError::Make)?;
    let leaf = certificate::server(now, names)?
        .signed_by(&key, issuer)
        .map_err(IdentityError::Make)?;
    let key_pem = key.serialize_pem();
    keyfile::write(&folder.join(KEY), 0o600, key_pem.as_bytes())?;
    keyfile::write(&folder.join(CERTIFICATE), 0o644, leaf.pem().as_bytes())?;
    tracing::info!(names = names.join(", "), "server certificate issued");
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| IdentityError::Damaged {
        path: folder.join(KEY),
        source: Box::new(e),
    })?;
    Ok((leaf.der().clone(), key))
}

fn suits(leaf: &CertificateDer<'_>, ca: &CertificateDer<'_>, names: &[String], now: Timestamp) -> bool {
    let listed = listed_names(leaf);
    let Ok((_, leaf)) = x509_parser::certificate::X509Certificate::from_der(leaf) else {
        return false;
    };
    let Ok((_, ca)) = x509_parser::certificate::X509Certificate::from_der(ca) else {
        return false;
    };
    let validity = leaf.validity();
    let alive = validity.not_before.timestamp() <= now.as_second()
        && validity.not_after.timestamp() >= (now + LEAST_LIFE).as_second();
    let ours = leaf.verify_signature(Some(ca.public_key())).is_ok();
    ours && alive && names.iter().all(|name| listed.contains(name))
}

fn listed_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = x509_parser::certificate::X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(alternative)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    alternative
        .value
        .general_names
        .iter()
        .filter_map(as_text)
        .collect()
}

fn as_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}
