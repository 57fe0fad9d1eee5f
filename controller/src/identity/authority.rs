//! The controller's CA and its manifest signing key.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use imprint_image::{Manifest, PublicKey, SignedManifest, SigningKey};
use jiff::Timestamp;
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};

use super::{GuestId, IdentityError, ServerCertificate, certificate, keyfile, server_certificate};
use crate::clock::Clock;

const FOLDER: &str = "identity";
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const MANIFEST_KEY: &str = "manifest.key";

/// Issues certificates and signs manifests. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    clock: Clock,
    ca_pem: Arc<str>,
    ca_der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    signing_key: SigningKey,
}

/// A certificate that was just issued.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// DER, the leaf first, then its issuer.
    pub chain_der: Vec<Vec<u8>>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// BLAKE3 of a public key (its SubjectPublicKeyInfo).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

impl Authority {
    /// Where the CA's certificate lies, for operators to hand to callers.
    pub fn ca_path(data_dir: &Path) -> PathBuf {
        data_dir.join(FOLDER).join(CA_CERTIFICATE)
    }

    /// Makes what is missing in a data folder: CA and signing key. What is there stays as it is.
    pub fn init(data_dir: &Path, clock: &Clock) -> Result<Self, IdentityError> {
        let folder = data_dir.join(FOLDER);
        make_folder(&folder).map_err(|source| IdentityError::Write {
            path: folder.clone(),
            source,
        })?;
        let (ca_key, ca_certificate) = (folder.join(CA_KEY), folder.join(CA_CERTIFICATE));
        // The key goes first: a crash after it leaves a key without certificate, which the next run completes.
        if !ca_key.exists() && !ca_certificate.exists() {
            let key = KeyPair::generate().map_err(IdentityError::Make)?;
            keyfile::write(&ca_key, 0o600, key.serialize_pem().as_bytes())?;
        }
        if !ca_certificate.exists() {
            let key = read_ca_key(&ca_key)?;
            let unique = hex::encode(&blake3::hash(key.public_key_raw()).as_bytes()[..4]);
            let ca = certificate::ca(clock.now(), &unique)
                .self_signed(&key)
                .map_err(IdentityError::Make)?;
            keyfile::write(&ca_certificate, 0o644, ca.pem().as_bytes())?;
        }
        let manifest_key = folder.join(MANIFEST_KEY);
        if !manifest_key.exists() {
            let key = SigningKey::generate()
                .and_then(|k| k.to_pkcs8())
                .map_err(IdentityError::SigningKey)?;
            keyfile::write(&manifest_key, 0o600, &key)?;
        }
        Self::open(data_dir, clock)
    }

    /// Opens what [`Authority::init`] made.
    pub fn open(data_dir: &Path, clock: &Clock) -> Result<Self, IdentityError> {
        let folder = data_dir.join(FOLDER);
        let ca_path = folder.join(CA_CERTIFICATE);
        let ca_pem = keyfile::read_text(&ca_path)?;
        let ca_der =
            CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|e| IdentityError::Damaged {
                path: ca_path.clone(),
                source: Box::new(e),
            })?;
        let key = read_ca_key(&folder.join(CA_KEY))?;
        let issuer = Issuer::from_ca_cert_der(&ca_der, key).map_err(|e| IdentityError::Damaged {
            path: ca_path,
            source: Box::new(e),
        })?;
        let manifest_path = folder.join(MANIFEST_KEY);
        let signing_key =
            SigningKey::from_pkcs8(&keyfile::read(&manifest_path)?).map_err(|e| IdentityError::Damaged {
                path: manifest_path,
                source: Box::new(e),
            })?;
        let clock = clock.clone();
        Ok(Self(Arc::new(Inner {
            folder,
            clock,
            ca_pem: ca_pem.into(),
            ca_der,
            issuer,
            signing_key,
        })))
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &Arc<str> {
        &self.0.ca_pem
    }

    /// The CA's certificate, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.0.ca_der
    }

    /// The keys that manifests of this controller are signed with.
    pub fn manifest_public_keys(&self) -> Vec<PublicKey> {
        vec![self.0.signing_key.public_key()]
    }

    /// Signs a manifest.
    pub fn sign_manifest(&self, manifest: &Manifest) -> SignedManifest {
        SignedManifest::sign(manifest, &self.0.signing_key)
    }

    /// Signs an order to an installed system. What is signed begins with words that no manifest begins with.
    pub fn sign_order(&self, message: &[u8]) -> [u8; 64] {
        self.0.signing_key.sign(message)
    }

    /// Issues a client certificate for a node. Of the request only the key is taken: who the node is, is the
    /// controller's to say.
    pub fn issue_node_certificate(
        &self,
        csr_der: &[u8],
        node_id: &str,
    ) -> Result<IssuedCertificate, IdentityError> {
        let now = self.0.clock.now();
        let params = certificate::node(now, node_id)?;
        Ok(IssuedCertificate {
            chain_der: self.sign_for(csr_der, &params)?,
            expires_at: now + certificate::NODE_LIFE,
        })
    }

    /// Issues a client certificate for a guest plugin: DER, the leaf first, then its issuer. Of the request only the key is
    /// taken.
    pub fn issue_guest_certificate(
        &self,
        csr_der: &[u8],
        guest: &GuestId,
    ) -> Result<Vec<Vec<u8>>, IdentityError> {
        self.sign_for(csr_der, &certificate::guest(self.0.clock.now(), guest)?)
    }

    fn sign_for(&self, csr_der: &[u8], params: &CertificateParams) -> Result<Vec<Vec<u8>>, IdentityError> {
        let request = CertificateSigningRequestDer::from(csr_der);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(IdentityError::Request)?;
        let certificate = params
            .signed_by(&request.public_key, &self.0.issuer)
            .map_err(IdentityError::Make)?;
        Ok(vec![certificate.der().to_vec(), self.0.ca_der.to_vec()])
    }

    /// The public key of a certificate request whose signature proves that its sender has the private one.
    pub fn key_of_request(csr_der: &[u8]) -> Result<KeyDigest, IdentityError> {
        let request = CertificateSigningRequestDer::from(csr_der);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(IdentityError::Request)?;
        Ok(KeyDigest(
            blake3::hash(&request.public_key.subject_public_key_info()).into(),
        ))
    }

    /// The server certificate for these names: the one in the data folder while it suits, else a new one.
    pub fn server_certificate(&self, names: &[String]) -> Result<ServerCertificate, IdentityError> {
        server_certificate::obtain(
            &self.0.folder,
            names,
            self.0.clock.now(),
            &self.0.ca_der,
            &self.0.issuer,
        )
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.0.folder)
            .finish_non_exhaustive()
    }
}

/// Where keys and certificates lie.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

fn read_ca_key(path: &Path) -> Result<KeyPair, IdentityError> {
    KeyPair::from_pem(&keyfile::read_text(path)?).map_err(|e| IdentityError::Damaged {
        path: path.to_owned(),
        source: Box::new(e),
    })
}
