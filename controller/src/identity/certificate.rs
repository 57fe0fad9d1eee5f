//! What certificates say, and how long they live.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};

use super::IdentityError;

const NODE_URI: &str = "imprint://node/";
const GUEST_URI: &str = "imprint://guest/";
/// Machines whose clock is behind still accept what was issued a moment ago.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);
pub(super) const NODE_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A server may be off for long, and is known again when it is switched on: whether a certificate is still good for anything,
/// the database decides.
const GUEST_LIFE: SignedDuration = SignedDuration::from_hours(398 * 24);
const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);
const CA_LIFE: SignedDuration = SignedDuration::from_hours(30 * 365 * 24);

fn params(now: Timestamp, life: SignedDuration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    params.not_before = epoch + seconds(now - CLOCK_SKEW);
    params.not_after = epoch + seconds(now + life);
    params
}

/// The CA of one controller. Its subject has a part of its own, so that two controllers' CAs are told apart.
pub(super) fn ca(now: Timestamp, unique: &str) -> CertificateParams {
    let mut params = params(now, CA_LIFE);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Imprint");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Imprint controller CA {unique}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The controller as a server under these names and addresses.
pub(super) fn server(now: Timestamp, names: &[String]) -> Result<CertificateParams, IdentityError> {
    let mut params = params(now, SERVER_LIFE);
    params
        .distinguished_name
        .push(DnType::CommonName, "Imprint controller");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    for name in names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .map_err(|_| IdentityError::Name { name: name.clone() })?,
            ),
        });
    }
    Ok(params)
}

/// The guest plugin of an installed system: which node it is on, and which deployment has installed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestId {
    /// The node.
    pub node_id: String,
    /// The deployment.
    pub deployment_id: String,
}

/// A node as a client.
pub(super) fn node(now: Timestamp, node_id: &str) -> Result<CertificateParams, IdentityError> {
    client(now, NODE_LIFE, node_id, &format!("{NODE_URI}{node_id}"))
}

/// A guest plugin as a client.
pub(super) fn guest(now: Timestamp, guest: &GuestId) -> Result<CertificateParams, IdentityError> {
    let uri = format!("{GUEST_URI}{}/{}", guest.node_id, guest.deployment_id);
    client(now, GUEST_LIFE, &guest.node_id, &uri)
}

fn client(
    now: Timestamp,
    life: SignedDuration,
    name: &str,
    uri: &str,
) -> Result<CertificateParams, IdentityError> {
    let mut params = params(now, life);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let uri = uri.try_into().map_err(|_| IdentityError::Name {
        name: name.to_owned(),
    })?;
    params.subject_alt_names.push(SanType::URI(uri));
    Ok(params)
}

/// Which node a client certificate stands for. The certificate must have been verified against the CA before.
pub fn node_id_of(certificate_der: &[u8]) -> Option<String> {
    name_in(certificate_der, NODE_URI)
}

/// Which guest plugin a client certificate stands for. The certificate must have been verified against the CA before.
pub fn guest_of(certificate_der: &[u8]) -> Option<GuestId> {
    let name = name_in(certificate_der, GUEST_URI)?;
    let (node_id, deployment_id) = name.split_once('/')?;
    Some(GuestId {
        node_id: node_id.to_owned(),
        deployment_id: deployment_id.to_owned(),
    })
}

fn name_in(certificate_der: &[u8], scheme: &str) -> Option<String> {
    use x509_parser::{extensions::GeneralName, prelude::FromDer};
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate_der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(scheme).map(str::to_owned),
        _ => None,
    })
}
