//! Who is who: the controller's own CA, the certificates of nodes, the key that signs manifests, and API tokens.
//!
//! Everything private lies in `<data>/identity`, mode 0600, and never leaves the process.

mod authority;
mod caller;
mod certificate;
mod keyfile;
mod request_key;
mod server_certificate;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::PathBuf;

pub use authority::{Authority, IssuedCertificate, KeyDigest};
pub use caller::{Caller, PLATFORM, Permission, Role, Viewer};
pub use certificate::node_id_of;
pub(crate) use keyfile::write_whole;
pub use request_key::RequestKey;
pub use server_certificate::ServerCertificate;
pub(crate) use tokens::generate as generate_token;
pub use tokens::{ApiTokens, NewToken, TokenError};

/// An identity could not be made, read or issued.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key or certificate file cannot be read.
    #[error("cannot read {}; run `imprint-controller init` or restore the data folder from a backup", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate file cannot be written.
    #[error("cannot write {}; check the permissions of the data folder and its free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate file does not hold what it should.
    #[error("{} is damaged; restore it from a backup of the data folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request for a certificate is none, or its signature does not prove the key.
    #[error("the certificate request is not valid")]
    Request(#[source] rcgen::Error),
    /// A name cannot be written into a certificate.
    #[error("`{name}` cannot be the name of a server; give a DNS name or an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The cryptographic library refused.
    #[error("cannot make a key or a certificate")]
    Make(#[source] rcgen::Error),
    /// The manifest signing key could not be made.
    #[error("cannot make the manifest signing key")]
    SigningKey(#[source] imprint_image::KeyError),
}
